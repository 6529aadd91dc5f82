"""Which of a tile's multipliers gives the products that a program takes."""

from hwlut.accel.compiler.builder import Builder
from hwlut.fixed import Fixed, signed_bits
from hwlut.units.families import Family
from hwlut.units.multiplier import Multiplier
from hwlut.units.nodes import Span
from hwlut.units.tile import Tile

__all__ = ["check_sums", "multiplier_for", "multiplier_number"]


def multiplier_number(tile: Tile, wanted: Multiplier, a: Span, b: Span) -> int | None:
    """Which multiplier gives the products of numbers of these spans: the same, or for an exact one any exact one."""
    for number, each in enumerate(tile.multipliers):
        if each.digest == wanted.digest and _holds(each.a, a) and _holds(each.b, b):
            return number
    for number, each in enumerate(tile.multipliers):
        if each.family is wanted.family is Family.EXACT and _holds(each.a, a) and _holds(each.b, b):
            return number
    return None


def multiplier_for(builder: Builder, wanted: Multiplier, a: Span, b: Span) -> int:
    """Likewise; ValueError where there is none."""
    number = multiplier_number(builder.tile, wanted, a, b)
    if number is None:
        what = f"{wanted.family.value} {wanted.a} x {wanted.b}"
        raise builder.refusal(f"multiplies by {what}, which the tile does not have")
    return number


def check_sums(builder: Builder, low: int, high: int) -> None:
    """ValueError where accumulators do not hold sums of that span."""
    bits, held = signed_bits(low, high), builder.tile.accumulator_bits
    builder.require("accumulator_bits", bits, f"has sums of {bits} bits; the tile's have {held}")


def _holds(format: Fixed, span: Span) -> bool:
    return format.min <= span[0] and span[1] <= format.max
