"""Processes that work for this one, and end with it."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

__all__ = ["ALONE", "spawned"]

ALONE = threading.Lock()
"""Held by a job that trains: a process has one set of torch's generators and traces one model at a time, and jobs may
be threads of one, as they are by default in a worker of Dask."""


def spawned(count: int, prepare: Callable[[], object] | None = None) -> ProcessPoolExecutor:
    """A pool of so many processes, each of which calls `prepare` first.

    They end when this process does, however it ends: what they are at is dropped, and what they write is whole or not
    there (`hwlut.files`).
    """
    # Spawned: a forked child hangs once torch has used threads.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(prepare,))


def _begin(prepare: Callable[[], object] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """A killed parent closes no queue, for which an idle worker waits; but its end of a pipe is closed for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
