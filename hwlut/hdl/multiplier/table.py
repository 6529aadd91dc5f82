"""Product tables: a memory."""

import numpy as np
from amaranth.hdl import Cat, Module, Value
from amaranth.lib.memory import Memory

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register
from hwlut.units.multiplier import Multiplier

__all__ = ["table"]

_BITS_LIMIT = 16  # of both operands together


def table(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """The product at address (a, b), a above b: the upper half of the address picks a row, the lower a product of it.

    A case, or a memory of single products, would mean the same, but take minutes to compile for simulation.
    """
    bits = unit.a.bits + unit.b.bits
    if bits > _BITS_LIMIT:
        raise ValueError(f"Multiplier products must be at most 2^{_BITS_LIMIT} in hardware, not 2^{bits}")
    assert unit.entries is not None
    # Signed operands, read as unsigned, count from 0; the table counts from the lowest.
    words = np.roll(unit.entries, [format.min for format in (unit.a, unit.b)], (0, 1)).reshape(1 << bits // 2, -1)
    width = unit.product.bits
    rows = [_packed(line, width) for line in words]
    m.submodules.rows = memory = Memory(shape=words.shape[1] * width, depth=len(rows), init=rows)
    port = memory.read_port(domain="comb")
    a, b = register("operands", a=a, b=b)
    (address,) = register("sum", address=named(m, "address", Cat(b, a)))
    below = bits - bits // 2
    m.d.comb += port.addr.eq(address[below:])
    found = port.data.word_select(address[:below], width)
    return found.as_signed() if unit.product.signed else found


def _packed(words: np.ndarray, width: int) -> int:
    """The words, `width` bits each, after one another from the low end."""
    return sum((int(word) & ((1 << width) - 1)) << number * width for number, word in enumerate(words))
