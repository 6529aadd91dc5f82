"""A program while it is drawn: nodes whose numbers a tile holds, and the values that they can take."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hwlut.accel.streams.draws import Draws
from hwlut.fixed import Fixed, signed_bits
from hwlut.units.nodes import Node, Span
from hwlut.units.ports import Port
from hwlut.units.tile import Operation, Tile

__all__ = ["SIZES", "Sketch"]

SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13)
"""Of axes."""

_NUMBERS = 300
_SAMPLES = 2


class Unfit(Exception):
    """What was drawn has no place in the program."""


class Sketch(Draws):
    """The nodes so far.

    values: of two samples, by name. spans: of all of them. unused: names of those that nothing takes. constants: of
    those that are the same in all samples, and have no axis of these.
    """

    def __init__(self, tile: Tile, seed: int):
        super().__init__(seed)
        self.tile = tile
        self.inputs: list[Port] = []
        self.nodes: list[Node] = []
        self.values: dict[str, torch.Tensor] = {}
        self.spans: dict[str, Span] = {}
        self.unused: list[str] = []
        self.constants: set[str] = set()

    def size(self) -> int:
        """Of an axis."""
        return int(self.one(SIZES))

    def format(self, bits: int, least: int = 2) -> Fixed:
        """Of up to so many bits, two's complement: often 8 bits, and often unsigned."""
        signed = self.chance(0.7)
        most = max(1, bits - (not signed))
        return Fixed(min(most, 8) if self.chance(0.5) else self.integer(min(least, most), most + 1), signed=signed)

    def integers(self, low: int, high: int, *shape: int) -> "torch.Tensor":
        """From `low` to `high`, both included."""
        return torch.from_numpy(self.rng.integers(low, high + 1, shape))

    def begin(self, port: Port) -> None:
        """Adds an input."""
        self.inputs.append(port)
        codes = self.integers(port.format.min, port.format.max, _SAMPLES, *(port.shape or ()))
        self._hold(port.name, codes, (port.format.min, port.format.max))

    def attempt(self, kind: "Callable[[Sketch], object]") -> bool:
        """Adds what a kind draws; nothing where it has no place, or its numbers or shapes are not a tile's."""
        before = len(self.nodes), dict(self.values), dict(self.spans), list(self.unused), set(self.constants)
        try:
            kind(self)
        except Unfit:
            length, self.values, self.spans, self.unused, self.constants = before
            del self.nodes[length:]
            return False
        return True

    def add(self, kind: Callable[..., Node], *arguments: Any, **fields: Any) -> str:
        """Adds a node, and returns its name."""
        try:
            node = kind(f"v{len(self.values)}", *arguments, **fields)
            span = node.span(*(self.spans[name] for name in node.operands))
            value = torch.as_tensor(node(*(self.values[name] for name in node.operands)))
        except (ValueError, RuntimeError, IndexError) as error:
            raise Unfit from error
        self.need(signed_bits(*span) <= self.tile.value_bits and 1 <= value.numel() <= _SAMPLES * _NUMBERS)
        self.nodes.append(node)
        self.unused = [name for name in self.unused if name not in node.operands]
        if self.constants.issuperset(node.operands):
            self.constants.add(node.name)
        self._hold(node.name, value, span)
        return node.name

    @staticmethod
    def need(fits: object) -> None:
        """Unfit, where something is not."""
        if not fits:
            raise Unfit

    def _hold(self, name: str, value: torch.Tensor, span: Span) -> None:
        self.values[name], self.spans[name] = value, span
        self.unused.append(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value of a sample."""
        return tuple(self.values[name].shape[1:])

    def pick(self, fits: Callable[[str], bool] = lambda name: True) -> str:
        """A value that fits, most often the last one or one that nothing takes yet, or what was taken last."""
        names = [name for name in self.values if name not in self.constants and fits(name)]
        self.need(names)
        if self.nodes and self.chance(0.15):
            names = [name for name in self.nodes[-1].operands if name in names] or names
        left = [name for name in names if name in self.unused]
        if left and self.chance(0.75):
            return str(left[-1] if self.chance(0.7) else self.one(left))
        return str(self.one(names))

    def within(self, name: str, format: Fixed) -> bool:
        """Whether a format holds all that a value can be."""
        low, high = self.spans[name]
        return format.min <= low and high <= format.max

    def has(self, *operations: Operation) -> bool:
        """Whether the tile's lanes have them."""
        return set(operations) <= set(self.tile.operations)

    def steps(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """A stride or a dilation of each axis."""
        most = 4 if self.chance(0.4) else 2
        return tuple(self.integer(1, most) for _ in sizes)

    def widths(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """A padding of each axis."""
        most = 3 if self.chance(0.6) else 1
        return tuple(self.integer(0, most) for _ in sizes)
