"""The nodes of a program as they are put together from numbers with steps."""

import itertools
from typing import Any

import numpy as np

from hwlut.fixed import Fixed, signed_bits
from hwlut.lowering.numbers import Grid, Number
from hwlut.names import LONGEST, shortened_name
from hwlut.units import Requantize
from hwlut.units.applied import Rescale
from hwlut.units.nodes import Node, Span
from hwlut.units.operations import Add, Apply, Clamp, Constant, Multiply, ShiftLeft
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries

__all__ = ["Builder", "TooWideError"]

_LONGEST = LONGEST - 4  # a number may follow
_LIMIT = 1 << 31  # codes that a Requantize takes

_DEAD = float(1 << 29)
"""Codes in an offset from which on they count as nothing beside it."""

_OFFSET = float(1 << 14)
"""Codes that such an offset then is."""

_NEAR = 2.0**-6
"""Of a code, within which an offset counts as one."""


class TooWideError(ValueError):
    """Names the stage of what is too wide, which others take."""


class Builder:
    """The inputs and the nodes so far, and the spans of all values.

    factor_bits: of multipliers of requantizations. value_bits: of codes before an offset is added that is none of
    them. stage: whose nodes are added, for messages.
    """

    def __init__(self, factor_bits: int, value_bits: int) -> None:
        self.factor_bits, self.value_bits = factor_bits, value_bits
        self.inputs: list[Port] = []
        self.nodes: list[Node] = []
        self.spans: dict[str, Span] = {}
        self._held: dict[Any, str] = {}
        self._made: dict[str, str] = {}
        self.stage = ""

    def input(self, port: Port) -> str:
        """Take in a port."""
        self.inputs.append(port)
        self.spans[port.name] = port.format.min, port.format.max
        return port.name

    def fresh(self, name: str) -> str:
        """`name`, or with a number behind it, that no value has."""
        base = name if len(name) <= _LONGEST else shortened_name(name[: _LONGEST - 9], name)
        names = itertools.chain([base], (f"{base}_{count}" for count in itertools.count(2)))
        return next(each for each in names if each not in self.spans)

    def add(self, kind: type[Node], name: str, *operands: Any, **fields: Any) -> str:
        """Add a node, by a free name like `name`, and return that; ValueError says what the node refuses."""
        node = kind(self.fresh(name), *operands, **fields)
        try:
            self.spans[node.name] = node.span(*(self.spans[operand] for operand in node.operands))
        except ValueError as error:
            raise ValueError(f"{node.name} {error}") from None
        self.nodes.append(node)
        self._made[node.name] = self.stage
        return node.name

    def _origin(self, name: str) -> str:
        """The stage of the first value too wide to be rescaled on the way to one that is."""
        node = next((each for each in self.nodes if each.name == name), None)
        for operand in node.operands if node else ():
            low, high = self.spans[operand]
            if max(-low, high + 1) > _LIMIT:
                return self._origin(operand)
        return self._made.get(name, f"input {name!r}")

    def entries(self, name: str, values: np.ndarray) -> str:
        """An array of constants, the same one again where it was asked for."""
        key = values.shape, values.astype(np.int64).tobytes()
        if key not in self._held:
            self._held[key] = self.add(Entries, name, np.atleast_1d(values.astype(np.int64)))
        return self._held[key]

    def positive(self, number: Number) -> Number:
        """The number by codes whose scales are positive: those of channels with other ones change sign, and are 0 where
        their scale is, or is nothing beside the offset."""
        dead = np.abs(number.offset) >= np.abs(number.scale) * _DEAD
        if (number.scale > 0).all() and not dead.any():
            return number
        dead = np.broadcast_to(dead, number.scale.shape) | (number.scale == 0)
        signs = self.entries(f"{number.name}_signs", number.along(np.where(dead, 0, np.sign(number.scale))))
        name = self.add(Multiply, f"{number.name}_turned", number.name, signs)
        away = np.where(number.offset != 0, np.abs(number.offset), 1.0) / _OFFSET
        return Number(name, number.dims, np.where(dead, away, np.abs(number.scale)), number.offset, number.axis)

    def centred(self, number: Number) -> Number:
        """The number by codes of positive scale where 0 stands for zero, its offset rounded to whole codes.

        Codes of few bits are shifted up before, so that an offset that is none of them counts.
        """
        number = self.positive(number)
        name, scale, steps = number.name, number.scale, number.offset / number.scale
        low, high = self.spans[name]
        up = self.value_bits - signed_bits(low, high)
        if up > 0 and (np.abs(steps - np.rint(steps)) > _NEAR).any():
            by = self.add(Constant, f"{name}_places", up)
            name = self.add(ShiftLeft, f"{name}_finer", name, by)
            scale, steps = np.ldexp(scale, -up), np.ldexp(steps, up)
        if np.rint(steps).any():
            offset = self.entries(f"{name}_offset", number.along(np.rint(steps)))
            name = self.add(Add, f"{name}_centred", name, offset)
        return Number(name, number.dims, scale, np.zeros_like(number.offset), number.axis)

    def on(self, number: Number, grid: Grid) -> Number:
        """The number on a grid: rescaled, rounded half up and saturated, where it is not there already."""
        key = number.name, grid, number.scale.tobytes(), number.offset.tobytes()
        if key not in self._held:
            self._held[key] = self._onto(number, grid)
        return Number.on(self._held[key], number.dims, grid)

    def _onto(self, number: Number, grid: Grid) -> str:
        low, high = self.spans[number.name]
        same = (number.scale == grid.step).all() and (number.offset == -grid.zero * grid.step).all()
        if same and grid.format.min <= low and high <= grid.format.max:
            return number.name
        number = self.centred(number)
        low, high = self.spans[number.name]
        if (number.scale == grid.step).all() and not grid.zero:
            return self.add(Clamp, f"{number.name}_held", number.name, grid.format.min, grid.format.max)
        if max(-low, high + 1) > _LIMIT:
            bits = signed_bits(low, high)
            raise TooWideError(
                f"{self._origin(number.name)} accumulator must have at most 32 bits to be rescaled, not {bits}; "
                "give its operands fewer bits"
            )
        ratios = np.minimum(number.scale / grid.step, _LIMIT / 2)  # beyond which all but 0 saturates
        ratios = ratios.ravel()[:1] if (ratios == ratios.ravel()[0]).all() else ratios
        unit = Requantize.from_ratios(
            ratios.ravel().tolist(),
            self.factor_bits,
            input=Fixed(max(2, signed_bits(low, high))),
            zero_point=grid.zero,
            output=grid.format,
        )
        if unit.channels == 1:
            return self.add(Apply, f"{number.name}_as_{grid.format}", number.name, unit)
        assert number.axis is not None
        return self.add(Rescale, f"{number.name}_as_{grid.format}", number.name, unit, number.axis - number.dims)

    def constant(self, name: str, values: np.ndarray, grid: Grid, dims: int) -> Number:
        """Real constants on a grid, as an array of it."""
        codes = np.clip(np.rint(values / grid.step) + grid.zero, grid.format.min, grid.format.max)
        return Number.on(self.entries(name, codes), dims, grid)
