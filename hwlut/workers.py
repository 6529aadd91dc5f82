"""Processes that work for this one, and end with it."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

__all__ = ["spawned"]


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
