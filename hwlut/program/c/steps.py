"""Programs as steps: programs of rows inside taken apart."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwlut.units import Program
from hwlut.units.nodes import Extent, Node
from hwlut.units.operations import Apply
from hwlut.units.reductions import Entries, Maximum, Sum

__all__ = ["Place", "Step", "entries", "places_of", "steps"]


class Place(enum.IntEnum):
    """Whether there is one number of a value in all, in each row, or at each place of a row."""

    ALL = 0
    ROW = 1
    EACH = 2


@dataclass(frozen=True)
class Step:
    """A value by its number: of an input, where there are neither node nor operands; of `node`; or, without a node, as
    its first operand has it, in the shape of its second.

    name: of its node, behind those of the nodes with the programs around it and dots. operands: numbers of earlier
    values.
    """

    name: str
    node: Node | None = None
    operands: tuple[int, ...] = ()


def steps(program: Program) -> tuple[list[Step], list[int]]:
    """Steps of `program`, those of the inputs first, and the numbers of the outputs."""
    found: list[Step] = []

    def put(*parts: Any) -> int:
        found.append(Step(*parts))
        return len(found) - 1

    def walk(inner: Program, values: dict[str, int], path: str) -> list[int]:
        for node in inner.nodes:
            name = path + node.name
            operands = tuple(values[operand] for operand in node.operands)
            unit: Any = node.unit if isinstance(node, Apply) else None
            if isinstance(unit, Program) and unit.extent is Extent.ROWS:
                (result,) = walk(unit, {unit.inputs[0].name: operands[0]}, f"{name}.")
                values[node.name] = put(name, None, (result, *operands))
            else:
                values[node.name] = put(name, node, operands)
        return [values[port.name] for port in inner.outputs]

    given = {port.name: put(port.name) for port in program.inputs}
    return found, walk(program, given, "")


def entries(program: Program) -> dict[str, Entries]:
    """The `Entries` of `program` by the names of their steps."""
    return {step.name: step.node for step in steps(program)[0] if isinstance(step.node, Entries)}


def places_of(steps: list[Step], given: Mapping[str, Place]) -> list[Place]:
    """Of each step, from those of the inputs and of `Entries`."""
    found: list[Place] = []
    for step in steps:
        taken = [found[operand] for operand in step.operands]
        if step.node is None and taken:
            found.append(taken[1])
        elif isinstance(step.node, (Sum, Maximum)):
            found.append(min(taken[0], Place.ROW))
        else:
            found.append(given.get(step.name, max(taken, default=Place.ALL)))
    return found
