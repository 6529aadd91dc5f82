"""What a lane computes of an x and a y."""

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed, unsigned

from hwlut.accel.commands import OPERATIONS, ROUNDINGS
from hwlut.accel.hdl.registers import Registers
from hwlut.fixed import Rounding
from hwlut.hdl.arithmetic import leading_one, named, select
from hwlut.units.tile import SHIFT_BITS, Operation, Tile

__all__ = ["operated", "shifted_right"]

_MOST = (1 << SHIFT_BITS) - 1


def operated(m: Module, tile: Tile, registers: Registers, x: Value, y: Value) -> Value:
    """The result of the operation that the flags name, as a number of a lane."""
    flags, bits = registers.flags, tile.lane_bits
    a = named(m, "a", Mux(flags.swap, y, x), signed(bits))
    b = named(m, "b", Mux(flags.swap, x, y), signed(bits))
    found: dict[int, Value] = {0: a, 1: b}
    amount = b[:SHIFT_BITS]
    if {Operation.SHIFT_RIGHT, Operation.BITS} & set(tile.operations):
        kept, up = shifted_right(m, a, amount, flags.rounding)
    for each in tile.operations:
        if each is Operation.ADD:
            result = a + b
        elif each is Operation.SUBTRACT:
            result = a - b
        elif each is Operation.MULTIPLY:
            result = a * b
        elif each is Operation.LESS:
            result = a < b
        elif each is Operation.EQUAL:
            result = a == b
        elif each is Operation.SHIFT_LEFT:
            result = _shifted_left(m, a, amount)
        elif each is Operation.SHIFT_RIGHT:
            result = kept + up
        elif each is Operation.LEADING_ONE:
            result = leading_one(m, "leading", a)
        else:
            result = kept & _ones(flags.bits)
        found[OPERATIONS.index(each)] = result
    return select(m, "result", flags.operation, found, signed(bits))


def shifted_right(m: Module, value: Value, amount: Value, rounding: Value) -> tuple[Value, Value]:
    """The floor of ``value * 2^-amount``, of the value's shape, and whether rounding makes it one more."""
    moved = named(m, "moved", amount.any())
    # All but the last place, whose bit is the half.
    less = named(m, "less", Mux(moved, amount - 1, 0), unsigned(SHIFT_BITS))
    part = named(m, "part", value >> less)
    kept = named(m, "kept", Mux(moved, part >> 1, part), value.shape())
    beyond = named(m, "beyond", (value & _ones(less)[: len(value)]).any())
    half_up = rounding == ROUNDINGS.index(Rounding.HALF_UP)
    half_even = (rounding == ROUNDINGS.index(Rounding.HALF_EVEN)) & (beyond | kept[0])
    return kept, named(m, "up", moved & part[0] & (half_up | half_even))


def _ones(count: Value) -> Value:
    """So many ones from bit 0 on."""
    return Const((1 << _MOST) - 1, _MOST) >> ~count


def _shifted_left(m: Module, value: Value, amount: Value) -> Value:
    """``value * 2^amount``, of the value's width: in steps, none of which is wider."""
    for place, bit in enumerate(amount):
        zeros = min(1 << place, len(value))
        value = named(m, f"left_{place}", Mux(bit, Cat(Const(0, zeros), value[: len(value) - zeros]), value))
    return value
