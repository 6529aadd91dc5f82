"""Operators: units of codes or of rows, in each lane."""

from collections.abc import Sequence

from amaranth.hdl import DomainRenamer, Module, Signal, Value, signed

from hwlut.accel.hdl.pace import Handshake, Pace
from hwlut.accel.hdl.registers import Registers
from hwlut.hdl.component import UnitComponent
from hwlut.units.tile import Tile

__all__ = ["operator_domain", "operators"]


def operator_domain(number: int) -> str:
    """The clock domain of an operator."""
    return f"operator_{number}"


def operators(
    m: Module, tile: Tile, registers: Registers, pace: Pace, value: Value, made: Sequence[UnitComponent]
) -> tuple[Value, Handshake]:
    """What the operator that the flags name makes of the numbers in stage 4, and its handshake.

    made: a component of each of the tile's operators.
    """
    result = Signal(signed(tile.lane_bits), name="operated")
    ready, valid = Signal(name="operator_ready"), Signal(name="operator_valid")
    for number, inner in enumerate(made):
        m.submodules[f"operator_{number}"] = DomainRenamer(operator_domain(number))(inner)
        (taken,), (given,) = inner.input_beat.data, inner.output_beat.data
        m.d.comb += [inner.o.ready.eq(1), inner.i.payload[taken.name].eq(value)]
        if inner.input_beat.last:
            m.d.comb += inner.i.payload.last.eq(pace.last[4])
        with m.If(registers.flags.operator == number + 1):
            m.d.comb += [
                inner.i.valid.eq(pace.valid[4]),
                result.eq(inner.o.payload[given.name]),
                ready.eq(inner.i.ready),
                valid.eq(inner.o.valid),
            ]
    return result, Handshake(ready, valid)
