"""The processes that train together: those torchrun started, or this one alone."""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed

__all__ = ["Processes", "device_of", "processes"]


_JOINED = itertools.count()


class Processes(NamedTuple):
    """This process's place, how many there are (`size`), and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is this one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, tensors: Iterable[torch.Tensor]) -> None:
        """Let all have the values of the first, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(numbers)
        return numbers


@contextmanager
def processes(device: str | torch.device | None = None) -> Iterator[Processes]:
    """The group that torchrun's environment variables tell of, joined here unless it has been; or this process alone.

    Without `device`, a GPU where there is one, that of the process's local rank.
    """
    chosen = _device(device)
    joins = "RANK" in os.environ and "WORLD_SIZE" in os.environ and not distributed.is_initialized()
    if joins:
        store, rank, size = _meeting()
        own = distributed.PrefixStore(f"hwlut.{next(_JOINED)}", store)  # or an older group's addresses would be found
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=own, rank=rank, world_size=size)
    try:
        if distributed.is_initialized():
            yield Processes(distributed.get_rank(), distributed.get_world_size(), chosen)
        else:
            yield Processes(0, 1, chosen)
    finally:
        if joins:
            distributed.destroy_process_group()


def device_of(device: str | torch.device | None, number: int) -> str | torch.device | None:
    """Where one of several runs is: on `device`; by default, where there are several GPUs and no torchrun, on that of
    its number, modulo theirs."""
    if device is None and torch.cuda.device_count() > 1 and "RANK" not in os.environ:
        return f"cuda:{number % torch.cuda.device_count()}"
    return device


@functools.cache
def _meeting() -> tuple[distributed.Store, int, int]:
    """Where the processes find one another, this one's place, and how many there are."""
    return next(distributed.rendezvous("env://"))


def _device(given: str | torch.device | None) -> torch.device:
    if given is None:
        given = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(given)
    except RuntimeError:
        raise ValueError(f"device must be such as cpu, cuda or cuda:1, not {given!r}") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device must be there: this torch sees no GPU for {str(given)!r}")
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    return device
