"""Where long work runs: threads, devices, processes and schedulers."""

from typing import TYPE_CHECKING, Annotated

import typer

from hwlut.errors import ToolError

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Device", "Threads", "check_count", "dask_executor", "set_threads", "spawning"]

_MOST = 1024  # more than a machine has cores: each takes a stack, or a process, before there is work for it

Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1; a GPU where there is one unless given.")]
Threads = Annotated[int | None, typer.Option(help="Of torch; its own number unless given.")]


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads."""
    import torch

    if threads is not None:
        check_count("threads", threads)
        torch.set_num_threads(threads)


def check_count(label: str, count: int) -> None:
    """ValueError unless it is a number of processes or threads that are begun."""
    if not 1 <= count <= _MOST:
        raise ValueError(f"{label} must be from 1 to {_MOST}, not {count}")


def spawning(jobs: int, threads: int | None) -> "Executor":
    """A pool of processes, each of so many threads of torch; by default they share the cores."""
    import os
    from functools import partial

    import torch

    from hwlut.workers import spawned

    each = threads or max(1, (os.cpu_count() or 1) // jobs)
    return spawned(jobs, partial(torch.set_num_threads, each))


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
