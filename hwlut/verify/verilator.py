"""The batch engine: Verilated designs run on arrays."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hwlut.verify.beats import streams
from hwlut.verify.engine import Job, Outcome, watchdog
from hwlut.verify.harness import Bench, Ran
from hwlut.verify.tools import find_verilator
from hwlut.verify.verilated import build

__all__ = ["run"]

_PARALLEL_BEATS = 1 << 15  # from here on, a second model instance pays


def run(jobs: Sequence[Job]) -> list[Outcome]:
    """Run `jobs` on the batch engine; long batches of independent beats use every core."""
    return [_run(job) for job in jobs]


def _run(job: Job) -> Outcome:
    library = build(job.rtl, waves=job.waves is not None)
    found = streams(job.rtl.description).values()
    received = {s.name: np.zeros((job.expected[s.name], s.bytes), np.uint8) for s in found if not s.input}
    sent = {s.name: np.ascontiguousarray(job.inputs[s.name]) for s in found if s.input}
    both = (sent | received).items()
    times = {name: np.zeros(0 if job.independent else len(beats), np.int64) for name, beats in both}
    split = job.independent and job.waves is None and min(job.expected.values()) >= _PARALLEL_BEATS
    parts = (os.cpu_count() or 1) if split else 1
    cycles = watchdog(job.rtl.description) + job.quiet

    def run_part(part: int) -> Ran:
        def share_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: np.array_split(array, parts)[part] for name, array in arrays.items()}

        with Bench(library, job.seed + part, job.waves) as bench:
            return bench.run(
                share_of(sent),
                share_of(received),
                {} if job.independent else times,
                watchdog=cycles,
                linger=cycles,
                idle=job.idle,
                stall=job.stall,
                interrupt=job.interrupt,
            )

    with ThreadPoolExecutor(parts) as pool:
        results = list(pool.map(run_part, range(parts)))
    first = results[0]
    if parts == 1:
        received = {name: beats[: first.done[name]] for name, beats in received.items()}
    faults = [result.fault for result in results if result.fault]
    return Outcome(
        outputs=received,
        accepted={name: times[name][: first.done[name]] for name in sent},
        delivered={name: times[name][: first.done[name]] for name in received},
        cycles=sum(result.cycles for result in results),
        latency=None if faults else first.latency,
        fault=faults[0] if faults else None,
        tool=str(find_verilator()),
    )
