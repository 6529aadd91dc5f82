"""Tiles under the cocotb bench of tiles."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwlut.accel.port import ACTIVITY
from hwlut.accel.regression.cases import Case
from hwlut.hdl import Rtl
from hwlut.verify.bench import BenchTests, run_bench

__all__ = ["run"]


def run(rtl: Rtl, cases: Sequence[Case], seed: int, waves: Path | None) -> BenchTests:
    """What the tests of ``sim/bench_tile.py`` say of a tile and the cases of the model."""
    with tempfile.TemporaryDirectory(prefix="hwlut-cocotb-") as folder:
        work = Path(folder)
        (work / "description.json").write_text(json.dumps(rtl.description))
        (work / "activity.json").write_text(json.dumps(ACTIVITY))
        for number, case in enumerate(cases):
            _write(work / f"case_{number:03}", case)
        return run_bench("bench_tile", rtl, work, seed=seed, waves=waves)


def _write(folder: Path, case: Case) -> None:
    folder.mkdir()
    for name in ("words", "data", "results", "marks"):
        np.save(folder / f"{name}.npy", getattr(case, name))
    counters = {
        "cycles": case.ran.cycles,
        "commands": case.ran.commands,
        "data_beats": len(case.data),
        "result_beats": len(case.results),
    }
    error = 0 if case.ran.error is None else int(case.ran.error.error)
    (folder / "case.json").write_text(json.dumps({"name": case.name, "counters": counters, "error": error}))
