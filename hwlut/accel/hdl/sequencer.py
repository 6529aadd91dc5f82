"""When a computation takes its steps, and when numbers enter the lanes."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value

from hwlut.accel.commands import Mode
from hwlut.accel.hdl.registers import Registers
from hwlut.accel.timing import ARRAY, ENCODE
from hwlut.hdl.arithmetic import named
from hwlut.units.lut_matmul import Encoder
from hwlut.units.tile import ADDRESS_BITS, Tile

__all__ = ["Sequencer", "delayed"]


def delayed(m: Module, value: Value, cycles: int, name: str, reset_less: bool = False) -> list[Value]:
    """The value as it is, and as it was 1 to `cycles` cycles ago."""
    found = [value]
    for number in range(1, cycles + 1):
        later = Signal(value.shape(), name=f"{name}_{number}", reset_less=reset_less)
        m.d.sync += later.eq(found[-1])
        found.append(later)
    return found


class Sequencer(Elaboratable):
    """Groups of steps with pauses between them, and what comes of each.

    Members: start; feed_last, whether the feed is at its last place; and in each cycle whether there is a feed `step`,
    with `first` and `last` of its group as they are and as they were some cycles ago; a number that will `enter` the
    lanes, the last of what is reduced or of a row where `enter_last`; a `step_number` of the step nest; whether the
    computation `drains` the array's sums, and whether these are there to `capture`. `busy` is high so long as anything
    of that is to come.

    Parameters
    ----------
    tile: what is driven. registers: its registers.
    """

    def __init__(self, tile: Tile, registers: Registers):
        self._tile, self._registers = tile, registers
        self._after = max(ARRAY, 0 if tile.encoder is None else ENCODE[tile.encoder])
        self.start = Signal()
        self.feed_last = Signal()
        self.step, self.first, self.last = ([Signal(name=name)] for name in ("step", "first", "last"))
        for flags, name in ((self.step, "step"), (self.first, "first"), (self.last, "last")):
            flags += [Signal(name=f"{name}_{number}") for number in range(1, self._after + 1)]
        self.enter = Signal()
        self.enter_last = Signal()
        self.step_number = Signal()
        self.drains = Signal()
        self.capture = Signal()
        self.busy = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile, registers, flags = self._tile, self._registers, self._registers.flags
        for line in (self.step, self.first, self.last):
            m.d.sync += [later.eq(value) for value, later in zip(line, line[1:])]

        # Groups: so many steps, and a pause until the period is over.
        feeding = Signal()
        paused = Signal()
        first = Signal(name="begins")
        left = Signal(ADDRESS_BITS)
        wait = Signal(ADDRESS_BITS)
        over = named(m, "over", (self.last[0] | paused) & (wait == 0))
        m.d.comb += [
            self.step[0].eq(feeding & ~paused),
            self.first[0].eq(self.step[0] & first),
            self.last[0].eq(self.step[0] & (left == 0)),
        ]
        with m.If(self.start | over):
            m.d.sync += [left.eq(registers.count), wait.eq(registers.period), first.eq(1), paused.eq(0)]
        with m.Elif(feeding):
            m.d.sync += [left.eq(left - 1), wait.eq(Mux(wait == 0, 0, wait - 1))]
            m.d.sync += [first.eq(0), paused.eq(paused | self.last[0])]
        with m.If(self.start):
            m.d.sync += feeding.eq(1)
        with m.Elif(self.last[0] & self.feed_last):
            m.d.sync += feeding.eq(0)

        # Sums of the array's columns, one after the other.
        more = Signal(len(registers.columns))
        with m.If(self.capture):
            m.d.sync += more.eq(registers.columns)
        with m.Elif(more != 0):
            m.d.sync += more.eq(more - 1)

        m.d.comb += [
            self.enter.eq(self.capture | (more != 0)),
            self.enter_last.eq(1),
            self.step_number.eq(self.enter),
            self.busy.eq(feeding | Cat(self.last[1:]).any() | (more != 0)),
        ]
        with m.If(flags.mode == Mode.VECTOR):
            m.d.comb += [self.enter.eq(self.step[0]), self.enter_last.eq(self.last[0])]
        if tile.encoder is not None:
            with m.Elif(flags.mode == Mode.ENCODE):
                m.d.comb += self.enter.eq(self.last[ENCODE[tile.encoder]])
                if tile.encoder is Encoder.TREE:
                    m.d.comb += self.step_number.eq(self.step[0])
        with m.Else():
            m.d.comb += [self.drains.eq(1), self.capture.eq(self.last[ARRAY])]
        return m
