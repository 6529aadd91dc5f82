"""cocotb as an engine: the bench of streams."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.hdl import Rtl
from hwlut.verify.bench import BenchTests, run_bench
from hwlut.verify.engine import Job, Outcome, watchdog

__all__ = ["run"]


def run(jobs: Sequence[Job]) -> list[Outcome]:
    """Run `jobs`, all of one design, in one simulator process, and a reset in mid-stream beside them."""
    rtl = jobs[0].rtl
    waves = next((job.waves for job in jobs if job.waves is not None), None)
    with tempfile.TemporaryDirectory(prefix="hwlut-cocotb-") as folder:
        work = Path(folder)
        _write_jobs(work, rtl, jobs)
        tests = run_bench("bench_stream", rtl, work, seed=jobs[0].seed, waves=waves)
        return [_outcome(work / f"job_{number:03}", job, tests) for number, job in enumerate(jobs)]


def _write_jobs(work: Path, rtl: Rtl, jobs: Sequence[Job]) -> None:
    (work / "description.json").write_text(json.dumps(rtl.description))
    for number, job in enumerate(jobs):
        folder = work / f"job_{number:03}"
        folder.mkdir()
        options = {"idle": job.idle, "stall": job.stall, "seed": job.seed, "watchdog": watchdog(rtl.description)}
        (folder / "job.json").write_text(json.dumps({**options, "expected": job.expected}))
        for stream, beats in job.inputs.items():
            np.save(folder / f"input_{stream}.npy", beats)


def _outcome(folder: Path, job: Job, tests: BenchTests) -> Outcome:
    def stored(kind: str, streams: Iterable[str], empty: np.ndarray) -> dict[str, np.ndarray]:
        paths = {stream: folder / f"{kind}_{stream}.npy" for stream in streams}
        return {stream: np.load(path) if path.exists() else empty for stream, path in paths.items()}

    written = folder / "outcome.json"
    found: dict[str, Any] = {"fault": None, "cycles": 0, "latency": None}
    if written.exists():
        found = json.loads(written.read_text())
    return Outcome(
        outputs=stored("output", job.expected, np.zeros((0, 8), np.uint8)),
        accepted=stored("accepted", job.inputs, np.zeros(0, np.int64)),
        delivered=stored("delivered", job.expected, np.zeros(0, np.int64)),
        cycles=found["cycles"],
        latency=found["latency"],
        fault=found["fault"] or tests.fault,
        tool=tests.tool,
    )
