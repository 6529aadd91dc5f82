"""Products that a synthesiser's own multiplier finds."""

from amaranth.hdl import Module, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["exact"]


def exact(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """a b."""
    a, b = register("operands", a=a, b=b)
    (found,) = register("sum", multiplied=named(m, "multiplied", a * b))
    return found
