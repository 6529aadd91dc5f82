"""What all lanes share: which of their stages hold a number, and the constants that go with it."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwlut.accel.commands import Mode, Reduction, Requantization, YSource
from hwlut.accel.hdl.registers import Registers
from hwlut.accel.hdl.sequencer import Sequencer
from hwlut.hdl.arithmetic import named
from hwlut.hdl.stream import registers as registered
from hwlut.units.lut_matmul import Encoder
from hwlut.units.tile import ADDRESS_BITS, Tile

__all__ = ["Constant", "Handshake", "Pace"]


@dataclass(frozen=True)
class Constant:
    """The fields of a word of constants, a cycle after its address."""

    offset: Value
    multiplier: Value
    shift: Value


@dataclass(frozen=True)
class Handshake:
    """Of an operator: ready, whether it takes a number; valid, whether it gives one."""

    ready: Value
    valid: Value


class Pace:
    """The stages of a lane, by their number: the cycles since a number's addresses were given.

    Members: valid, whether there is a number in each of the stages 1 to 6, in 4 before an operator; last, in stages 1
    to 4, whether it is the last of what is reduced or of a row; first, in stage 3, whether it is the first of that;
    leaves, whether there is one in stage 4 behind an operator; overflow, whether that was not ready; busy, whether any
    number is on its way; addend and y, which all lanes take in stage 1; multiplier in stage 4 and shift in stage 5.

    Parameters
    ----------
    m: the module to build in.
    tile: what is driven. registers: its registers. sequencer: when numbers enter.
    constant: of the number in stage 1.
    """

    def __init__(self, m: Module, tile: Tile, registers: Registers, sequencer: Sequencer, constant: Constant):
        self._m, self._tile, flags = m, tile, registers.flags
        self.valid = [sequencer.enter, *(Signal(name=f"valid_{stage}") for stage in range(1, 7))]
        self.last = [sequencer.enter_last, *(Signal(name=f"last_{stage}") for stage in range(1, 5))]
        self.leaves = Signal(name="leaves")
        m.d.sync += [later.eq(value) for value, later in zip(self.valid[:3], self.valid[1:4])]
        m.d.sync += [later.eq(value) for value, later in zip(self.last, self.last[1:])]
        whole = named(m, "whole", self.last[3] | (flags.reduction == Reduction.NONE))
        m.d.sync += self.valid[4].eq(self.valid[3] & whole)
        self.first = Signal(init=1, name="first")
        with m.If(self.valid[3]):
            m.d.sync += self.first.eq(self.last[3])

        offset = named(m, "offset", constant.offset, signed(tile.lane_bits))
        offset_here = flags.offset
        if tile.encoder is Encoder.TREE:
            offset_here = offset_here & (flags.mode != Mode.ENCODE)
        self.addend = named(m, "addend", Mux(offset_here, offset, 0), signed(tile.lane_bits))
        by_offset = flags.y_source == YSource.OFFSET
        self.y = named(m, "shared_y", Mux(by_offset, offset, registers.immediate), signed(tile.lane_bits))

        multiplier, shift = constant.multiplier, constant.shift
        for stage in range(1, 4):
            multiplier, shift = registered(m, stage, {"multiplier": multiplier, "shift": shift})
        (shift,) = registered(m, 4, {"shift": shift})
        by_constant = flags.requantization == Requantization.CONSTANT
        self.multiplier = named(m, "multiplier", Mux(by_constant, multiplier, registers.multiplier))
        self.shift = named(m, "shift", Mux(by_constant, shift, registers.shift))
        self._operates = named(m, "operates", flags.operator != 0)
        self.overflow, self.busy = Signal(name="overflow"), Signal(name="busy")

    def finish(self, handshake: Handshake | None) -> None:
        """Say what an operator does with the numbers in stage 4, where there are any; all lanes' do the same."""
        m, valid, inside = self._m, self.valid, Const(0, 1)
        if handshake is None:
            m.d.comb += self.leaves.eq(valid[4])
        else:
            inside = Signal(ADDRESS_BITS, name="inside")
            m.d.sync += inside.eq(inside + (self._operates & valid[4]) - handshake.valid)
            m.d.comb += self.leaves.eq(Mux(self._operates, handshake.valid, valid[4]))
            m.d.comb += self.overflow.eq(self._operates & valid[4] & ~handshake.ready)
        m.d.sync += [valid[5].eq(self.leaves), valid[6].eq(valid[5])]
        m.d.comb += self.busy.eq(Cat(*valid[1:], inside).any())
