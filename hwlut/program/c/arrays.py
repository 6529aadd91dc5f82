"""Arrays of C and loops over them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hwlut.program.c.terms import Term, kind_of
from hwlut.units.nodes import Span

__all__ = ["KINDS", "Array", "Axis", "aligned", "axes_of", "copied", "index", "nest", "storage_of", "strides_of"]

KINDS = {
    "int8_t": (-(1 << 7), (1 << 7) - 1),
    "uint8_t": (0, (1 << 8) - 1),
    "int16_t": (-(1 << 15), (1 << 15) - 1),
    "uint16_t": (0, (1 << 16) - 1),
    "int32_t": (-(1 << 31), (1 << 31) - 1),
    "uint32_t": (0, (1 << 32) - 1),
    "int64_t": (-(1 << 63), (1 << 63) - 1),
}
"""Lowest and highest number of the types that arrays are of."""


def storage_of(span: Span) -> str:
    """The narrowest type that holds `span`."""
    return next(kind for kind, (low, high) in KINDS.items() if low <= span[0] and span[1] <= high)


@dataclass(frozen=True)
class Array:
    """Numbers in order, the last axis first to move: their name in C, their type there, and their span."""

    name: str
    kind: str
    shape: tuple[int, ...]
    span: Span

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    def at(self, place: str) -> Term:
        """One of the numbers."""
        kind = kind_of(self.span)
        text = f"{self.name}[{place}]"
        return Term(text if kind == self.kind else f"({kind}){text}", self.span)

    def put(self, place: str, term: Term) -> str:
        """The statement that sets one of the numbers."""
        text = term.text if term.kind == self.kind else f"({self.kind}){term.text}"
        return f"{self.name}[{place}] = {text};"


class Axis(NamedTuple):
    """A loop from 0 to before `size`."""

    name: str
    size: int


def strides_of(shape: Sequence[int]) -> list[int]:
    """How far apart neighbours along each axis lie."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def aligned(shape: Sequence[int], whole: Sequence[int]) -> list[int]:
    """Strides of an array of `shape` along the axes of `whole`, to which it broadcasts."""
    own = [0 if size == 1 else stride for size, stride in zip(shape, strides_of(shape))]
    return [0] * (len(whole) - len(shape)) + own


def axes_of(sizes: Sequence[int], *strides: list[int]) -> tuple[list[Axis], list[list[int]]]:
    """Loops over `sizes`, and the strides along them: neighbouring axes are one where all strides allow it."""
    found: list[tuple[int, list[int]]] = []
    for size, *along in zip(sizes, *strides):
        if size == 1:
            continue
        if found and all(outer == inner * size for outer, inner in zip(found[-1][1], along)):
            found[-1] = (found[-1][0] * size, along)
        else:
            found.append((size, along))
    axes = [Axis("ijklmnopqrstuvwz"[place], size) for place, (size, _) in enumerate(found)]
    return axes, [[along[number] for _, along in found] for number in range(len(strides))]


def index(parts: Iterable[tuple[Axis, int]], offset: int = 0) -> str:
    """``offset + sum of axis * stride`` as text; what is always 0 is left out."""
    words = [name if stride == 1 else f"{name} * {stride}" for (name, size), stride in parts if size > 1 and stride]
    if not words:
        return str(offset)
    return " + ".join(words) + (f" {'-' if offset < 0 else '+'} {abs(offset)}" if offset else "")


def nest(axes: Sequence[Axis], lines: list[str]) -> list[str]:
    """`lines` within loops over `axes`, the first outermost; those of one turn are none."""
    for name, size in reversed(axes):
        if size > 1:
            head = f"for (ptrdiff_t {name} = 0; {name} < {size}; ++{name}) {{"
            lines = [head, *(f"    {line}" for line in lines), "}"]
    return lines


def copied(
    y: Array, x: Array, sizes: Sequence[int], to: list[int], of: list[int], offset: int = 0, start: int = 0
) -> list[str]:
    """Statements that copy along `sizes`, by strides `to` of y and `of` of x, from places `offset` and `start` on."""
    axes, (to, of) = axes_of(sizes, to, of)
    place, source = index(zip(axes, to), offset), index(zip(axes, of), start)
    value = f"{x.name}[{source}]"
    return nest(axes, [f"{y.name}[{place}] = {value if x.kind == y.kind else f'({y.kind}){value}'};"])
