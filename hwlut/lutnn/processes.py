"""The processes that train together: those torchrun started, or this one alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed

__all__ = ["Processes", "processes"]


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
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        if distributed.is_initialized():
            yield Processes(distributed.get_rank(), distributed.get_world_size(), chosen)
        else:
            yield Processes(0, 1, chosen)
    finally:
        if joins:
            distributed.destroy_process_group()


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
