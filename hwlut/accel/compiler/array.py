"""Sums by the array: rows of operands against tiles of outputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.emission import Target
from hwlut.accel.compiler.lane import Lane
from hwlut.accel.compiler.nests import Rows
from hwlut.accel.compiler.words import Segment

__all__ = ["Block", "drained", "in_order", "in_weights", "tiles"]


@dataclass(frozen=True)
class Block:
    """Sums that take the same words of second operands, from `word` on.

    rows: which of the rows of operands, [n]. elements: the results that these give, [n, columns].
    """

    word: int
    rows: np.ndarray
    elements: np.ndarray


def tiles(matrices: int, outputs: int, columns: int, most: int) -> Iterator[tuple[int, Sequence[tuple[int, int, int]]]]:
    """Tiles (matrix, first output, last output), at most so many at a time, all of as many outputs: that number first.

    A matrix' tiles follow each other, but for narrower ones, which come last.
    """
    whole = outputs // columns * columns
    for size, starts in ((columns, range(0, whole, columns)), (outputs - whole, range(whole, outputs, columns))):
        every = [(matrix, start, start + size) for matrix in range(matrices) for start in starts]
        for first in range(0, len(every), most):
            yield size, every[first : first + most]


def drained(
    builder: Builder, lane: Lane, target: Target, x: torch.Tensor, blocks: Sequence[Block], columns: int, **fields: Any
) -> None:
    """COMPUTEs of blocks of rows at places x [..., K]; fields: of `Compute`, and weights."""
    count = x.shape[-1]
    rows = np.concatenate([block.rows for block in blocks])
    words = np.repeat([block.word for block in blocks], [len(block.rows) for block in blocks])
    w = Rows(words.astype(np.int64), np.zeros(len(words), np.int64), np.arange(count)[None])
    elements = np.concatenate([block.elements for block in blocks])
    builder.emit(
        lane, target, elements, x=x.reshape(-1, count).numpy()[rows], w=w, count=count,
        columns=columns, period=max(count, columns), **fields,
    )  # fmt: skip


def in_weights(
    builder: Builder,
    lane: Lane,
    target: Target,
    x: torch.Tensor,
    elements: torch.Tensor,
    words: Callable[[int, int, int], np.ndarray],
    segment: Callable[[np.ndarray], Segment],
    **fields: Any,
) -> None:
    """COMPUTEs of places x [groups, positions, K], whose results are elements [groups, positions, outputs].

    words: the K words of weights of a group's outputs from the first to before the last, an array of K.
    segment: of such arrays after each other.
    """
    tile, (groups, positions, count) = builder.tile, x.shape
    half = tile.weights // 2
    what = f"needs {count} words of weights for an output; half of the tile's are {half}"
    builder.require("weights", 2 * count, what)
    for columns, some in tiles(groups, elements.shape[-1], tile.columns, half // count):
        blocks = [
            Block(at * count, np.arange(positions) + group * positions, elements[group, :, start:stop].numpy())
            for at, (group, start, stop) in enumerate(some)
        ]
        held = segment(np.concatenate([words(*each) for each in some]))
        drained(builder, lane, target, x, blocks, columns, weights=held, **fields)


def in_order(numbers: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
    """Numbers that broadcast to [groups, positions, outputs] in the order of the results, of which `elements` says
    which lie there."""
    found = torch.empty(elements.numel(), dtype=torch.int64)
    found[elements.flatten()] = numbers.expand(elements.shape).flatten()
    return found
