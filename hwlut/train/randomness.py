"""Random numbers that follow from seeds and places alone, so that training can go on where it stopped."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import Dataset

__all__ = ["Drawn", "draw", "keeping_generators", "number_of"]


def draw(device: torch.device, *parts: int) -> None:
    """Start torch's generators of the CPU and of `device` anew, from integers."""
    number = number_of(*parts)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)


@contextmanager
def keeping_generators(device: torch.device) -> Iterator[None]:
    """Leaves torch's generators as they were before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


class Drawn(Dataset[Any]):
    """A data set of which each item draws from a generator of its own: by seed, epoch and place.

    Its items are had by pairs (epoch, place), in whatever process.
    """

    def __init__(self, data: Any, seed: int):
        self.data, self.seed = data, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, place = key
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(number_of(self.seed, epoch, place))
        try:
            return self.data[place]
        finally:
            torch.set_rng_state(before)


def number_of(*parts: int) -> int:
    """A seed, 63 bits, made of integers."""
    text = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
