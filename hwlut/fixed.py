"""Fixed-point formats and the rounding rules, as integer arithmetic."""

import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["Fixed", "Rounding", "power_of_two", "round_shift", "saturate", "signed_bits", "canonical_digits"]


class Rounding(str, enum.Enum):
    """How a real value v becomes an integer."""

    HALF_UP = "half_up"  # floor(v + 1/2)
    HALF_EVEN = "half_even"  # nearest, ties to the even integer
    FLOOR = "floor"


def round_shift(value: Any, shift: int, rounding: Rounding = Rounding.HALF_UP) -> Any:
    """``round(value * 2^-shift)`` exactly; a negative shift multiplies.

    `value` is an int or an integer array or tensor, whose type must hold the result, 2^(shift-1) and 1.
    rounding: one of `Rounding`, or its name.
    """
    rounding = Rounding(rounding)
    if shift <= 0:
        return value << -shift
    kept = value >> shift
    if rounding is Rounding.FLOOR:
        return kept
    # No sum of value and half: it could leave the type.
    half = (value >> (shift - 1)) & 1
    if rounding is Rounding.HALF_EVEN:
        beyond_half = (value & ((1 << (shift - 1)) - 1)) != 0
        half = half & (beyond_half | (kept & 1))
    return kept + half


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's-complement integer that holds both ends of [low, high]."""
    return max(1, high.bit_length() + 1 if high > 0 else 1, (~low).bit_length() + 1 if low < 0 else 1)


def canonical_digits(value: int) -> tuple[tuple[int, int], ...]:
    """The (sign, exponent) of the fewest signed powers of two whose sum is `value`, highest first.

    The canonical form, in which no two exponents are neighbours (Reitwiesner, "Binary Arithmetic", 1960).
    """
    digits = []
    exponent = 0
    while value:
        if value & 1:
            sign = 2 - (value & 3)
            digits.append((sign, exponent))
            value -= sign
        value >>= 1
        exponent += 1
    return tuple(reversed(digits))


@dataclass(frozen=True)
class Fixed:
    """A fixed-point format: code c stands for the real value c * 2^-frac.

    Parameters
    ----------
    bits: width of the code, 1 to 64.
    frac: fraction bits, 0 to 62; None where the point is placed elsewhere (by a scale chosen at
        run time) or plays no part (the operand of an integer multiplier).
    signed: two's complement when true.
    """

    bits: int
    frac: Any = None  # int | None: no type checker knows which formats have a point
    signed: bool = True

    def __post_init__(self) -> None:
        for label, value, low, high in (("bits", self.bits, 1, 64), ("frac", self.frac, 0, 62)):
            if label == "frac" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Fixed {label} must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"Fixed {label} must be from {low} to {high}, not {value}")
        if not isinstance(self.signed, bool):
            raise TypeError(f"Fixed signed must be true or false, not {self.signed!r}")

    @property
    def min(self) -> int:
        """The lowest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The highest code."""
        return (1 << (self.bits - self.signed)) - 1

    def __str__(self) -> str:
        kind = f"{'s' if self.signed else 'u'}{self.bits}"
        return kind if self.frac is None else f"{kind}.{self.frac}"


def saturate(value: Any, format: Fixed) -> Any:
    """`value` (int, array or tensor) held in the code range of `format`."""
    if isinstance(value, int):
        return min(max(value, format.min), format.max)
    return value.clip(format.min, format.max)


def power_of_two(exponent: Any) -> Any:
    """The float32 tensor ``2^exponent`` of an int32 tensor from -126 to 127: exact everywhere, made of its bits."""
    import torch

    return ((exponent + 127) << 23).view(torch.float32)
