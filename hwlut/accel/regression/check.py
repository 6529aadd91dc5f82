"""The check of a tile: its Verilog in a simulator against its model."""

import time
from pathlib import Path

from hwlut.accel.model import check_room
from hwlut.accel.regression import batched, benched
from hwlut.accel.regression.cases import errors, runs
from hwlut.accel.regression.report import TileReport
from hwlut.accel.rtl import generate_tile
from hwlut.hdl import Rtl
from hwlut.units.tile import Tile
from hwlut.verify.design import design_of
from hwlut.verify.stimulus import check_seed
from hwlut.verify.waves import check_place, recorded

__all__ = ["ENGINES", "check_tile"]

ENGINES = ("verilator", "cocotb")
_SEEDS = 1 << 30


def check_tile(
    tile: Tile,
    engine: str = "verilator",
    *,
    verilog: str | Path | Rtl | None = None,
    waves: str | Path | None = None,
    seed: int = 0,
) -> TileReport:
    """Compare what a tile's Verilog does with what its model does.

    Parameters
    ----------
    engine: "verilator" (the batch engine: many random runs, with and without pauses) or "cocotb"
        (``sim/bench_tile.py``: random runs with every combination of pauses, registers, errors, clears and resets).
    verilog: what to run instead of the tile's own: an `Rtl`, or a Verilog file with its ``.rtl.json`` beside it.
    waves: file for a waveform: VCD, or FST from cocotb on Icarus.
    seed: of runs, pauses and of the registers and memories before reset.

    Raises ValueError for bad arguments, bad Verilog and memories beyond this machine's, ToolError for missing tools.
    """
    start = time.perf_counter()
    if not isinstance(tile, Tile):
        raise TypeError(f"check_tile tile must be a Tile, not {type(tile).__name__}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)} for a tile, not {engine!r}")
    check_seed(seed, _SEEDS)
    check_place("waves", waves)
    check_room(tile)
    rtl = generate_tile(tile) if verilog is None else design_of(tile, None, verilog)
    with recorded(waves) as trace:
        if engine == "verilator":
            cases = runs(tile, seed, 24)
            said = batched.run(rtl, cases, seed, trace)
        else:
            cases = [*runs(tile, seed, 3), *errors(tile, seed)]
            said = benched.run(rtl, cases, seed, trace)
    return TileReport(
        tile=tile.name,
        digest=tile.digest,
        engine=engine,
        tool=said.tool,
        seed=seed,
        runs=len(cases),
        commands=sum(len(case.words) for case in cases),
        cycles=sum(case.ran.cycles for case in cases),
        tests=said.messages,
        seconds=time.perf_counter() - start,
    )
