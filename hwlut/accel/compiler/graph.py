"""What a program computes, node by node: programs within it that the tile has no operator for are taken apart."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hwlut.fixed import signed_bits
from hwlut.units.applied import Rescale
from hwlut.units.movement import Concatenate, Pad, Permute, Reshape, Slice
from hwlut.units.nodes import Extent, Node, Span, format_of, operand
from hwlut.units.operations import Apply
from hwlut.units.patches import Patches
from hwlut.units.products import MatrixProduct
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["Entry", "Expand", "Graph", "MOVEMENT"]


@dataclass(frozen=True, eq=False)
class Expand(Node):
    """A value in the shape of another, as a program of rows gives its results."""

    extent = Extent.ROWS
    of: str = operand()
    like: str = operand()

    def __call__(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return value.expand(like.shape)

    def span(self, value: Span, like: Span) -> Span:
        return value


MOVEMENT = (Reshape, Permute, Slice, Concatenate, Pad, Patches, Expand)
"""Nodes that change no number."""


@dataclass(frozen=True)
class Entry:
    """A node with the names that it and its operands have here."""

    name: str
    node: Node
    operands: tuple[str, ...]


class Graph:
    """The entries of a program in order, for a tile.

    tables: bits of inputs and of entries of those with which programs within it remain nodes.
    """

    def __init__(self, program: Program, tile: Tile):
        self.program = program
        self.entries: dict[str, Entry] = {}
        self.tables: list[tuple[int, int]] = []
        self._tile = tile
        inputs = [port.name for port in program.inputs]
        aliases = self._add(program, {name: name for name in inputs}, "")
        self.outputs: dict[str, str] = {port.name: aliases[port.name] for port in program.outputs}
        self.takers: dict[str, list[Entry]] = {name: [] for name in (*inputs, *self.entries)}
        for entry in self.entries.values():
            for name in set(entry.operands):
                self.takers[name].append(entry)

    def only_taker(self, name: str) -> Entry | None:
        """What takes a value that nothing else takes, and that is no result."""
        takers = self.takers[name]
        return takers[0] if len(takers) == 1 and name not in self.outputs.values() else None

    def next_product(self, entry: Entry | None) -> Entry | None:
        """The first product of two activations behind an entry."""
        behind = itertools.dropwhile(lambda each: each is not entry, self.entries.values())
        return next((each for each in behind if isinstance(each.node, MatrixProduct) and each is not entry), None)

    def _add(self, program: Program, names: Mapping[str, str], prefix: str) -> dict[str, str]:
        """The names here of all values of a program whose inputs have `names`."""
        known = dict(names)
        for node in program.nodes:
            operands = tuple(known[each] for each in node.operands)
            name = known[node.name] = prefix + node.name
            unit = node.unit if isinstance(node, Apply) else None
            if isinstance(node, Apply) and isinstance(unit, Program) and not self._whole(program, node):
                inner = self._add(unit, {unit.inputs[0].name: operands[0]}, f"{name}.")
                last = inner[unit.outputs[0].name]
                self.entries[name] = Entry(name, Expand("expand", "of", "like"), (last, operands[0]))
            else:
                self.entries[name] = Entry(name, node, operands)
        return known

    def _whole(self, program: Program, node: Apply) -> bool:
        """Whether a program within one remains a node: as an operator, or as what a table gives, itself or with the
        units behind it."""
        unit: Any = node.unit
        if any(each.digest == unit.digest for each in self._tile.operators):
            return True
        low, high = program.spans[node.of]
        inputs = format_of((low, high)).bits
        if unit.extent is not Extent.CODES or inputs > self._tile.table_inputs:
            return False
        values, results = torch.arange(low, high + 1), {port.name for port in program.outputs}
        following: list[Any] = [node]
        while len(following) == 1 and isinstance(following[0], (Apply, Rescale)):
            (each,) = following
            unit = each.unit
            if getattr(unit, "channels", 1) > 1 or getattr(unit, "extent", Extent.CODES) is not Extent.CODES:
                return False
            values = unit(values).long()
            outputs = signed_bits(int(values.min()), int(values.max()))
            if outputs <= self._tile.table_outputs:
                self.tables.append((inputs, outputs))
                return True
            if each.name in results:
                return False
            following = [other for other in program.nodes if each.name in other.operands]
        return False
