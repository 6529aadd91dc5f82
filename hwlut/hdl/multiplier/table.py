"""Product tables: a memory."""

import numpy as np
from amaranth.hdl import Cat, Module, Value
from amaranth.lib.memory import Memory

from hwlut.hdl.multiplier.register import Register
from hwlut.hdl.stream import shape_of
from hwlut.units.multiplier import Multiplier

__all__ = ["table"]

_BITS_LIMIT = 16  # of both operands together


def table(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """The product at address (a, b), a above b."""
    if unit.a.bits + unit.b.bits > _BITS_LIMIT:
        raise ValueError(
            f"Multiplier products must be at most 2^{_BITS_LIMIT} in hardware, not 2^{unit.a.bits + unit.b.bits}"
        )
    assert unit.entries is not None
    # Signed operands, read as unsigned, count from 0; the table counts from the lowest.
    shifts = [-format.min for format in (unit.a, unit.b)]
    words = np.roll(unit.entries, [-shift for shift in shifts], (0, 1)).reshape(-1).tolist()
    m.submodules.products = memory = Memory(shape=shape_of(unit.product), depth=len(words), init=words)
    port = memory.read_port(domain="comb")
    a, b = register("operands", a=a, b=b)
    m.d.comb += port.addr.eq(Cat(b, a))
    (found,) = register("sum", found=port.data)
    return found
