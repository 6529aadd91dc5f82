"""Rows of the lut part: simulated look-up additions a second, and gates of a small array."""

import numpy as np
import torch

from benchmarks.report import Row
from benchmarks.timing import medians
from hwlut.hdl import generate
from hwlut.units import LutMatmul
from hwlut.units.lut_array import lut_array
from hwlut.verify.beats import streams
from hwlut.verify.engine import Job
from hwlut.verify.synthesis import map_verilog
from hwlut.verify.verilator import run

__all__ = ["hardware_rows"]

_CODEBOOKS = _OUTPUTS = _K = 16
_ROWS = {"tree": 1 << 20, "l2": 1 << 16}
_V = {"tree": 4, "l2": 2}
_TARGETS = {"tree": 50e6, "l2": None}
_SMALL = {"banks": 2, "tile": 4, "encoders": 1}


def hardware_rows() -> list[Row]:
    """The batch engine on every core, exact in the same run; and areas."""
    return [_simulated(encoder) for encoder in _ROWS] + _areas()


def _unit(encoder: str, v: int, codebooks: int, k: int, outputs: int) -> LutMatmul:
    rng = np.random.default_rng(0)
    fields: dict[str, object] = {"prototypes": rng.integers(-128, 128, (codebooks, k, v))}
    if encoder == "tree":
        depth = k.bit_length() - 1
        fields = {
            "thresholds": rng.integers(-128, 128, (codebooks, k - 1)),
            "dimensions": rng.integers(0, v, (codebooks, depth)),
        }
    table = rng.integers(-128, 128, (codebooks, k, outputs))
    name = f"lut_{encoder}_{codebooks}_{k}_{outputs}"
    return LutMatmul(name=name, encoder=encoder, features=codebooks * v, v=v, table=table, **fields)  # type: ignore[arg-type]


def _simulated(encoder: str) -> Row:
    """A row a cycle: all codebooks and all outputs at once."""
    count, v = _ROWS[encoder], _V[encoder]
    unit = _unit(encoder, v, _CODEBOOKS, _K, _OUTPUTS)
    rtl = generate(unit, banks=_CODEBOOKS, tile=_OUTPUTS, encoders=_CODEBOOKS)
    source, sink = streams(rtl.description).values()
    rows = np.random.default_rng(1).integers(-128, 128, (count, unit.features)).astype(np.int8)
    job = Job(rtl=rtl, inputs={source.name: rows.view(np.uint8)}, expected={sink.name: count}, independent=True)
    outcomes = []
    (seconds,) = medians(3, lambda: outcomes.extend(run([job])))
    results = np.stack(list(sink.unpack(outcomes[-1].outputs[sink.name]).values()), 1)
    if outcomes[-1].fault or not np.array_equal(results, unit(torch.from_numpy(rows)).numpy()):
        raise RuntimeError("the simulated array gives a wrong result")
    return Row(
        name=f"batch engine on every core, {_CODEBOOKS} x {_OUTPUTS} look-ups a cycle, K = {_K}, v = {v}, {encoder}",
        unit="lookup-adds/s",
        ours=count * _CODEBOOKS * _OUTPUTS / seconds,
        sense=">=",
        target=_TARGETS[encoder],
    )


def _areas() -> list[Row]:
    """Gates of one small array by a tree and by L2, all else equal."""
    gates = {}
    for encoder in ("tree", "l2"):
        unit = _unit(encoder, 2, 4, 8, 4)
        rtl = generate(unit, **_SMALL)
        gates[encoder] = map_verilog(rtl.verilog, unit.name).gate_equivalents
    shape = lut_array(unit, **_SMALL)
    name = f"array of 4 codebooks of 2 inputs, K = 8, 4 outputs, {shape.cycles_per_row} cycles a row, ROMs: tree"
    return [
        Row(
            name=name,
            unit="GE",
            ours=gates["tree"],
            baseline=gates["l2"],
            against="encoder of L2",
        )
    ]
