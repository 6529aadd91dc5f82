"""Products by a smaller multiplier, which the synthesiser finds, between choices of bits and shifts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["drum", "exact", "ssm", "truncate_operands"]


def exact(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """a b."""
    a, b = register("operands", a=a, b=b)
    (found,) = register("sum", multiplied=named(m, "multiplied", a * b))
    return found


def truncate_operands(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """The high bits' product, in its place."""
    assert unit.a_drop is not None and unit.b_drop is not None
    a, b = register("operands", a=a.shift_right(unit.a_drop), b=b.shift_right(unit.b_drop))
    (found,) = register("sum", multiplied=named(m, "multiplied", a * b))
    return found.shift_left(unit.a_drop + unit.b_drop)


def drum(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Segments from the leading ones down, their product, a shift."""
    assert unit.k is not None
    segment_a, shift_a = _leading_segment(m, "a", a, unit.k)
    segment_b, shift_b = _leading_segment(m, "b", b, unit.k)
    segment_a, segment_b, shift_a, shift_b = register(
        "operands", segment_a=segment_a, segment_b=segment_b, shift_a=shift_a, shift_b=shift_b
    )
    multiplied = named(m, "multiplied", segment_a * segment_b)
    shift = named(m, "shift", shift_a + shift_b)
    multiplied, shift = register("sum", multiplied=multiplied, shift=shift)
    return (multiplied << shift)[: len(a) + len(b)]


def _leading_segment(m: Module, name: str, x: Value, k: int) -> tuple[Value, Value]:
    """The k bits of `x` from its leading one down, the lowest set where bits below are dropped; and how many are."""
    places = max(0, len(x) - k)
    if not places:
        return x, Const(0, 1)
    segment, shift = Signal(k, name=f"{name}_segment"), Signal(range(places + 1), name=f"{name}_shift")
    with m.Switch(x[k:]):
        for place in range(places, 0, -1):
            with m.Case("0" * (places - place) + "1" + "-" * (place - 1)):
                m.d.comb += [segment.eq(Cat(Const(1, 1), x[place + 1 : place + k])), shift.eq(place)]
        with m.Default():
            m.d.comb += [segment.eq(x[:k]), shift.eq(0)]
    return segment, shift


def ssm(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """The high segments where they hold a one, else the low ones; their product, in one of up to four places."""
    assert unit.m is not None
    segment_a, high_a = _segment(m, "a", a, unit.m)
    segment_b, high_b = _segment(m, "b", b, unit.m)
    segment_a, segment_b, high_a, high_b = register(
        "operands", segment_a=segment_a, segment_b=segment_b, high_a=high_a, high_b=high_b
    )
    found, high_a, high_b = register(
        "sum", multiplied=named(m, "multiplied", segment_a * segment_b), high_a=high_a, high_b=high_b
    )
    for name, high, width in (("a", high_a, len(a)), ("b", high_b, len(b))):
        if width > unit.m:
            found = named(m, f"placed_{name}", Mux(high, found.shift_left(width - unit.m), found))
    return found


def _segment(m: Module, name: str, x: Value, width: int) -> tuple[Value, Value]:
    """`width` bits of `x`, and whether they are the high ones."""
    if len(x) <= width:
        return x, Const(0, 1)
    high = named(m, f"{name}_high", x[width:].any())
    return named(m, f"{name}_segment", Mux(high, x[-width:], x[:width])), high
