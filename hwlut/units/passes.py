"""How hardware goes over a row: in passes, each of which knows the sums and maxima that the one before has taken."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwlut.units.nodes import Node, format_of
from hwlut.units.operations import Constant, Multiply
from hwlut.units.reductions import Entries, Maximum, Sum
from hwlut.units.schedule import DEPTH, Schedule, schedule, staged

if TYPE_CHECKING:
    from hwlut.units.program import Program

__all__ = ["RowPass", "RowPasses", "Section", "row_passes", "staged_passes"]


@dataclass(frozen=True)
class Section:
    """What is computed in one pipeline: `nodes`, in order, from the values `taken` to the values `given`, by `plan`."""

    taken: tuple[str, ...]
    nodes: tuple[Node, ...]
    given: tuple[str, ...]
    plan: Schedule


@dataclass(frozen=True)
class RowPass:
    """One pass over each row.

    Parameters
    ----------
    places, rows: names of the values that come with each place and, once, with each row.
    each: what is computed at each place.
    reductions: what is taken over each row of what that gives, by sums and maxima.
    between: what is computed of these once a row, for the next pass; None of the last one.
    """

    places: tuple[str, ...]
    rows: tuple[str, ...]
    each: Section
    reductions: tuple[Sum | Maximum, ...]
    between: Section | None


@dataclass(frozen=True)
class RowPasses:
    """All passes of a program, and the fewest and most places of its rows."""

    passes: tuple[RowPass, ...]
    least: int
    most: int

    @property
    def latency(self) -> int:
        """Cycles from the only place of a row of one to its result, when nothing stalls: the registers on the way, and
        between passes one for the reduction and one for its buffer. Each further place takes one more in every pass but
        the last.
        """
        between = [each.between.plan.latency + 2 for each in self.passes if each.between is not None]
        return sum(each.each.plan.latency for each in self.passes) + sum(between)


def row_passes(program: "Program", depth: int = DEPTH) -> RowPasses:
    """The passes of a program of rows, with at most `depth` operations after each other in a cycle.

    A value of a place that a later pass takes waits in a buffer. Where what it is made of is narrower, without a unit
    or a product of two such values on the way, that waits instead, and the value is computed again.

    Raises ValueError for a program that is no stream of rows.
    """
    return _Planner(program, depth).planned()


def staged_passes(program: "Program", stages: int) -> RowPasses:
    """`row_passes` of `stages` of latency; ValueError where no depth gives it, which lists those there are."""
    return staged(stages, (row_passes(program, depth) for depth in range(len(program.nodes), 0, -1)))


class _Planner:
    def __init__(self, program: "Program", depth: int):
        self._program, self._depth = program, depth
        self._nodes = {node.name: _plain(node, program) for node in program.nodes}
        self._least, self._most = _length(program)
        self._pass: dict[str, int] = {port.name: 0 for port in program.inputs}  # of what depends on inputs or rows
        self._places = set(self._pass)  # what differs from place to place
        self._reductions: set[str] = set()
        for name, node in self._nodes.items():
            moving = [self._pass[operand] for operand in node.operands if operand in self._pass]
            if isinstance(node, Entries) or self._places.intersection(node.operands):
                self._places.add(name)
            if isinstance(node, (Sum, Maximum)) and node.of in self._places:
                self._places.remove(name)
                self._reductions.add(name)
                self._pass[name] = max(moving, default=0) + 1
            elif moving:
                self._pass[name] = max(moving)

    @functools.cached_property
    def _order(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._program.spans)}

    def planned(self) -> RowPasses:
        """From the last pass to the first: what one takes is what the one before gives."""
        targets = [port.name for port in self._program.outputs]
        reductions: list[str] = []
        between: Section | None = None
        passes = []
        for number in reversed(range(max(self._pass.values()) + 1)):
            places, rows, nodes = self._narrowest(targets, number)
            if number == 0:
                places = [port.name for port in self._program.inputs]
            each = self._section([*places, *rows], nodes, targets, reductions, last=between is None)
            found = tuple(self._nodes[name] for name in reductions)
            passes.append(RowPass(tuple(places), tuple(rows), each, found, between))  # type: ignore[arg-type]
            if number:
                taken, nodes = self._gathered(rows, functools.partial(self._known, number))
                between = self._section(taken, nodes, rows, [], last=False)
                reductions = [name for name in taken if self._pass[name] == number]
                operands = [self._nodes[name].operands[0] for name in reductions]
                held = [name for name in taken if self._pass[name] < number]
                targets = list(dict.fromkeys([*places, *operands, *held]))
        return RowPasses(tuple(reversed(passes)), self._least, self._most)

    def _known(self, number: int, name: str) -> bool:
        """Whether a value of rows is there before those of the pass `number` are computed."""
        return name in self._reductions or self._pass.get(name, number) < number

    def _narrowest(self, targets: list[str], number: int) -> tuple[list[str], list[str], list[str]]:
        """What the pass takes of each place and of each row, and its nodes, for the `targets`.

        From what needs nothing computed again, the last value that can be is, one after the other: of all these ways
        the first of the fewest bits is taken.
        """
        again: list[str] = []
        ways = []
        while True:
            taken, nodes = self._gathered(targets, functools.partial(self._waits, number, frozenset(again)))
            places = [name for name in taken if name in self._places]
            bits = sum(format_of(self._program.spans[name]).bits for name in places)
            ways.append((bits, places, [name for name in taken if name not in self._places], nodes))
            cheap = [name for name in places if self._is_cheap(name)]
            if number == 0 or not cheap:
                return min(ways, key=lambda way: way[0])[1:]
            again.append(cheap[-1])

    def _waits(self, number: int, again: frozenset[str], name: str) -> bool:
        """Whether a value comes with each place or row of the pass `number`, where those `again` do not."""
        if name not in self._pass:
            return False
        early = self._pass[name] < number and name not in again
        return name not in self._places or name not in self._nodes or early

    def _is_cheap(self, name: str) -> bool:
        """Whether a value of a place is that of a node which may be computed again."""
        node = self._nodes.get(name)
        if node is None or node.units:
            return False
        return not isinstance(node, Multiply) or not set(node.operands) <= set(self._pass)

    def _gathered(self, targets: Iterable[str], known: Callable[[str], bool]) -> tuple[list[str], list[str]]:
        """The known values that the targets are made of, and the nodes from there, in order."""
        taken, nodes, left = set(), set(), list(targets)
        while left:
            name = left.pop()
            if name in taken or name in nodes:
                continue
            if known(name):
                taken.add(name)
            else:
                nodes.add(name)
                left += self._nodes[name].operands
        return sorted(taken, key=self._order.__getitem__), sorted(nodes, key=self._order.__getitem__)

    def _section(
        self, taken: list[str], names: list[str], given: list[str], reductions: list[str], last: bool
    ) -> Section:
        nodes = [self._nodes[name] for name in names]
        ends = [self._nodes[name] for name in reductions]
        spans = {name: self._program.spans[name] for name in (*taken, *names, *reductions)}
        plan = schedule([*nodes, *ends], spans, given, self._depth)
        if not last:
            # A buffer or an accumulator, which are registers, follow.
            needed = [plan.ready.get(name, 0) for name in given] + [plan.start[name] for name in reductions]
            plan = dataclasses.replace(plan, latency=max(needed, default=0))
        return Section(tuple(taken), tuple(nodes), tuple(given), plan)


def _plain(node: Node, program: "Program") -> Node:
    """The node as hardware has it; ValueError for none."""
    if any(unit.schema == program.schema and unit.extent for unit in node.units):  # type: ignore[attr-defined]
        raise ValueError(_refused(program, f"node {node.name!r} is a program of rows within it"))
    if isinstance(node, Entries) and node.values.size == 1:
        return Constant(node.name, int(node.values.reshape(-1)[0]))
    return node


def _length(program: "Program") -> tuple[int, int]:
    """The fewest and the most places of a row; ValueError where that is not known."""
    found = {}
    for port in program.inputs:
        if port.shape:
            found[f"input {port.name!r}"] = port.shape[-1]
    for node in program.nodes:
        if isinstance(node, Entries) and node.values.size > 1:
            if node.values.size != node.values.shape[-1]:
                raise ValueError(_refused(program, f"node {node.name!r} has entries of several rows"))
            found[f"node {node.name!r}"] = node.values.shape[-1]
    least, most = 1, min((node.most for node in program.nodes if isinstance(node, Sum)), default=0)
    if found:
        (label, least), *others = found.items()
        for other, places in others:
            if places != least:
                raise ValueError(_refused(program, f"{label} has rows of {least} places and {other} of {places}"))
        if 0 < most < least:
            raise ValueError(_refused(program, f"{label} has rows of {least} places and a sum takes {most}"))
        most = least
    if not most:
        raise ValueError(_refused(program, "nothing says how long a row can be: no sum, no entries, no port's shape"))
    return least, most


def _refused(program: "Program", reason: str) -> str:
    return f"Program {program.name!r} cannot become one stream of rows; {reason}"
