"""Integer arithmetic on Amaranth values, mirroring `hwlut.fixed`."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike

from hwlut.fixed import Fixed, Rounding, signed_bits

__all__ = ["named", "choose", "pick", "select", "leading_one", "shift_left", "round_shift", "saturate"]


def named(m: Module, name: str, value: ValueLike, shape: Shape | None = None) -> Signal:
    """A named wire that carries `value`, cut or extended to `shape` where one is given."""
    value = Value.cast(value)
    wire = Signal(value.shape() if shape is None else shape, name=name)
    m.d.comb += wire.eq(value)
    return wire


def choose(m: Module, name: str, index: Value | None, constants: Sequence[int]) -> int | Signal:
    """``constants[index]`` as a named wire, the last one beyond the end.

    A plain int where all are equal or there is no index.
    """
    if index is None or len(set(constants)) == 1:
        return constants[0]
    shape = Shape(signed_bits(min(constants), max(constants)), True)
    if min(constants) >= 0:
        shape = Shape(max(constants).bit_length())
    return named(m, name, pick(index, [Const(constant, shape) for constant in constants]), shape)


def pick(index: Value, values: Sequence[Value]) -> Value:
    """``values[index]``, the last one beyond the end."""
    beyond = (1 << len(index)) - len(values)
    return Array([*values, *[values[-1]] * beyond])[index] if len(values) > 1 else values[0]


def select(m: Module, name: str, index: Value, values: Mapping[int, Value], shape: Shape) -> Signal:
    """``values[index]`` as a named wire; the last one where there is none."""
    wire = Signal(shape, name=name)
    *others, last = values.items()
    with m.Switch(index):
        for number, value in others:
            with m.Case(number):
                m.d.comb += wire.eq(value)
        with m.Default():
            m.d.comb += wire.eq(last[1])
    return wire


def leading_one(m: Module, name: str, value: Value) -> Value:
    """Position of the highest one in `value`, unsigned, or 0 where there is none; wires are named after `name`."""
    # By halves: yosys takes exponentially long for a switch over the places.
    half = 1 << (len(value) - 1).bit_length() >> 1
    position: list[Value] = []
    while half:
        above = named(m, f"{name}_{half}", value[half:].any())
        value = Mux(above, value[half:], value[:half])
        position.insert(0, above)
        half >>= 1
    return Cat(*position) if position else Const(0)


def shift_left(value: Value, amount: int | Value) -> Value:
    """``value << amount`` for a constant or a run-time amount."""
    return value << amount if isinstance(amount, Value) else value.shift_left(amount)


def round_shift(value: Value, amount: int | Value, rounding: Rounding) -> Value:
    """``round(value * 2^-amount)``, amount >= 0."""
    if isinstance(amount, int):
        if amount == 0:
            return value
        half: int | Value = 1 << (amount - 1)
        inexact: int | Value = 1
        kept = value.shift_right(amount)
    else:
        half = (Const(1) << amount) >> 1
        inexact = amount.any()
        kept = value >> amount
    if rounding is Rounding.FLOOR:
        return kept
    # An odd kept part lets a tie reach the next integer, an even one does not; one without bits is 0.
    offset = half if rounding is Rounding.HALF_UP else half - (inexact & ~kept[:1].any())
    total = value + offset
    return total.shift_right(amount) if isinstance(amount, int) else total >> amount


def saturate(value: Value, format: Fixed) -> Value:
    """`value` held in the code range of `format`; no comparison that cannot be true."""
    shape = value.shape()
    lowest = -(1 << (shape.width - 1)) if shape.signed else 0
    highest = (1 << (shape.width - shape.signed)) - 1
    if lowest < format.min:
        value = Mux(value < format.min, format.min, value)
    if highest > format.max:
        value = Mux(value > format.max, format.max, value)
    return value
