"""Many units mapped at once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any

from hwlut.hdl import generate
from hwlut.unit import Unit
from hwlut.verify.synthesis.synthesize import Synthesis, synthesize
from hwlut.workers import spawned

__all__ = ["synthesize_each"]


def synthesize_each(
    units: Sequence[Unit],
    *,
    target: str = "liberty",
    liberty: str | Path | None = None,
    form: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[int, Synthesis]]:
    """The place in `units` and the `Synthesis` of each, in the order in which they are done.

    Parameters
    ----------
    target, liberty: as for `synthesize`.
    form: options of `hwlut.hdl.generate`; the default design without.
    executor: where they are mapped; by default here where there is one, else in processes, one a core.

    After an error no other is begun; those that run are waited for, and it is raised last.
    """
    if executor is None and len(units) > 1:
        workers = min(os.cpu_count() or 1, len(units))
        with spawned(workers) as pool:
            yield from synthesize_each(units, target=target, liberty=liberty, form=form, executor=pool)
    elif executor is None:
        for place, unit in enumerate(units):
            yield place, _mapped(unit, target, liberty, form)
    else:
        jobs = {executor.submit(_mapped, unit, target, liberty, form): place for place, unit in enumerate(units)}
        failures = []
        try:
            for job in as_completed(jobs):
                if job.cancelled():
                    continue
                if (failure := job.exception()) is None:
                    yield jobs[job], job.result()
                    continue
                failures.append(failure)
                for other in jobs:
                    other.cancel()
        finally:
            for job in jobs:
                job.cancel()
        if failures:
            raise failures[0]


def _mapped(unit: Unit, target: str, liberty: str | Path | None, form: Mapping[str, Any] | None) -> Synthesis:
    design = generate(unit, **form) if form else None
    return synthesize(unit, target=target, liberty=liberty, verilog=design)
