"""When a program's hardware computes each value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hwlut.fields import shorten
from hwlut.units.nodes import Node, Span

__all__ = ["DEPTH", "Schedule", "schedule", "staged"]

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


def schedule(nodes: Sequence[Node], spans: Mapping[str, Span], outputs: Sequence[str], depth: int) -> Schedule:
    """As soon as possible, with at most `depth` operations after each other in a cycle.

    A unit is its component with the default latency; what it computes before its first register
    counts as one operation. Entries come from a memory, a cycle later.

    Parameters
    ----------
    nodes: in order. spans: of every value, those of the inputs first. outputs: names of the results.
    """
    start = dict.fromkeys(list(spans)[: len(spans) - len(nodes)], 0)
    ready = dict(start)
    level = dict(start)
    for node in nodes:
        moving = [operand for operand in node.operands if operand in ready]
        if not moving and not node.latency:
            continue
        cycle, before = max(((ready[operand], level[operand]) for operand in moving), default=(0, 0))
        steps = node.levels(*(spans[operand] for operand in node.operands))
        if before and before + steps > depth:
            cycle, before = cycle + 1, 0
        latency = node.latency
        start[node.name] = cycle
        ready[node.name] = cycle + latency
        level[node.name] = 0 if latency else before + steps
    ends = [ready.get(name, 0) + (level.get(name, 0) > 0) for name in outputs]
    return Schedule(start, ready, max(1, *ends))


class _Timed(Protocol):
    @property
    def latency(self) -> int: ...


_Plan = TypeVar("_Plan", bound=_Timed)


def staged(stages: int, plans: Iterable[_Plan]) -> _Plan:
    """The last of `plans` that has that latency; ValueError where none has, which lists those there are."""
    if isinstance(stages, bool) or not isinstance(stages, int):
        raise TypeError(f"Program stages must be an integer, not {shorten(stages)}")
    found = {plan.latency: plan for plan in plans}
    if stages not in found:
        raise ValueError(f"Program stages must be one of {', '.join(map(str, sorted(found)))}, not {stages}")
    return found[stages]
