"""The addresses that a loop nest gives."""

import math

import numpy as np

from hwlut.accel.instructions import Loops, Stream
from hwlut.units.tile import ADDRESS_BITS

__all__ = ["addresses", "extent", "steps"]


def steps(loops: Loops) -> int:
    """From the first to the last place of a nest."""
    return math.prod(loops.sizes)


def addresses(loops: Loops, stream: Stream, first: int, count: int) -> np.ndarray:
    """int64 [count], those of the steps from `first` on, from 0 to 2^24 - 1.

    From the last place a nest goes nowhere.
    """
    place = np.minimum(np.arange(first, first + count), steps(loops) - 1)
    found = np.full(count, stream.base)
    for size, stride in zip(loops.sizes, stream.strides):
        if size > 1:
            place, level = np.divmod(place, size)
            found += level * stride
    return found % (1 << ADDRESS_BITS)


def extent(loops: Loops, stream: Stream) -> tuple[int, int]:
    """The lowest and the highest address of a whole pass, were there no modulo."""
    ends = [stride * (size - 1) for size, stride in zip(loops.sizes, stream.strides)]
    return stream.base + sum(min(0, end) for end in ends), stream.base + sum(max(0, end) for end in ends)
