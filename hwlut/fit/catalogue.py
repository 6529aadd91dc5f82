"""The shipped parameter tables, and how all of them are fitted again."""

import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from hwlut.files import write_atomic
from hwlut.fit import fit
from hwlut.functions import FUNCTIONS
from hwlut.workers import spawned

__all__ = ["CATALOGUE", "fit_catalogue"]

CATALOGUE = tuple((function, segments) for function in FUNCTIONS for segments in (8, 16))
"""Function and segments of each shipped table, which is ``fit(function, segments)``, called <function>_<segments>."""


def fit_catalogue(
    folder: str | Path,
    executor: Executor | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Write every shipped table into `folder` and return the paths, the same bytes each time.

    Parameters
    ----------
    folder: made where it is missing.
    executor: where the fits run; by default processes, one a core.
    progress: called after each table with how many are done, of how many, and its name.
    """
    if executor is None:
        workers = min(os.cpu_count() or 1, len(CATALOGUE))
        with spawned(workers) as pool:
            return fit_catalogue(folder, pool, progress)
    jobs = [executor.submit(_text, function, segments) for function, segments in CATALOGUE]
    paths = []
    for (function, segments), job in zip(CATALOGUE, jobs):
        path = Path(folder, f"{function}_{segments}.json")
        write_atomic(path, job.result())
        paths.append(path)
        if progress is not None:
            progress(len(paths), len(CATALOGUE), path.stem)
    return paths


def _text(function: str, segments: int) -> str:
    return fit(function, segments).dumps()
