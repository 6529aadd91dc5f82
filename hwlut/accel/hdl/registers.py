"""The registers of a tile, which describe what it computes."""

from amaranth.hdl import Const, Elaboratable, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data

from hwlut.accel.commands import IMMEDIATE_BITS, OPERATIONS, Destination, Mode, Register, Requantization, WSource
from hwlut.accel.instructions import Flags
from hwlut.fixed import Fixed
from hwlut.hdl.arithmetic import saturate
from hwlut.units.tile import ADDRESS_BITS, SHIFT_BITS, Tile

__all__ = ["Registers", "Walk"]

FLAGS = data.StructLayout({name: bits for name, (_, bits) in Flags.FIELDS.items()})


class Walk:
    """The registers of a stream of addresses: base, and a delta for each level."""

    def __init__(self, base: Signal, deltas: list[Signal]):
        self.base, self.deltas = base, deltas


class Registers(Elaboratable):
    """All registers; each has the bits that are used of it.

    Members: enable, number, value, which write a register in the next cycle; invalid, whether the flags name what the
    tile does not have; and the content of each. Low and high are held to what a lane can hold.

    Parameters
    ----------
    tile: what the registers are of.
    """

    def __init__(self, tile: Tile):
        self._tile = tile
        self._held: dict[int, Signal] = {}
        self.enable = Signal()
        self.number = Signal(8)
        self.value = Signal(IMMEDIATE_BITS)
        self.invalid = Signal()
        self.feed_sizes, self.step_sizes, self.store_sizes = (
            self._levels(first) for first in (Register.FEED_SIZES, Register.STEP_SIZES, Register.STORE_SIZES)
        )
        self.x, self.w, self.y, self.k, self.z = (
            Walk(self._register(Register[f"{name}_BASE"], ADDRESS_BITS), self._levels(Register[f"{name}_DELTAS"]))
            for name in "XWYKZ"
        )
        self.count = self._register(Register.COUNT, ADDRESS_BITS)
        self.period = self._register(Register.PERIOD, ADDRESS_BITS)
        self.columns = self._register(Register.COLUMNS, max(1, (tile.columns - 1).bit_length()))
        self.flags = data.View(FLAGS, self._register(Register.FLAGS, FLAGS.size))
        self.immediate = self._register(Register.IMMEDIATE, signed(tile.lane_bits))
        self.low = self._register(Register.LOW, signed(tile.lane_bits))
        self.high = self._register(Register.HIGH, signed(tile.lane_bits))
        self.multiplier = self._register(Register.MULTIPLIER, tile.factor_bits)
        self.shift = self._register(Register.SHIFT, SHIFT_BITS)
        self.zero_point = self._register(Register.ZERO_POINT, signed(IMMEDIATE_BITS))
        self.least = self._register(Register.LEAST, signed(IMMEDIATE_BITS))
        self.most = self._register(Register.MOST, signed(IMMEDIATE_BITS))

    def _register(self, number: int, shape: int | Shape, name: str | None = None) -> Signal:
        held = Signal(unsigned(shape) if isinstance(shape, int) else shape, name=name or Register(number).name.lower())
        self._held[number] = held
        return held

    def _levels(self, first: Register) -> list[Signal]:
        name = first.name.lower()
        return [self._register(first + level, ADDRESS_BITS, f"{name}_{level}") for level in range(self._tile.loops)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = saturate(self.value.as_signed(), Fixed(self._tile.lane_bits))
        with m.If(self.enable):
            for number, held in self._held.items():
                with m.If(self.number == number):
                    m.d.sync += held.eq(lane if number in (Register.LOW, Register.HIGH) else self.value)
        m.d.comb += self.invalid.eq(self._invalid())
        return m

    def _invalid(self) -> Value:
        tile, flags = self._tile, self.flags
        operations = [number for number, each in enumerate(OPERATIONS) if number < 2 or each in tile.operations]
        found = [
            flags.operation.matches(*operations) == 0,
            (flags.mode == Mode.ARRAY) & ~flags.multiplier.matches(*range(len(tile.multipliers))),
            flags.y_source == 3,
            flags.rounding == 3,
            flags.reduction == 3,
            flags.operator > len(tile.operators),
            flags.requantization == 3,
            flags.requantize_rounding == 3,
            flags.table > (tile.tables if tile.table_inputs else 0),
            flags.destination == 3,
            # What comes with a number does not go through an operator.
            flags.operator.any() & (flags.where | (flags.requantization == Requantization.CONSTANT)),
        ]
        if not tile.entries:
            found.append((flags.mode == Mode.LOOK_UP) | (flags.mode == Mode.ENCODE))
        if not tile.operands:
            found += [flags.w_source == WSource.OPERANDS, flags.destination == Destination.OPERANDS]
        invalid: Value = Const(0, 1)
        for each in found:
            invalid = invalid | each
        return invalid
