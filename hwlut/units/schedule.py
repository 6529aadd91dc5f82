"""When a program's hardware computes each value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwlut.units.nodes import Node, Span
from hwlut.units.operations import Apply

__all__ = ["DEPTH", "Schedule", "schedule"]

DEPTH = 2
"""Operations that follow each other within a clock cycle, by default."""


@dataclass(frozen=True)
class Schedule:
    """Clock cycles after the input, by name of value; what is made of constants alone is in neither.

    start: when the operands are taken. ready: from when the value stands, which is later only for
    units. latency: when the last value leaves a register.
    """

    start: dict[str, int]
    ready: dict[str, int]
    latency: int


def schedule(nodes: Sequence[Node], spans: Mapping[str, Span], depth: int) -> Schedule:
    """As soon as possible, with at most `depth` operations after each other in a cycle.

    A unit is its component with the default latency; what it computes before its first register
    counts as one operation.

    Parameters
    ----------
    nodes: in order. spans: of every value, the input's first.
    """
    start = {next(iter(spans)): 0}
    ready = dict(start)
    level = dict(start)
    for node in nodes:
        moving = [operand for operand in node.operands if operand in ready]
        if not moving and not isinstance(node, Apply):
            continue
        cycle, before = max(((ready[operand], level[operand]) for operand in moving), default=(0, 0))
        steps = node.levels(*(spans[operand] for operand in node.operands))
        if before and before + steps > depth:
            cycle, before = cycle + 1, 0
        latency = node.unit.cost().latency if isinstance(node, Apply) else 0
        start[node.name] = cycle
        ready[node.name] = cycle + latency
        level[node.name] = 0 if latency else before + steps
    last = nodes[-1].name
    return Schedule(start, ready, ready.get(last, 0) + (level.get(last, 0) > 0 or ready.get(last, 0) == 0))
