"""Slope times code: an array multiplier, or shifts and additions for the signed digits of known slopes."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value

from hwlut.fixed import Fixed, canonical_digits, signed_bits
from hwlut.hdl.arithmetic import named, pick
from hwlut.hdl.stream import shape_of

__all__ = ["Multiplication", "SlopeMultiplier", "slope_multiplier"]


class Multiplication(str, enum.Enum):
    """What multiplies by the slope."""

    ARRAY = "array"  # a multiplier
    SHIFT_ADD = "shift_add"  # a shifter and an adder a signed digit


class SlopeMultiplier(ABC):
    """A multiplier and the form in which a segment's line holds its slope.

    shape: that of the form.
    """

    shape: Shape

    @abstractmethod
    def encode(self, slope: int) -> int:
        """`slope` in that form."""

    @abstractmethod
    def multiply(self, m: Module, suffix: str, slope: Signal, magnitude: Value) -> Signal:
        """The wire ``product`` + suffix: an encoded slope times `magnitude`."""


class _Array(SlopeMultiplier):
    def __init__(self, format: Fixed):
        self.shape = shape_of(format)

    def encode(self, slope: int) -> int:
        return slope

    def multiply(self, m: Module, suffix: str, slope: Signal, magnitude: Value) -> Signal:
        return named(m, f"product{suffix}", slope * magnitude)


class _ShiftAdd(SlopeMultiplier):
    """One shifter and one adder for each of the D digits of the slope that has most.

    The word of a slope holds, a digit, the number of its (sign, exponent) in a sorted list: the
    pairs that digit takes over all slopes, and zero where some slope has fewer digits.
    """

    def __init__(self, slopes: Sequence[int], magnitude_bits: int):
        digits = [canonical_digits(slope) for slope in slopes]
        most = max(map(len, digits))
        rows = [(*row, *[(0, 0)] * (most - len(row))) for row in digits]
        self._choices = [sorted(set(column)) for column in zip(*rows)]
        self._bits = [(len(choices) - 1).bit_length() for choices in self._choices]
        self._word = {slope: self._pack(row) for slope, row in zip(slopes, rows)}
        reach = max(map(abs, slopes)) << magnitude_bits
        self._product = Shape(signed_bits(-reach, reach), True)
        self.shape = Shape(max(1, sum(self._bits)))

    def _pack(self, row: Sequence[tuple[int, int]]) -> int:
        word = 0
        for digit, choices, bits in reversed(list(zip(row, self._choices, self._bits))):
            word = word << bits | choices.index(digit)
        return word

    def encode(self, slope: int) -> int:
        return self._word[slope]

    def multiply(self, m: Module, suffix: str, slope: Signal, magnitude: Value) -> Signal:
        total: Value = Const(0)
        low = 0
        for number, (choices, bits) in enumerate(zip(self._choices, self._bits)):
            digit = slope[low : low + bits]
            low += bits
            shifted = [magnitude.shift_left(exponent) if sign else Const(0) for sign, exponent in choices]
            term = named(m, f"term{suffix}_{number}", pick(digit, shifted), self._product)
            minus = named(m, f"minus{suffix}_{number}", pick(digit, [Const(sign < 0, 1) for sign, _ in choices]))
            # Minus x is its complement and one.
            total = total + Mux(minus, ~term, term) + minus
        return named(m, f"product{suffix}", total, self._product)


def slope_multiplier(
    kind: Multiplication, format: Fixed, slopes: Sequence[int], magnitude_bits: int
) -> SlopeMultiplier:
    """A multiplier of the given kind for `slopes` in `format` and magnitudes below 2^magnitude_bits."""
    return _Array(format) if kind is Multiplication.ARRAY else _ShiftAdd(slopes, magnitude_bits)
