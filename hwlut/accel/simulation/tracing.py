"""What happens within a tile while it computes a layer: a waveform, and when its parts are busy."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hwlut.accel.compiler import compile_program
from hwlut.accel.port import ACTIVITY
from hwlut.accel.simulation.given import codes_of
from hwlut.accel.simulation.plan import Plan
from hwlut.accel.simulation.verilated import Verilated
from hwlut.files import write_atomic
from hwlut.units import Program, Tile
from hwlut.verify.waves import check_place, recorded

__all__ = ["trace"]


def trace(
    program: Program,
    tile: Tile,
    codes: torch.Tensor | Sequence[torch.Tensor],
    layer: str,
    *,
    window: range | None = None,
    waves: str | Path | None = None,
    activity: str | Path | None = None,
    idle: float = 0.0,
    stall: float = 0.0,
    seed: int = 0,
) -> range:
    """Record a layer of the first batch in Verilator; returns the cycles that were recorded, from the end of the reset.

    Parameters
    ----------
    program, tile, codes, idle, stall, seed: as of `simulate`.
    layer: by its name in the report. A layer begins behind the mark of the one before, and ends with its own.
    window: which of its cycles, from 0 on; all of them unless given.
    waves: a VCD file, which holds these cycles alone; cycle n is at the time 40 + 10 n.
    activity: a CSV file: of each of the cycles its number from the end of the reset, and the bits of the port activity
        (`hwlut.accel.port.ACTIVITY`).

    Raises as `simulate`, and ValueError for a layer or a window that there is not, and for files that cannot be there.
    """
    for label, path in (("waves", waves), ("activity", activity)):
        check_place(label, path)
    if None not in (waves, activity) and os.path.realpath(str(waves)) == os.path.realpath(str(activity)):
        raise ValueError(f"waves and activity must be two files, not both {str(waves)!r}")
    given = codes_of(program, codes)
    compiled = compile_program(program, tile)
    names = [each.name for each in compiled.layers]
    if layer not in names:
        raise ValueError(f"layer must be of {', '.join(names)}, not {layer!r}")
    plan = Plan.of(compiled, 1)
    engine = Verilated.of(tile, idle, stall, int(plan.cycles.max()))
    data = compiled.data(*(each[: tile.rows] for each in given))
    run = plan.words, data, compiled.results(1), len(names), seed
    ran = engine.run(*run)
    ran.check(tile.name, names)
    assert ran.times is not None
    ends = np.append(0, ran.times + 1).tolist()
    index = names.index(layer)
    cycles = range(ends[index], ends[index + 1])
    if window is not None:
        if not 0 <= window.start < window.stop or window.start >= len(cycles):
            shown = f"{window.start}:{window.stop}"
            raise ValueError(f"window must be of the {len(cycles)} cycles of {layer!r}, not {shown}")
        cycles = cycles[window.start : window.stop]
    told = np.zeros(len(cycles), np.uint64)
    with recorded(waves) as path:
        engine.run(*run, waves=path, window=cycles, activity=told)
    if activity is not None:
        bits = told[:, None] >> np.arange(len(ACTIVITY), dtype=np.uint64) & np.uint64(1)
        rows = np.column_stack([cycles, bits]).astype(np.int64).tolist()
        lines = [("cycle", *ACTIVITY), *rows]
        write_atomic(Path(activity), "".join(",".join(map(str, line)) + "\n" for line in lines))
    return cycles
