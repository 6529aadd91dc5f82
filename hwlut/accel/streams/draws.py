"""What is drawn at random for a command."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwlut.accel.commands import IMMEDIATE_BITS
from hwlut.accel.instructions import Loops, Stream

__all__ = ["Draws", "Window"]

Window = tuple[int, int]
"""The first word and the one behind the last."""


class Draws:
    """Draws by a seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """From `low` to below `high`, or `low`."""
        return int(self.rng.integers(low, max(high, low + 1)))

    def chance(self, of: float) -> bool:
        """True in so many of 1 cases."""
        return bool(self.rng.random() < of)

    def one(self, of: Sequence[Any]) -> Any:
        """One of them."""
        return of[self.integer(0, len(of))]

    def signed(self, bits: int) -> int:
        """Of up to so many bits and a sign, small ones as often as large ones."""
        half = 1 << self.integer(0, bits)
        return self.integer(-half, half)

    def clamp(self, bits: int) -> tuple[int, int]:
        """The ends of a clamp: mostly those that clamp nothing."""
        half = 1 << (IMMEDIATE_BITS - 1)
        if self.chance(0.8):
            return -half, half - 1
        low, high = sorted(self.signed(bits) for _ in range(2))
        return low, high

    def loops(self, total: int, levels: int) -> Loops:
        """A nest of so many steps, with levels of one step among the others."""
        sizes = []
        for _ in range(levels - 1):
            size = self.one([each for each in range(1, total + 1) if total % each == 0])
            sizes.append(size)
            total //= size
        return Loops((*sizes, total))

    def stream(self, loops: Loops, window: Window) -> Stream:
        """Addresses within a window."""
        low, high = window
        room, base = high - low - 1, low
        strides = [0] * len(loops.sizes)
        for level in self.rng.permutation(len(strides)):
            if (last := loops.sizes[level] - 1) > 0:
                stride = self.integer(-(room // last), room // last + 1)
                room -= abs(stride) * last
                base += max(0, -stride * last)
                strides[level] = stride
        return Stream(base + self.integer(0, room + 1), tuple(strides))
