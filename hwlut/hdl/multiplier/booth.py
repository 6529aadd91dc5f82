"""Radix-4 Booth recoding."""

from amaranth.hdl import Cat, Const, Module, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.columns import Columns
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["booth_truncated"]


def booth_truncated(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """A row a digit of b, each rounded down to a multiple of 2^columns, in a carry-save tree."""
    assert unit.columns is not None
    digits = [_digit(m, b, place) for place in range(0, len(b), 2)]
    single, double, negative = (named(m, name, Cat(*bits)) for name, bits in zip(_KINDS, zip(*digits)))
    a, single, double, negative = register("operands", a=a, single=single, double=double, negative=negative)
    columns = Columns(len(a) + len(b))
    for number in range(len(b) // 2):
        _add_row(m, columns, a, (single[number], double[number], negative[number]), 2 * number, unit.columns)
    return columns.sum(m, register).as_signed()


_KINDS = ("single", "double", "negative")


def _digit(m: Module, b: Value, place: int) -> tuple[Value, Value, Value]:
    """Whether the digit at 2^place is odd, whether it is 2 or -2, and whether it is below 0 (or 0, of three ones)."""
    below = b[place - 1] if place else Const(0, 1)
    odd = b[place] ^ below
    return odd, ~odd & (b[place + 1] ^ b[place]), b[place + 1]


def _add_row(m: Module, columns: Columns, a: Value, digit: tuple[Value, Value, Value], place: int, first: int) -> None:
    """The digit times `a` at 2^place, without what is below column `first`.

    Minus x is its complement and one; when the low bits are cut, that one reaches the kept ones if they are all 0 in x.
    """
    single, double, negative = digit
    once, twice = Cat(a, a[-1]), Cat(Const(0, 1), a)
    width = len(once)
    chosen = named(m, f"chosen_{place}", once & single.replicate(width) | twice & double.replicate(width))
    cut = max(0, first - place)
    row = named(m, f"row_{place}", chosen[cut:] ^ negative.replicate(width - cut))
    lowest = place + cut
    for column, bit in enumerate(row[:-1], lowest):
        columns.add(column, bit)
    columns.subtract(place + width - 1, row[-1])
    columns.add(lowest, negative & ~chosen[:cut].any() if cut else negative)
