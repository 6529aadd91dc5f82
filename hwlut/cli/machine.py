"""Where long work runs: threads, devices, processes and schedulers."""

from typing import TYPE_CHECKING, Annotated

import typer

from hwlut.errors import ToolError

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Device", "Threads", "dask_executor", "set_threads", "spawning"]

Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1; a GPU where there is one unless given.")]
Threads = Annotated[int | None, typer.Option(help="Of torch; its own number unless given.")]


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads."""
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)


def spawning(jobs: int, threads: int | None) -> "Executor":
    """A pool of processes, each of so many threads of torch; by default they share the cores."""
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor

    import torch

    each = threads or max(1, (os.cpu_count() or 1) // jobs)
    # Spawned: a forked child hangs once torch has used threads.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, spawn, initializer=torch.set_num_threads, initargs=(each,))


def dask_executor(address: str) -> "Executor":
    """That of the Dask scheduler at an address; ToolError where there is none."""
    try:
        from distributed import Client
    except ImportError:
        raise ToolError("dask", "not found", "install it with: pip install 'hwlut[dask]'") from None
    try:
        return Client(address).get_executor()
    except (OSError, ValueError) as error:
        raise ToolError("dask", f"no scheduler at {address} ({error})", "start one with: dask scheduler") from None
