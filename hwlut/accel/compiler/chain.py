"""Chains: nodes behind each other that one COMPUTE does, in its lanes and by a table."""

from typing import Any

import torch

from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.graph import Entry, Expand
from hwlut.accel.compiler.lane import Lane, Stage
from hwlut.accel.compiler.places import Space, known, only_space
from hwlut.accel.compiler.words import tables
from hwlut.fixed import signed_bits
from hwlut.units.applied import Rescale
from hwlut.units.movement import Permute, Reshape
from hwlut.units.nodes import Extent, Span
from hwlut.units.operations import Apply
from hwlut.units.program import Program

__all__ = ["Chain"]


class Chain:
    """What has been put into a lane: the nodes' names, of which the last is the value's."""

    def __init__(self, builder: Builder, lane: Lane, name: str, nodes: tuple[str, ...] = ()):
        self.builder, self.lane, self.name, self.nodes = builder, lane, name, list(nodes)

    def extend(self) -> None:
        """Adds what takes the value, as long as nothing else does and it has its place in the lane."""
        while (entry := self.builder.graph.only_taker(self.name)) and self.add(entry):
            pass

    def add(self, entry: Entry) -> bool:
        """Adds a node that takes the value, and with a table those that it computes too."""
        if self._moves(entry) or self.lane.takes(entry.node):
            self.name = entry.name
            self.nodes.append(entry.name)
            return True
        return self._look_up(entry)

    def _moves(self, entry: Entry) -> bool:
        index = self._moved(entry, self.name, self.lane.index)
        if index is None:
            return False
        self.lane.index = index
        return True

    def _moved(self, entry: Entry, name: str, index: torch.Tensor) -> torch.Tensor | None:
        """The index behind a node that moves each number to a place of its own."""
        if isinstance(entry.node, (Reshape, Permute)):
            return entry.node(index)
        if isinstance(entry.node, Expand) and entry.operands[0] == name:
            like = self.builder.places.get(entry.operands[1])
            return index if like is not None and like.shape == index.shape else None
        return None

    def _look_up(self, entry: Entry | None) -> bool:
        """Adds the longest chain whose numbers a table of the tile gives."""
        tile, lane = self.builder.tile, self.lane
        codes = _codes(lane.span, tile.table_inputs)
        if lane.stage >= Stage.TABLE or codes is None:
            return False
        values, index, name, passed = codes, lane.index, self.name, list[str]()
        best = None
        while entry is not None:
            moved = self._moved(entry, name, index)
            if moved is not None:
                index = moved
            elif (found := self._computed(entry, name, values)) is None:
                break
            else:
                values = found
            name = entry.name
            passed.append(name)
            span = int(values.min()), int(values.max())
            if signed_bits(*span) <= tile.table_outputs:
                best = values, index, name, list(passed), span
            entry = self.builder.graph.only_taker(name)
        if best is None:
            return False
        self.builder.note("table_inputs", _code_bits(lane.span))
        values, lane.index, self.name, passed, lane.span = best
        self.builder.note("table_outputs", signed_bits(*lane.span))
        self.nodes += passed
        held = torch.zeros(1 << tile.table_inputs, dtype=torch.int64)
        held[codes & (len(held) - 1)] = values
        lane.stage, lane.table = Stage.TABLE, self.builder.table(tables(tile, held.numpy()))
        return True

    def _computed(self, entry: Entry, name: str, values: torch.Tensor) -> torch.Tensor | None:
        """The results of a node of codes whose other operands are numbers that are the same everywhere."""
        node: Any = entry.node
        unit = node.unit if isinstance(node, (Apply, Rescale)) else None
        if isinstance(unit, Program) and unit.extent is not Extent.CODES:
            return None
        if node.extent is not Extent.CODES and not (isinstance(node, Rescale) and node.unit.channels == 1):
            return None
        given = []
        for operand in entry.operands:
            if operand == name:
                given.append(values)
                continue
            places = self.builder.places.get(operand)
            if places is None or only_space(places.numpy()) is not Space.LITERAL or len(places.unique()) > 1:
                return None
            given.append(known(places.flatten()[:1]))
        return torch.as_tensor(node(*given), dtype=torch.int64).expand(values.shape)


def _codes(span: Span, bits: int) -> torch.Tensor | None:
    """All numbers of a span of which the low bits tell them apart; None where there is none such."""
    return torch.arange(span[0], span[1] + 1) if bits and _code_bits(span) <= bits else None


def _code_bits(span: Span) -> int:
    """How many low bits tell the numbers of a span apart."""
    low, high = span
    return high.bit_length() if low >= 0 else signed_bits(low, high)
