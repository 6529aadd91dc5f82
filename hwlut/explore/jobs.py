"""Jobs of an exploration, each kept in a file when it is done: how they run, here or in other processes."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from pathlib import Path
from typing import Any

from hwlut.files import write_atomic
from hwlut.records import json_text, read_json

__all__ = ["Found", "Job", "Then", "kept", "run_jobs"]

Found = Mapping[str, Any]
"""What a job has found, as plain JSON; its `reason` is null, or why nothing came of it."""

Job = tuple[Any, partial[Found]]
"""What it is called by, and what can be sent to another process."""

Then = Callable[[Any, Found], Iterable[Job]]
"""Takes what a job found; gives the jobs that this makes possible."""

_LIMIT = 1 << 20


def kept(path: Path, compute: Callable[[], Found]) -> Found:
    """What the file holds, or else what is computed, which then is in it."""
    if path.exists():
        found = read_json(path, "result", _LIMIT)
        if not isinstance(found, dict) or "reason" not in found:
            raise ValueError(f"{path}: result must be an object with a reason")
        return found
    found = compute()
    write_atomic(path, json_text(found, "result"))
    return found


def run_jobs(jobs: Iterable[Job], then: Then, executor: Executor | None) -> None:
    """Run all jobs and those that follow from them: here, one by one, or at the executor.

    After an error no other is begun.
    """
    ahead = deque(jobs)
    if executor is None:
        while ahead:
            name, job = ahead.popleft()
            ahead.extendleft(reversed(list(then(name, job()))))
        return
    waiting: dict[Future[Found], Any] = {}
    try:
        while ahead or waiting:
            while ahead:
                name, job = ahead.popleft()
                waiting[executor.submit(job)] = name
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                ahead.extend(then(waiting.pop(done), done.result()))
    finally:
        for future in waiting:
            future.cancel()
