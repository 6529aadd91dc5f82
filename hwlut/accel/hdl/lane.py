"""A lane: what happens to a row's numbers on their way to a memory or out."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from hwlut.accel.commands import Reduction, Requantization
from hwlut.accel.hdl.memory import Beats, loaded
from hwlut.accel.hdl.operation import operated, shifted_right
from hwlut.accel.hdl.operators import operators
from hwlut.accel.hdl.pace import Handshake, Pace
from hwlut.accel.hdl.registers import Registers
from hwlut.hdl.arithmetic import named
from hwlut.hdl.component import UnitComponent
from hwlut.units.tile import REQUANTIZED_BITS, Tile

__all__ = ["Lane"]


class Lane:
    """Builds a lane in `m`.

    Members, as wires: result, in stage 6; there, whether the y that came with it was not 0; handshake, of its
    operators, or None.

    Parameters
    ----------
    x, y: the row's numbers in stage 1. tables: what is written into the tables. made: a component of each operator.
    """

    handshake: Handshake | None = None

    def __init__(
        self,
        m: Module,
        tile: Tile,
        registers: Registers,
        pace: Pace,
        x: Value,
        y: Value,
        tables: Beats | None,
        made: Sequence[UnitComponent],
    ):
        self._tile, self._registers, self._pace = tile, registers, pace
        self._number = signed(tile.lane_bits)
        x = self._kept(m, 1, "x", named(m, "raised", x + pace.addend, self._number))
        y = self._kept(m, 1, "y", y)
        self.there: Value = named(m, "y_there", y.any())
        for stage in range(2, 6):
            self.there = self._kept(m, stage, "there", self.there)
        m.submodules.operation = inner = Module()
        number = self._kept(m, 2, "operated", operated(inner, tile, registers, x, y))
        number = self._reduced(m, number)
        if made:
            m.submodules.operators = inner = Module()
            result, self.handshake = operators(inner, tile, registers, pace, number, made)
            number = named(m, "left", Mux(registers.flags.operator.any(), result, number))
        m.submodules.requantization = inner = Module()
        number = self._requantized(inner, number)
        self.result = self._looked_up(m, number, tables)

    def _kept(self, m: Module, stage: int, name: str, value: Value) -> Signal:
        """The value in the next stage, where there is a number in this one."""
        later = Signal(value.shape(), name=f"{name}_{stage + 1}", reset_less=True)
        with m.If(self._pace.leaves if stage == 4 else self._pace.valid[stage]):
            m.d.sync += later.eq(value)
        return later

    def _reduced(self, m: Module, number: Value) -> Signal:
        """The number as it is, or the sum or the maximum since the last one was whole."""
        total = Signal(self._number, name="total", reset_less=True)
        joined = Signal(self._number, name="joined")
        m.d.comb += joined.eq(number)
        with m.If(~self._pace.first):
            with m.If(self._registers.flags.reduction == Reduction.SUM):
                m.d.comb += joined.eq(total + number)
            with m.Elif((self._registers.flags.reduction == Reduction.MAXIMUM) & (total > number)):
                m.d.comb += joined.eq(total)
        with m.If(self._pace.valid[3]):
            m.d.sync += total.eq(joined)
        return total

    def _requantized(self, m: Module, number: Value) -> Signal:
        """The number clamped, and requantized where the flags say so."""
        registers, pace, flags = self._registers, self._pace, self._registers.flags
        raised = Mux(number < registers.low, registers.low, number)
        number = named(m, "clamped", Mux(raised > registers.high, registers.high, raised), self._number)
        product = named(m, "product", number[:REQUANTIZED_BITS].as_signed() * pace.multiplier)
        number, product = self._kept(m, 4, "number", number), self._kept(m, 4, "product", product)
        floor, up = shifted_right(m, product, pace.shift, flags.requantize_rounding)
        # In this order no sum is wider than the product.
        total = named(m, "total", floor + (registers.zero_point + up))
        raised = Mux(total < registers.least, registers.least, total)
        held = named(m, "held", Mux(raised > registers.most, registers.most, raised), self._number)
        return named(m, "requantized", Mux(flags.requantization == Requantization.NONE, number, held))

    def _looked_up(self, m: Module, number: Value, tables: Beats | None) -> Signal:
        """What the number is, or what the table holds for its low bits."""
        tile, flags = self._tile, self._registers.flags
        result = self._kept(m, 5, "result", number[: tile.value_bits].as_signed())
        if tables is None:
            return result
        index = (flags.table - 1)[: (tile.tables - 1).bit_length()]
        address = named(m, "table_address", Cat(number[: tile.table_inputs], index))
        depth = tile.tables << tile.table_inputs
        entry = loaded(m, "tables", 0, tile.table_outputs, depth, address, tables).as_signed()
        return named(m, "found", Mux(flags.table.any(), entry, result))
