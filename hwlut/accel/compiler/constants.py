"""The words of constants that a step's lanes take: which it has, and which a number takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwlut.accel.commands import Requantization
from hwlut.accel.compiler.lane import Lane
from hwlut.accel.compiler.nests import Rows
from hwlut.accel.compiler.words import Segment, constants
from hwlut.units.tile import Tile

__all__ = ["Constants"]


@dataclass(frozen=True)
class Constants:
    """Offsets, multipliers and shifts [words]; word: which of them each of the step's results takes, [results].

    offset: whether there are offsets that are not 0.
    """

    offsets: np.ndarray
    factors: np.ndarray
    shifts: np.ndarray
    word: np.ndarray
    offset: bool
    needed: bool

    @classmethod
    def of(cls, lane: Lane) -> "Constants":
        """The fewest words that differ along no axis without need."""
        import torch

        own = lane.requantization is Requantization.CONSTANT
        parts = [lane.offset, lane.factor if own else 0, lane.shift if own else 0]
        offset = bool((torch.as_tensor(lane.offset) != 0).any())
        arrays = [torch.as_tensor(part).reshape(lane.shape if torch.is_tensor(part) else ()) for part in parts]
        spread = [each.expand(lane.shape) for each in arrays]
        for axis in range(len(lane.shape)):
            ones = [each.narrow(axis, 0, 1) for each in spread]
            if all(bool((each == one).all()) for each, one in zip(spread, ones)):
                spread = ones
        word = torch.arange(spread[0].numel()).reshape(spread[0].shape).expand(lane.shape)
        offsets, factors, shifts = (each.flatten().numpy() for each in spread)
        return cls(offsets, factors, shifts, word.flatten().numpy(), offset, own or offset or lane.offset_is_y)

    @classmethod
    def offsets_of(cls, offsets: np.ndarray) -> "Constants":
        """Offsets alone, each of one number."""
        zeros = np.zeros_like(offsets)
        return cls(offsets, zeros, zeros, np.arange(len(offsets)), True, True)

    def chunks(
        self, tile: Tile, elements: np.ndarray, steps: int
    ) -> Iterator[tuple[int, int, Segment | None, Rows | None]]:
        """Groups, `start` to before `stop`, whose words fit a half of the memory: the words, and k's rows."""
        if not self.needed:
            yield 0, len(elements), None, None
            return
        words = self.word[elements]
        for start, stop in _parts(words, tile.constants // 2):
            own, places = np.unique(words[start:stop], return_inverse=True)
            if len(own) > tile.constants // 2:
                raise ValueError(f"needs {len(own)} constants at once; half of the tile's are {tile.constants // 2}")
            places = places.reshape(stop - start, -1)
            segment = constants(tile, self.offsets[own], self.factors[own], self.shifts[own])
            yield start, stop, segment, Rows.of(np.broadcast_to(places, (stop - start, steps)))


def _parts(words: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Consecutive groups that have at most so many different words together."""
    if len(np.unique(words)) <= most:
        yield 0, len(words)
        return
    start, held = 0, set[int]()
    for group, row in enumerate(words.tolist()):
        if len(held | set(row)) > most and group > start:
            yield start, group
            start, held = group, set()
        held |= set(row)
    yield start, len(words)
