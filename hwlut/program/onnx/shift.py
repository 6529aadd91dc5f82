"""Shifts and requantization of a program in ONNX, on int64."""

import dataclasses
from typing import Any

import numpy as np

from hwlut.fixed import Rounding
from hwlut.program.onnx.graph import Graph, Value
from hwlut.units.nodes import WORD, Span
from hwlut.units.requantize import Requantize

__all__ = ["Amount", "requantized", "shifted", "shifted_left"]

_AMOUNTS = np.arange(WORD + 1, dtype=np.int64)
_MOST = (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class Amount:
    """How far to shift: names of 2^s, 2^s - 1 and half of 2^s (0 where s is 0), and the greatest s."""

    power: str
    mask: str
    half: str
    most: int

    @classmethod
    def of(cls, graph: Graph, shifts: Any) -> "Amount":
        """Constant shifts."""
        given = np.asarray(shifts, np.int64)
        power = np.int64(1) << given
        return cls(graph.constant(power), graph.constant(power - 1), graph.constant(power >> 1), int(given.max()))

    @classmethod
    def by(cls, graph: Graph, value: Value) -> "Amount":
        """Shifts that are a value; constant where that is one number, of no shape that the result would have."""
        if value.span[0] == value.span[1] and not value.shape:
            return cls.of(graph, value.span[0])
        power = graph.op("Gather", graph.constant(np.int64(1) << _AMOUNTS), value.name)
        half = graph.op("Gather", graph.constant((np.int64(1) << _AMOUNTS) >> 1), value.name)
        return cls(power, graph.op("Sub", power, graph.constant(1)), half, value.span[1])


def shifted_left(graph: Graph, name: str, by: Amount) -> str:
    """``x * 2^s``."""
    return graph.op("Mul", name, by.power)


def shifted(graph: Graph, name: str, span: Span, by: Amount, rounding: Rounding) -> str:
    """``round(x * 2^-s)`` of int64 x in the span; no number on the way leaves int64."""
    if by.most == 0:
        return name
    if rounding is Rounding.FLOOR:
        return _floor(graph, name, span, by)
    half = 1 << (by.most - 1)
    if span[1] + half <= _MOST:
        nearest = _floor(graph, graph.op("Add", name, by.half), span, by)
    else:
        # The highest bit that is left out is what the sum with a half would carry.
        left = graph.op("BitwiseAnd", name, by.half)
        carry = graph.cast(graph.cast(left, np.bool_), np.int64)
        nearest = graph.op("Add", _floor(graph, name, span, by), carry)
    if rounding is Rounding.HALF_UP:
        return nearest
    tie = graph.op("Equal", graph.op("BitwiseAnd", name, by.mask), by.half)
    # Where nothing is shifted out, the whole rest is 0, as its half is; then nothing was rounded either.
    tie = graph.op("And", tie, graph.cast(by.half, np.bool_))
    return graph.op("Sub", nearest, graph.op("BitwiseAnd", nearest, graph.cast(tie, np.int64)))


def _floor(graph: Graph, name: str, span: Span, by: Amount) -> str:
    """Div cuts towards zero, so the rest goes first."""
    if span[0] < 0:
        name = graph.op("Sub", name, graph.op("BitwiseAnd", name, by.mask))
    return graph.op("Div", name, by.power)


def requantized(graph: Graph, value: Value, unit: Requantize, axis: int = -1) -> str:
    """The output codes of a `Requantize`, whose channels are along `axis`."""
    after = len(value.shape) - 1 - axis % max(1, len(value.shape))
    shape = () if unit.channels == 1 else (unit.channels, *(1,) * after)
    multipliers, shifts = (np.array(each, np.int64).reshape(shape) for each in (unit.multipliers, unit.shifts))
    products = graph.op("Mul", value.name, graph.constant(multipliers))
    most = max(unit.multipliers)
    span = min(0, value.span[0] * most), max(0, value.span[1] * most)
    scaled = shifted(graph, products, span, Amount.of(graph, shifts), unit.rounding)
    if unit.zero_point:
        scaled = graph.op("Add", scaled, graph.constant(unit.zero_point))
    return graph.op("Clip", scaled, graph.constant(unit.output.min), graph.constant(unit.output.max))
