"""Formats of codes beside `Fixed`: small floating point, and formats by their names."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from hwlut.fields import shorten
from hwlut.fixed import Fixed, signed_bits

__all__ = ["Format", "Minifloat", "integers_of", "parse_format", "significant_bits"]

_EXPONENTS = (1, 5)
_MANTISSAS = (0, 10)
_INTEGERS = (2, 16)
_HIGHEST = {(4, 3): 14 << 14, (5, 2): 7 << 29}
"""Codes of the highest finite values where some of the highest exponent stand for no number: 448 and 57344."""


@dataclass(frozen=True)
class Minifloat:
    """A small floating-point format, counted in its smallest step: codes are integers of few significant bits.

    Sign, exponent with bias 2^(E-1) - 1, mantissa; subnormal values too, and every pattern is a number, but in E4M3 and
    E5M2, which end at 448 and 57344 (Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433). So code c
    stands for c * 2^smallest, and is one of the integers from `min` to `max` with at most `significant` significant
    bits: E2M1 has 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.

    Parameters
    ----------
    exponent: its bits E, 1 to 5.
    mantissa: its bits M, 0 to 10.
    """

    exponent: int
    mantissa: int

    def __post_init__(self) -> None:
        for label, value, (low, high) in (
            ("exponent", self.exponent, _EXPONENTS),
            ("mantissa", self.mantissa, _MANTISSAS),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Minifloat {label} must be an integer, not {shorten(value)}")
            if not low <= value <= high:
                raise ValueError(f"Minifloat {label} must be from {low} to {high}, not {value}")

    @property
    def bits(self) -> int:
        """Width in storage."""
        return 1 + self.exponent + self.mantissa

    @property
    def significant(self) -> int:
        """The most significant bits that a code has."""
        return self.mantissa + 1

    @property
    def signed(self) -> bool:
        """True: there is always a sign."""
        return True

    @property
    def smallest(self) -> int:
        """The exponent of the smallest step: code 1 is the value 2^smallest."""
        return 2 - (1 << (self.exponent - 1)) - self.mantissa

    @property
    def max(self) -> int:
        """The highest code."""
        every = ((2 << self.mantissa) - 1) << ((1 << self.exponent) - 2)
        return _HIGHEST.get((self.exponent, self.mantissa), every)

    @property
    def min(self) -> int:
        """The lowest code."""
        return -self.max

    @property
    def name(self) -> str:
        """Such as "e2m1"."""
        return f"e{self.exponent}m{self.mantissa}"

    def integers(self) -> Fixed:
        """The narrowest signed integers that hold all codes: what stands before an integer multiplier.

        ValueError where they are wider than 32 bits, as those of E5M2.
        """
        bits = signed_bits(self.min, self.max)
        if bits > 32:
            raise ValueError(f"Minifloat {self} must have integers of at most 32 bits, not {bits}")
        return Fixed(bits)

    def __str__(self) -> str:
        return self.name


Format: TypeAlias = Fixed | Minifloat
"""What a quantizer can have: codes from `min` to `max`, `signed` or not, `bits` wide."""


def significant_bits(format: Format) -> int:
    """The most significant bits of a code of `format`; 0 where every integer from `min` to `max` is one."""
    return format.significant if isinstance(format, Minifloat) else 0


def integers_of(format: Format) -> Fixed:
    """The integers that hold the codes of `format`; ValueError for a Minifloat that has none."""
    return format.integers() if isinstance(format, Minifloat) else format


def parse_format(text: str) -> Format:
    """The format of a name, `text`: "int4", "s4" and "4" are signed integers, "uint8" and "u8" such without a sign.

    "s8.3" has 3 fraction bits too, "e2m1" is a Minifloat, and capitals are as good. `str` of a format gives such a
    name. Integers have 2 to 16 bits. TypeError for what is no string, ValueError for another name.
    """
    if not isinstance(text, str):
        raise TypeError(f"format must be a string, not {shorten(text)}")
    name = text.strip().lower()
    if found := re.fullmatch(r"e(\d{1,2})m(\d{1,2})", name):
        exponent, mantissa = map(int, found.groups())
        if _within(exponent, _EXPONENTS) and _within(mantissa, _MANTISSAS):
            return Minifloat(exponent, mantissa)
    elif found := re.fullmatch(r"(int|uint|s|u|)(\d{1,2})(?:\.(\d{1,2}))?", name):
        kind, bits, frac = found[1], int(found[2]), None if found[3] is None else int(found[3])
        if _within(bits, _INTEGERS) and (frac is None or frac <= 62):
            return Fixed(bits, frac, signed=not kind.startswith("u"))
    raise ValueError(
        f"format must be int2 to int16, uint2 to uint16 (s8.3 with 3 fraction bits), or e1m0 to e5m10 such as e2m1,"
        f" e4m3 and e5m2, not {shorten(text)}"
    )


def _within(value: int, ends: tuple[int, int]) -> bool:
    return ends[0] <= value <= ends[1]
