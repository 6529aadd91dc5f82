"""Products by the nearest powers of two: logarithms, rounded operands."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["mitchell", "roba"]


def mitchell(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Logarithms of straight lines between the powers of two, their sum, its antilogarithm; 0 of 0."""
    fraction = max(len(a), len(b)) - 1
    logs = (_logarithm(m, name, x, fraction) for name, x in (("a", a), ("b", b)))
    nonzero = named(m, "nonzero", a.any() & b.any())
    log_a, log_b, nonzero = register("operands", log_a=next(logs), log_b=next(logs), nonzero=nonzero)
    log, nonzero = register("sum", log=named(m, "log", log_a + log_b), nonzero=nonzero)
    mantissa = Cat(log[:fraction], Const(1, 1))
    antilog = named(m, "antilog", (mantissa << log[fraction:])[fraction : fraction + len(a) + len(b)])
    return Mux(nonzero, antilog, 0)


def _leading(m: Module, name: str, x: Value) -> Value:
    """The place of the leading one; 0 of 0."""
    place = Signal(range(len(x)), name=f"{name}_place")
    with m.Switch(x):
        for at in range(len(x) - 1, 0, -1):
            with m.Case("0" * (len(x) - 1 - at) + "1" + "-" * at):
                m.d.comb += place.eq(at)
    return place


def _logarithm(m: Module, name: str, x: Value, fraction: int) -> Value:
    """The leading one's place and, as fraction bits, all bits below it."""
    place = _leading(m, name, x)
    aligned = Cat(Const(0, fraction + 1 - len(x)), x) << named(m, f"{name}_gap", (len(x) - 1 - place)[: len(place)])
    return named(m, f"{name}_log", Cat(aligned[:fraction], place))


def roba(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """a_r (b - b_r) + a b_r, a_r and b_r being powers of two: two shifters and an adder; 0 of 0."""
    place_a, _ = _nearest(m, "a", a)
    place_b, near_b = _nearest(m, "b", b)
    rest_b = named(m, "b_rest", b - near_b)
    nonzero = named(m, "nonzero", a.any() & b.any())
    a, rest_b, place_a, place_b, nonzero = register(
        "operands", a=a, rest_b=rest_b, place_a=place_a, place_b=place_b, nonzero=nonzero
    )
    width = len(a) + len(b)
    shifted_rest = named(m, "shifted_rest", (rest_b << place_a)[:width])
    shifted_a = named(m, "shifted_a", (a << place_b)[:width])
    rest, whole, nonzero = register("sum", shifted_rest=shifted_rest, shifted_a=shifted_a, nonzero=nonzero)
    return Mux(nonzero, (rest + whole)[:width], 0)


def _nearest(m: Module, name: str, x: Value) -> tuple[Value, Value]:
    """The power of two nearest to `x`, of a tie the greater, but 2 of 3: its place and itself; 0 and 1 of 0."""
    place = _leading(m, name, x)
    up = Const(0, 1)
    for at in range(2, len(x)):
        up = Mux(place == at, x[at - 1], up)
    rounded = named(m, f"{name}_near_place", place + up)
    return rounded, named(m, f"{name}_near", (Const(1, 1) << rounded)[: len(x) + 1])
