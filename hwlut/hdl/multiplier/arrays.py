"""Arrays of partial products: parts left out, columns reduced by OR, blocks of two bits, rows added one by one."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.columns import Columns
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["broken_array", "kulkarni", "loa", "or_columns", "truncate_columns"]


def _kept(a: Value, b: Value, keep: Callable[[int, int], bool]) -> Columns:
    """The partial products a_i b_j of which `keep(i, j)` holds."""
    columns = Columns(len(a) + len(b))
    for i in range(len(a)):
        for j in range(len(b)):
            if keep(i, j):
                columns.add(i + j, a[i] & b[j])
    return columns


def truncate_columns(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Columns i + j >= `columns`, in a carry-save tree."""
    assert unit.columns is not None
    first = unit.columns
    a, b = register("operands", a=a, b=b)
    return _kept(a, b, lambda i, j: i + j >= first).sum(m, register)


def broken_array(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Rows j >= `h` and columns i + j >= `v`, in a carry-save tree."""
    assert unit.h is not None and unit.v is not None
    h, v = unit.h, unit.v
    a, b = register("operands", a=a, b=b)
    return _kept(a, b, lambda i, j: j >= h and i + j >= v).sum(m, register)


def or_columns(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """An OR a column below `columns`; the others in a carry-save tree."""
    assert unit.columns is not None
    first = unit.columns
    a, b = register("operands", a=a, b=b)
    columns = _kept(a, b, lambda i, j: i + j >= first)
    for column in range(min(first, len(a) + len(b) - 1)):
        places = range(max(0, column - len(b) + 1), min(column + 1, len(a)))
        columns.add(column, named(m, f"or_{column}", Cat(a[i] & b[column - i] for i in places).any()))
    return columns.sum(m, register)


def kulkarni(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Blocks of 2 x 2 bits with 3 bits of product, in a carry-save tree."""
    a, b = register("operands", a=a, b=b)
    columns = Columns(len(a) + len(b))
    for i in range(0, len(a), 2):
        for j in range(0, len(b), 2):
            columns.add(i + j, a[i] & b[j])
            columns.add(i + j + 1, a[i + 1] & b[j] | a[i] & b[j + 1])
            columns.add(i + j + 2, a[i + 1] & b[j + 1])
    return columns.sum(m, register)


def loa(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """A row after the other, each by a lower-part-OR adder; cut at half of them."""
    assert unit.low is not None
    a, b = register("operands", a=a, b=b)
    total: Value = named(m, "total_0", a & b[0].replicate(len(a)))
    half = (len(b) + 1) // 2
    for place in range(1, len(b)):
        if place == half:
            total, a, b = register("sum", total=total, a=a, b=b)
        row = Cat(Const(0, place), a & b[place].replicate(len(a)))
        total = named(m, f"total_{place}", _loa_sum(total, row, unit.low)[: len(a) + len(b)])
    return total


def _loa_sum(x: Value, y: Value, low: int) -> Value:
    if low == 0:
        return x + y
    width = max(len(x), len(y), low)
    x, y = (Cat(value, Const(0, width - len(value))) for value in (x, y))
    high = x[low:] + y[low:] + (x[low - 1] & y[low - 1])
    return Cat(x[:low] | y[:low], high)
