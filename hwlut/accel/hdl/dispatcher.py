"""The dispatcher: takes commands in order, says in which cycles the tile moves, and ends runs."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwlut.accel.commands import Error, Opcode, Target
from hwlut.accel.hdl.counters import Counters
from hwlut.accel.hdl.streams import COMMAND, MARK
from hwlut.accel.instructions import Compute
from hwlut.accel.port import COUNTERS
from hwlut.units.tile import Tile

__all__ = ["Dispatcher"]


class Dispatcher(wiring.Component):
    """Commands, one at a time, as docs/tile.md says of when each is taken.

    Members
    -------
    command: stream in. mark: stream out, of MARKs and of an error.
    computing, loading, invalid, overflow: of the executor and the loader.
    starved: the loader lacks a beat. blocked: a result has no room. resulting: there is a result.
    move: the executor and the loader take a step in this cycle. stalled: they do not, for want of commands, of data or
        of room for results: three bits, one of them at most.
    set, start, load: what the command of this cycle does, whose value and argument stand in ``command``.
    running, failed, error: of the run. ended: in the cycle in which it ends or fails. runs: that came to their END.
    counters: of the run, or of the last one.
    """

    def __init__(self, tile: Tile):
        self._tile = tile
        super().__init__(
            {
                "command": In(COMMAND.signature()),
                "mark": Out(MARK.signature()),
                "computing": In(1),
                "loading": In(1),
                "invalid": In(1),
                "overflow": In(1),
                "starved": In(1),
                "blocked": In(1),
                "resulting": In(1),
                "move": Out(1),
                "stalled": Out(3),
                "set": Out(1),
                "start": Out(1),
                "load": Out(1),
                "running": Out(1),
                "failed": Out(1),
                "error": Out(8),
                "ended": Out(1),
                "runs": Out(32),
                "counters": Out(data.StructLayout(Counters.LAYOUT)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        opcode, valid = self.command.payload.opcode, self.command.valid

        # A command can be taken unless both are at work: until it is there, everything stands still.
        able = ~(self.computing & self.loading)
        clear, wrong = self._judge(m, able)
        marking = Signal()
        short = Signal()
        m.d.comb += [
            marking.eq(self.running & valid & clear & (opcode == Opcode.MARK)),
            short.eq(~valid & able),
        ]
        blocked, starved = self.blocked | (marking & ~self.mark.ready), self.starved
        stalls = (short & ~starved & ~blocked, starved & ~blocked, blocked)
        m.d.comb += [
            self.stalled.eq(Mux(self.running, Cat(*stalls), 0)),
            self.move.eq(self.running & ~self.stalled.any()),
        ]

        taken = Signal()
        erring = Signal()
        m.d.comb += [
            taken.eq(valid & clear & Mux(self.running, self.move, ~self.failed)),
            self.command.ready.eq(taken | self.failed),
            erring.eq(taken & (wrong != 0)),
        ]
        done = taken & ~erring
        m.d.comb += [
            self.set.eq(done & (opcode == Opcode.SET)),
            self.start.eq(done & (opcode == Opcode.COMPUTE)),
            self.load.eq(done & (opcode == Opcode.LOAD)),
        ]
        self._count(m, taken, erring)
        reported = self._end(m, done, erring, wrong)
        m.d.comb += [
            self.mark.valid.eq(reported | (marking & ~starved & ~self.blocked)),
            self.mark.payload.number.eq(Mux(reported, 0, self.command.payload.value)),
            self.mark.payload.error.eq(self.error),
            *(self.mark.payload[name].eq(self.counters[name]) for name in COUNTERS),
        ]
        return m

    def _judge(self, m: Module, able: Value) -> tuple[Value, Value]:
        """Whether nothing at work keeps the command waiting, and its error or 0."""
        tile, command = self._tile, self.command.payload
        clear = Signal()
        wrong = Signal(8)
        registers = sorted(map(int, Compute().registers(tile)))
        targets = [int(target) for target in Target if target is not Target.TABLES or tile.table_inputs]
        with m.Switch(command.opcode):
            with m.Case(Opcode.START):
                other = command.value != int(tile.digest, 16) % (1 << len(command.value))
                m.d.comb += clear.eq(able)
                m.d.comb += wrong.eq(Mux(self.running, Error.OUT_OF_RUN, Mux(other, Error.OTHER_TILE, 0)))
            with m.Case(Opcode.SET):
                m.d.comb += clear.eq(~self.computing)
                with m.If(~command.argument.matches(*registers)):
                    m.d.comb += wrong.eq(Error.UNKNOWN_REGISTER)
            with m.Case(Opcode.COMPUTE):
                m.d.comb += clear.eq(~self.computing & ~(command.argument[0] & self.loading))
                m.d.comb += wrong.eq(Mux(self.invalid, Error.LACKING, 0))
            with m.Case(Opcode.LOAD):
                m.d.comb += clear.eq(~self.loading & ~(command.argument[7] & self.computing))
                with m.If(~command.argument[:7].matches(*targets)):
                    m.d.comb += wrong.eq(Error.LACKING)
            with m.Case(Opcode.MARK):
                m.d.comb += clear.eq(~self.computing)
            with m.Case(Opcode.END):
                m.d.comb += clear.eq(~self.computing & ~self.loading)
            with m.Default():
                m.d.comb += [clear.eq(able), wrong.eq(Error.UNKNOWN_OPCODE)]
        begun = self.running | command.opcode.matches(Opcode.START)
        late = Mux(begun | (wrong == Error.UNKNOWN_OPCODE), wrong, Error.OUT_OF_RUN)
        return clear, late

    def _count(self, m: Module, taken: Value, erring: Value) -> None:
        m.submodules.counters = counters = Counters()
        stalls = {name: self.stalled[place] for place, name in enumerate(Counters.STALLS)}
        steps = {
            "cycles": self.move | taken,
            "commands": taken & ~erring,
            "data_beats": self.move & self.loading,
            "result_beats": self.move & self.resulting,
        }
        m.d.comb += counters.restart.eq(taken & ~self.running)
        m.d.comb += [counters.steps[name].eq(step) for name, step in (steps | stalls).items()]
        m.d.comb += self.counters.eq(counters.values)

    def _end(self, m: Module, done: Value, erring: Value, wrong: Value) -> Value:
        """Drive what says how the run stands; whether an error must still be told."""
        failing = Signal()
        told = Signal(init=1)
        finished = done & (self.command.payload.opcode == Opcode.END)
        overflow = self.overflow & self.move
        m.d.comb += [failing.eq(erring | overflow), self.ended.eq(failing | finished)]
        with m.If(done & (self.command.payload.opcode == Opcode.START)):
            m.d.sync += self.running.eq(1)
        with m.If(finished):
            m.d.sync += [self.running.eq(0), self.runs.eq(self.runs + 1)]
        with m.If(failing):
            m.d.sync += [
                self.running.eq(0),
                self.failed.eq(1),
                self.error.eq(Mux(overflow, Error.NOT_READY, wrong)),
                told.eq(0),
            ]
        with m.If(self.failed & self.mark.ready):
            m.d.sync += told.eq(1)
        return self.failed & ~told
