"""Steps being built: where values lie, and the COMPUTEs that bring them there."""

import dataclasses
from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Destination, Reduction, Requantization
from hwlut.accel.compiler.emission import Target, computes
from hwlut.accel.compiler.graph import Entry, Graph
from hwlut.accel.compiler.halos import Widths, around, interior
from hwlut.accel.compiler.lane import Lane
from hwlut.accel.compiler.memory import Full, Storage
from hwlut.accel.compiler.nests import NoNest, Rows, cut
from hwlut.accel.compiler.places import Space, addresses, known, literal, numbers, only_space, places_of, spaces
from hwlut.accel.compiler.words import Segment
from hwlut.accel.compiler.work import Work
from hwlut.fixed import signed_bits
from hwlut.units.nodes import Span
from hwlut.units.products import MatrixProduct
from hwlut.units.reductions import Sum
from hwlut.units.tile import ADDRESS_BITS, Operation, Tile

__all__ = ["Builder"]

_OVERHEAD = 40
"""Cycles that a COMPUTE takes beside its steps, about."""


class Builder:
    """The state of a compilation.

    places, spans: of values by name. shapes: of the program's results. whole: the shape of all of these, where they are
    broadcast. lowered: what was subtracted from values. works: of the step that is being built, whose node is `entry`.
    results: of each COMPUTE that gives some the output's name and which of its elements. needs: the least of the tile's
    parameters with which all so far is possible.
    """

    def __init__(self, tile: Tile, graph: Graph):
        self.tile, self.graph = tile, graph
        self.places: dict[str, torch.Tensor] = {}
        self.spans: dict[str, Span] = {}
        self.halos: dict[str, tuple[tuple[int, ...], int, torch.Tensor]] = {}
        self.lowered: dict[str, int] = {}
        self.works: list[Work] = []
        self.results: list[tuple[str, np.ndarray]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.whole: tuple[int, ...] | None = None
        self.entry: Entry | None = None
        operands = min(tile.operands, (1 << ADDRESS_BITS) >> (tile.columns - 1).bit_length())
        self.storage = Storage({Space.VALUES: tile.values, Space.OPERANDS: operands})
        self.needs: dict[str, int] = {}
        for inputs, outputs in graph.tables:
            self.note("table_inputs", inputs)
            self.note("table_outputs", outputs)
        self._tables: dict[bytes, Segment] = {}

    def note(self, parameter: str, number: int) -> None:
        """That a parameter of the tile must be at least so much."""
        self.needs[parameter] = max(number, self.needs.get(parameter, 0))

    def require(self, parameter: str, number: int, what: str) -> None:
        """Notes it; ValueError of `what` where the tile's is less."""
        self.note(parameter, number)
        if number > getattr(self.tile, parameter):
            raise self.refusal(what)

    def refusal(self, text: str) -> ValueError:
        """That the program cannot be computed, naming the node at hand."""
        node = f" node {self.entry.name!r}" if self.entry else ""
        return ValueError(f"Program {self.graph.program.name!r}{node} {text}")

    def result_span(self, entry: Entry) -> Span:
        """The lowest and the highest number of a node's result, from what is known of its operands."""
        node: Any = entry.node
        if isinstance(node, (Sum, MatrixProduct)):
            node = dataclasses.replace(node, most=self.places[entry.operands[0]].shape[-1])
        return node.span(*(self.spans[name] for name in entry.operands))

    # Memory

    def allocate(self, space: Space, count: int, owner: str | None = None) -> int:
        """Words for a value, or for the step at hand alone; ValueError where there are too few."""
        try:
            start = self.storage.allocate(space, count, owner)
        except Full as full:
            raise self.refusal(str(full)) from None
        self.note(space.name.lower(), start + count)
        return start

    def finish(self) -> tuple[Work, ...]:
        """The works of the step, which is over."""
        self.storage.free_temporary()
        works, self.works = tuple(self.works), []
        return works

    def buffer(self, shape: tuple[int, ...], owner: str | None = None) -> torch.Tensor:
        """Places in values of a tensor of that shape."""
        count = int(np.prod(shape))
        start = self.allocate(Space.VALUES, count, owner)
        return places_of(Space.VALUES, torch.arange(start, start + count).reshape(shape))

    def haloed(self, shape: tuple[int, ...], widths: Widths, fill: int, owner: str | None) -> torch.Tensor:
        """Places of a tensor of `shape` with `fill` around it, which is written: so many before and after each axis."""
        self.check_bits(fill, fill)
        whole = self.buffer(tuple(size + sum(pair) for size, pair in zip(shape, widths)), owner)
        inner = whole
        for axis, (size, (before, after)) in enumerate(zip(shape, widths)):
            self.fill(inner.narrow(axis, 0, before), fill)
            self.fill(inner.narrow(axis, before + size, after), fill)
            inner = inner.narrow(axis, before, size)
        return whole

    def table(self, segment: Segment) -> Segment:
        """The table of the same entries that came first."""
        return self._tables.setdefault(segment.beats.tobytes(), segment)

    def padded(self, name: str, padding: tuple[int, ...], fill: int, owner: str | None = None) -> torch.Tensor:
        """Places of a value [N, C, *in] with `fill` around it; of a copy for an owner where there is none."""
        places = self.places[name]
        if not any(padding):
            return self.readable(places)
        if name in self.halos:
            held, number, whole = self.halos[name]
            if number == fill and all(width <= most for width, most in zip(padding, held)):
                return interior(whole, around(tuple(most - width for width, most in zip(padding, held))))
        whole = self.haloed(tuple(places.shape), around(padding), fill, owner)
        self.copy(places, interior(whole, around(padding)))
        return whole

    # Moving numbers

    def countable(self, x: torch.Tensor) -> torch.Tensor:
        """Places of rows [..., K] that nests count: as they are, or of a copy where these would be too many."""
        rows = Rows.of(addresses(x.reshape(-1, x.shape[-1]).numpy()))
        try:
            pieces = sum(1 for _ in cut({"feed": {"x": rows}}, self.tile.loops))
        except NoNest:
            return self.copied(x)
        return x if pieces == 1 or pieces * _OVERHEAD <= x.numel() else self.copied(x)

    def readable(self, places: torch.Tensor, *allowed: Space) -> torch.Tensor:
        """Places that all lie in one of these spaces: as they are, or of a copy in values."""
        if only_space(places.numpy()) in (allowed or (Space.VALUES, Space.INPUTS)):
            return places
        unique, inverse = torch.unique(places, return_inverse=True)
        if 2 * unique.numel() <= places.numel():
            return self.copied(unique)[inverse]
        return self.copied(places)

    def fill(self, places: torch.Tensor, number: int) -> None:
        """Writes a number to places in values."""
        if places.numel():
            self.copy(torch.full_like(places, literal(number)), places)

    def copied(self, places: torch.Tensor) -> torch.Tensor:
        """Places in values of a copy."""
        found = self.buffer(tuple(places.shape))
        numbers = places[torch.from_numpy(spaces(places.numpy()) == Space.LITERAL)]
        if 0 < len(numbers) < places.numel() and bool((numbers == numbers[0]).all()):
            # A number between others: everywhere at once, and these over it.
            self.fill(found, int(known(numbers[0])))
            others = places != numbers[0]
            self.copy(places[others], found[others])
        else:
            self.copy(places, found)
        return found

    def copy(self, source: torch.Tensor, places: torch.Tensor) -> None:
        """Brings numbers from places of any kind to places in values or in operands."""
        whence = spaces(source.flatten().numpy())
        for space in np.unique(whence):
            some = torch.from_numpy(np.flatnonzero(whence == space))
            self._bring(source.flatten()[some], Target.of(places.flatten()[some]))

    def number(self, value: int) -> torch.Tensor:
        """The place of a number that is known, as a tensor of no axes."""
        return torch.tensor(literal(value))

    def numbers(self, values: torch.Tensor) -> torch.Tensor:
        """The places of numbers that are known; ValueError beyond 48 bits."""
        try:
            return numbers(values)
        except ValueError as error:
            raise self.refusal(str(error)) from None

    def take_y(self, lane: Lane, y: torch.Tensor) -> None:
        """Has a lane take places of values, or numbers, one for each of the step's own results."""
        flat = y.flatten()
        if only_space(flat.numpy()) is not Space.LITERAL:
            lane.y = flat.numpy()
            return
        for number in (int(known(flat).min()), int(known(flat).max())):
            bits = signed_bits(number, number)
            self.require(
                "lane_bits", bits, f"takes the number {number}; the tile's lanes have {self.tile.lane_bits} bits"
            )
        if bool((flat == flat[0]).all()):
            lane.y = flat.numpy()
        else:
            lane.offset, lane.offset_is_y = known(flat), True

    def combined(self, operation: Operation, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Places in values of what an operation makes of numbers at x and y, which are of values or known."""
        self.need(operation)
        found = self.buffer(tuple(x.shape))
        lane = Lane(torch.arange(x.numel()), (0, 0), operation=operation)
        self.take_y(lane, y)
        self.vector(lane, Target.of(found), x.reshape(-1, 1))
        return found

    def sums(self, x: torch.Tensor, span: Span, factor: int) -> torch.Tensor:
        """Places [...] of the sums of numbers at x [..., K], times a factor."""
        ends = [factor * x.shape[-1] * end for end in span]
        self.check_bits(min(*ends), max(*ends))
        found = self.buffer(tuple(x.shape[:-1]))
        lane = Lane(torch.arange(found.numel()), span, reduction=Reduction.SUM)
        rows = x.reshape(found.numel(), -1)
        if factor != 1:
            self.need(Operation.MULTIPLY)
            lane.operation, lane.y = Operation.MULTIPLY, np.full(rows.shape, literal(factor))
        self.vector(lane, Target.of(found), rows)
        return found

    def need(self, operation: Operation) -> None:
        """ValueError where the tile does not have the operation."""
        if operation not in self.tile.operations:
            raise self.refusal(f"needs the operation {operation.value}, which the tile does not have")

    def check_bits(self, low: int, high: int) -> None:
        """ValueError where values do not hold numbers of that span."""
        bits = signed_bits(low, high)
        self.require("value_bits", bits, f"has numbers of {bits} bits; the tile's values have {self.tile.value_bits}")

    def output(self, name: str, places: torch.Tensor) -> None:
        """Brings numbers to the stream of results."""
        whence = spaces(places.flatten().numpy())
        for space in np.unique(whence):
            some = np.flatnonzero(whence == space)
            target = Target(Destination.OUTPUT, some, name)
            self._bring(places.flatten()[torch.from_numpy(some)], target)

    def _bring(self, source: torch.Tensor, target: Target) -> None:
        """Brings numbers from places of one space to a target."""
        lane = Lane(torch.arange(source.numel()), (0, 0))
        flat = source.flatten()
        if only_space(flat.numpy()) is not Space.LITERAL:
            self.vector(lane, target, flat[:, None])
            return
        lane.operation = "y"
        self.check_bits(int(known(flat).min()), int(known(flat).max()))
        self.take_y(lane, flat)
        self.vector(lane, target, places_of(Space.VALUES, torch.zeros(len(flat), 1, dtype=torch.int64)))

    # COMPUTEs

    def vector(self, lane: Lane, target: Target, x: torch.Tensor, period: int = 1) -> None:
        """COMPUTEs of lanes alone, of which groups of numbers at places x [G, count] give all results in order."""
        if (count := x.shape[1]) > 1:
            x = self.countable(x)
        elements = np.arange(target.addresses.size).reshape(len(x), -1)
        self.emit(lane, target, elements, x=x.numpy(), count=count, period=period)

    def emit(self, lane: Lane, target: Target, elements: np.ndarray, **groups: Any) -> None:
        """Adds COMPUTEs, see `computes`. Results that lie where no nest counts them are brought there, from places in
        order."""
        if lane.requantization is not Requantization.NONE:
            bits = int(torch.as_tensor(lane.factor).max()).bit_length()
            what = f"requantizes by {bits} bits; the tile's factor_bits are {self.tile.factor_bits}"
            self.require("factor_bits", bits, what)
        try:
            self._add(lane, target, elements, **groups)
        except NoNest:
            given = elements.reshape(-1)
            places = self.buffer((given.size,))
            in_order = np.zeros_like(target.addresses)
            in_order[given] = addresses(places.numpy())
            try:
                self._add(lane, Target(Destination.VALUES, in_order), elements, **groups)
            except NoNest as error:
                raise self.refusal(str(error)) from None
            there = dataclasses.replace(target, addresses=target.addresses[given])
            self._bring(places, there)

    def _add(self, lane: Lane, target: Target, elements: np.ndarray, **groups: Any) -> None:
        """Adds COMPUTEs: all of them, or none and NoNest."""
        try:
            found = list(computes(self.tile, lane, target, elements, **groups))
        except NoNest:
            raise
        except ValueError as error:
            raise self.refusal(str(error)) from None
        for work, given in found:
            self.works.append(work)
            if target.destination is Destination.OUTPUT:
                self.results.append((target.name, target.addresses[given]))
