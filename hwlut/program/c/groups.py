"""Steps of programs in groups, each of which becomes a function of C; and where their values lie."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwlut.program.c.steps import Step
from hwlut.units.applied import Rescale
from hwlut.units.movement import Reshape
from hwlut.units.nodes import Extent
from hwlut.units.operations import Constant
from hwlut.units.reductions import Entries

__all__ = ["Wanted", "groups", "laid_out", "roots", "single"]

_Shapes = Sequence[tuple[int, ...]]


def single(step: Step) -> bool:
    """Whether each number of the value is made from numbers at its own place."""
    if isinstance(step.node, Rescale):
        return step.node.unit.channels == 1
    return step.node is not None and step.node.extent is Extent.CODES


def roots(steps: Sequence[Step], shapes: _Shapes) -> list[int]:
    """The value whose array each one shares: of what only takes another shape, that of its operand."""
    found: list[int] = []
    for n, step in enumerate(steps):
        of = step.operands[0] if step.operands else n
        copy = step.node is None and math.prod(shapes[of]) == math.prod(shapes[n])
        found.append(found[of] if step.operands and (copy or isinstance(step.node, Reshape)) else n)
    return found


def groups(steps: Sequence[Step], shapes: _Shapes, shared: Sequence[int]) -> list[list[int]]:
    """Values that are made together, in order: neighbours of one shape whose numbers are made place by place.

    Inputs, constants and values in the arrays of others are made by nobody.
    """
    found: list[list[int]] = []
    for n, step in enumerate(steps):
        if shared[n] != n or isinstance(step.node, (Constant, Entries)) or not (step.node or step.operands):
            continue
        group = found[-1] if found else []
        joins = bool(group) and single(step) and single(steps[group[-1]]) and shapes[group[-1]] == shapes[n]
        if joins:
            group.append(n)
        else:
            found.append([n])
    return found


@dataclass(frozen=True)
class Wanted:
    """An array: the type and count of its numbers, in which group they are made, and which takes them last."""

    kind: str
    size: int
    made: int
    last: int


def laid_out(wanted: dict[int, Wanted]) -> tuple[dict[int, int], dict[str, int]]:
    """Offsets of arrays, each type by itself, such that no two overlap while both are needed; and how many numbers of
    each type there are."""
    offsets: dict[int, int] = {}
    totals: dict[str, int] = {}
    for n, own in wanted.items():
        others = [
            (offsets[m], other.size)
            for m, other in wanted.items()
            if m in offsets and other.kind == own.kind and other.last >= own.made and other.made <= own.last
        ]
        offset = 0
        for start, size in sorted(others):
            if offset + own.size <= start:
                break
            offset = max(offset, start + size)
        offsets[n] = offset
        totals[own.kind] = max(totals.get(own.kind, 0), offset + own.size)
    return offsets, totals
