"""What units compute, one code at a time, by Python's integers and not by the code under test."""

from fractions import Fraction
from functools import singledispatch
from math import floor

from circuits import products
from test_lut_matmul import oracle
from test_multiplier import plain as plain_product

from hwlut import Direct, LutMatmul, Multiplier, Pwl, Requantize
from hwlut.units.families import Family

__all__ = ["plain"]


def _rounded(value: Fraction, rounding: str) -> int:
    if rounding == "half_even":
        return round(value)
    return floor(value + Fraction(1, 2)) if rounding == "half_up" else floor(value)


def _held(value: int, format) -> int:
    return min(max(value, format.min), format.max)


@singledispatch
def plain(unit, inputs: dict[str, int]) -> list[int] | None:
    """Results of one vector, by field of the stimulus; None where there is no such oracle."""
    return None


@plain.register
def _(unit: Pwl, inputs):
    scale, q = inputs["scale"], inputs["q"]
    real, x = Fraction(q, 1 << scale), Fraction(abs(q) if unit.symmetry.value != "none" else q, 1 << scale)
    codes = [round(Fraction(p << scale, 1 << unit.breakpoint_frac)) for p in unit.breakpoints]
    at = sum(code <= x * (1 << scale) for code in codes)
    y = Fraction(unit.slopes[at], 1 << unit.slope.frac) * x + Fraction(unit.intercepts[at], 1 << unit.intercept.frac)
    if q < 0:
        y = {"none": y, "identity": y + real, "odd": -y, "even": y, "complement": 1 - y}[unit.symmetry.value]
    if unit.output is None:
        return [int(y * (1 << max(unit.slope.frac + scale, unit.intercept.frac)))]
    frac = scale if unit.output.frac is None else unit.output.frac
    return [_held(_rounded(y * (1 << frac), unit.rounding.value), unit.output)]


@plain.register
def _(unit: Direct, inputs):
    return [unit.values[inputs["q"] - unit.input.min]]


@plain.register
def _(unit: Requantize, inputs):
    channel = inputs.get("channel", 0)
    exact = Fraction(inputs["acc"] * unit.multipliers[channel], 1 << unit.shifts[channel])
    return [_held(_rounded(exact, unit.rounding.value) + unit.zero_point, unit.output)]


@plain.register
def _(unit: Multiplier, inputs):
    a, b = inputs["a"], inputs["b"]
    if unit.family is Family.NETLIST:
        return products(unit, [(a, b)])
    if unit.family is Family.TABLE:
        return [int(unit.entries[a - unit.a.min, b - unit.b.min])]
    return [plain_product(unit, a, b)]


@plain.register
def _(unit: LutMatmul, inputs):
    return oracle(unit, inputs["x"])
