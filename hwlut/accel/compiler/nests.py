"""Loop nests of address sequences: from lists of addresses to the sizes and strides that count them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwlut.accel.instructions import Loops, Stream

__all__ = ["NoNest", "Piece", "Rows", "cut"]

_Levels = list[tuple[int, np.ndarray]]
"""Size and strides, one a stream, of each level, the innermost first."""


class NoNest(ValueError):
    """A group's own addresses that no nest of so few levels counts."""


@dataclass(frozen=True)
class Rows:
    """Addresses of groups: those of group g are ``first[g] + patterns[kind[g]]``.

    first, kind: int64 [G]. patterns: int64 [kinds, n], each beginning with 0.
    """

    first: np.ndarray
    kind: np.ndarray
    patterns: np.ndarray

    @classmethod
    def of(cls, addresses: np.ndarray) -> "Rows":
        """The rows [G, n] of an array."""
        addresses = np.asarray(addresses, np.int64)
        first = addresses[:, 0]
        patterns = addresses - first[:, None]
        if (patterns == patterns[:1]).all():
            return cls(first, np.zeros(len(first), np.int64), patterns[:1])
        patterns, kind = np.unique(patterns, axis=0, return_inverse=True)
        return cls(first, kind.reshape(-1), patterns)

    def take(self, groups: np.ndarray | slice) -> "Rows":
        """Some of the groups, in the order given."""
        return Rows(self.first[groups], self.kind[groups], self.patterns)


@dataclass(frozen=True)
class Piece:
    """Groups `start` to before `stop`, whose addresses nests count: loops and streams by their names."""

    start: int
    stop: int
    fields: dict[str, Any]


def cut(nests: Mapping[str, Mapping[str, Rows]], loops: int) -> Iterator[Piece]:
    """All groups, in order, in pieces that nests of at most `loops` levels count.

    nests: of each the rows of its streams, which advance together; those of all nests have the same groups.

    Raises NoNest where a single group has more levels, or no nest at all.
    """
    rows = [each for nest in nests.values() for each in nest.values()]
    kinds = np.stack([each.kind for each in rows], 1)
    points = np.stack([each.first for each in rows], 1)
    changes = np.flatnonzero((kinds[1:] != kinds[:-1]).any(1)) + 1
    ends = np.cumsum([len(nest) for nest in nests.values()]).tolist()
    columns = [slice(start, stop) for start, stop in zip((0, *ends), ends)]
    for start, stop in zip((0, *changes.tolist()), (*changes.tolist(), len(points))):
        inner = [_inner([each.patterns[each.kind[start]] for each in nest.values()], loops) for nest in nests.values()]
        for first, count, outer in _pieces(points[start:stop], inner, columns, loops):
            fields: dict[str, Any] = {}
            for (name, nest), levels, own in zip(nests.items(), inner, columns):
                sizes, streams = _nest(points[start + first, own].tolist(), _whole(levels, outer, own))
                fields |= {name: sizes} | dict(zip(nest, streams))
            yield Piece(start + first, start + first + count, fields)


def _inner(patterns: Sequence[np.ndarray], loops: int) -> _Levels:
    """The levels within a group."""
    if not patterns:
        return []
    levels = _levels(np.stack(patterns, 1))
    if levels is None or len(levels) > loops:
        raise NoNest(f"has addresses that no nest of {loops} levels counts")
    return levels


def _whole(inner: _Levels, outer: _Levels, own: slice) -> _Levels:
    """The levels of a nest, from those within a group and those of all nests, of which its streams are `own`; levels
    that go on from each other are one."""
    merged: _Levels = []
    for size, strides in (*inner, *((size, strides[own]) for size, strides in outer)):
        if merged and (strides == merged[-1][0] * merged[-1][1]).all():
            merged[-1] = merged[-1][0] * size, merged[-1][1]
        else:
            merged.append((size, strides))
    return merged


def _nest(bases: Sequence[int], levels: _Levels) -> tuple[Loops, list[Stream]]:
    if not bases:
        return Loops(), []
    streams = [Stream(base, tuple(int(strides[number]) for _, strides in levels)) for number, base in enumerate(bases)]
    return Loops(tuple(size for size, _ in levels)), streams


def _levels(points: np.ndarray) -> _Levels | None:
    """The nest of all points [n, streams]; None where there is none."""
    levels: _Levels = []
    while (count := len(points)) > 1:
        steps = np.diff(points, axis=0)
        breaks = np.flatnonzero((steps != steps[0]).any(1)) + 1
        size = math.gcd(count, *breaks.tolist())
        if size == 1:
            return None
        levels.append((size, steps[0]))
        points = points[::size]
    return levels


def _pieces(
    points: np.ndarray, inner: Sequence[_Levels], columns: Sequence[slice], loops: int
) -> Iterator[tuple[int, int, _Levels]]:
    """All groups in nests of at most `loops` levels with those within: where each piece begins, how many groups it has,
    and the levels that count them."""
    levels = _levels(points)
    if levels is not None and all(len(_whole(own, levels, some)) <= loops for own, some in zip(inner, columns)):
        yield 0, len(points), levels
        return
    start, left = 0, loops - max(map(len, inner))
    while start < len(points):
        count, levels = _prefix(points[start:], left)
        yield start, count, levels
        start += count


def _prefix(points: np.ndarray, loops: int) -> tuple[int, _Levels]:
    """The longest nest with which points begin, each level as long as it can be."""
    block = 1
    levels: _Levels = []
    while len(levels) < loops and len(points) >= 2 * block:
        whole = points[: len(points) // block * block].reshape(-1, block, points.shape[1])
        steps = whole[1:] - whole[:-1]
        same = (steps == steps[0, 0]).all((1, 2))
        size = 1 + (len(same) if same.all() else int(same.argmin()))
        if size == 1:
            break
        levels.append((size, steps[0, 0]))
        block *= size
    return block, levels
