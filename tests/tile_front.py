"""A tile's top level around a stand-in for what computes, driven port by port in Amaranth's simulator."""

import random
from collections import deque

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hwlut import Multiplier
from hwlut.accel.commands import Opcode, Register, command
from hwlut.accel.hdl.top import TileTop
from hwlut.accel.port import ACTIVITY, MARK_FIELDS, port_registers
from hwlut.units import Tile

TILE = Tile(
    name="two_rows",
    rows=2,
    columns=3,
    multipliers=(Multiplier(family="exact", bits=8, signed=True),),
    accumulator_bits=24,
    value_bits=12,
    table_inputs=4,
    loops=2,
    weights=16,
)
PORT = {register.name: register for register in port_registers(TILE)}
STALLS = ("commands", "data", "results")
RESULTS, LACKING, NOT_READY = 1, 2, 4  # flags of the stand-in


INPUTS = ("set_enable", "set_register", "set_value", "start", "load_enable")
INPUTS += ("load_target", "load_address", "load_part", "load_data")


class StandIn(wiring.Component):
    """COUNT is how long it is busy, FLAGS what it does: a result in each cycle, lacking something, not being ready."""

    def __init__(self, tile):
        bits = 8 * tile.beat_bytes
        inputs = dict(zip(INPUTS, (1, 8, 48, 1, 1, 2, 24, 16, bits)))
        outputs = {"busy": 1, "invalid": 1, "overflow": 1, "result_valid": 1, "result_data": bits, "result_last": 1}
        outputs |= {"feeding": 1, "draining": 1, "storing": 1, "operates": 1}
        super().__init__({name: In(width) for name, width in inputs.items()} | {n: Out(w) for n, w in outputs.items()})

    def elaborate(self, platform):
        m = Module()
        left, flags, length, given = Signal(8), Signal(4), Signal(8), Signal(16)
        with m.If(self.set_enable & (self.set_register == Register.FLAGS)):
            m.d.sync += flags.eq(self.set_value)
        with m.If(self.set_enable & (self.set_register == Register.COUNT)):
            m.d.sync += length.eq(self.set_value)
        m.d.sync += left.eq(Mux(self.start, length, Mux(left == 0, 0, left - 1)))
        m.d.comb += [
            self.busy.eq(left != 0),
            self.feeding.eq(self.busy),
            self.invalid.eq(flags[1]),
            self.overflow.eq(self.busy & flags[2] & (left == 2)),
            self.result_valid.eq(self.busy & flags[0]),
            self.result_data.eq(given),
            self.result_last.eq(left == 1),
        ]
        with m.If(self.result_valid):
            m.d.sync += given.eq(given + 1)
        return m


class Run:
    """What came of a run.

    events: what the stand-in was told, (cycle, what, ...), cycles counted from START in which the tile moved.
    results, marks: beats. stalls: of commands, data and results, seen at `activity`. registers: read at the end.
    left: commands and beats of data that nobody took.
    """

    def __init__(self):
        self.events, self.results, self.marks, self.stalls = [], [], [], [0, 0, 0]
        self.cycles = 0
        self.left = 0


async def axil(ctx, top, address, value=None, strobe=15):
    """One access of the register port: (response, data)."""
    if value is not None:
        ctx.set(top.s_axil_awaddr, address)
        ctx.set(top.s_axil_wdata, value)
        ctx.set(top.s_axil_wstrb, strobe)
        for channel in ("aw", "w"):
            ctx.set(getattr(top, f"s_axil_{channel}valid"), 1)
            while not ctx.get(getattr(top, f"s_axil_{channel}ready")):
                await ctx.tick()
            await ctx.tick()
            ctx.set(getattr(top, f"s_axil_{channel}valid"), 0)
        ctx.set(top.s_axil_bready, 1)
        while not ctx.get(top.s_axil_bvalid):
            await ctx.tick()
        response = ctx.get(top.s_axil_bresp)
        await ctx.tick()
        ctx.set(top.s_axil_bready, 0)
        return response, None
    ctx.set(top.s_axil_araddr, address)
    ctx.set(top.s_axil_arvalid, 1)
    while not ctx.get(top.s_axil_arready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(top.s_axil_arvalid, 0)
    ctx.set(top.s_axil_rready, 1)
    while not ctx.get(top.s_axil_rvalid):
        await ctx.tick()
    answer = ctx.get(top.s_axil_rresp), ctx.get(top.s_axil_rdata)
    await ctx.tick()
    ctx.set(top.s_axil_rready, 0)
    return answer


def mark_fields(word):
    """A beat of marks by field."""
    found, low = {}, 0
    for name, bits in MARK_FIELDS.items():
        found[name] = word >> low & (1 << bits) - 1
        low += bits
    return found


class Bench:
    """Sources and sinks on all streams, each pausing at random with its own chance in 100."""

    def __init__(self, reset="rst", executor=None):
        self.executor = executor or StandIn(TILE)
        self.top = TileTop(TILE, reset, self.executor)
        self.run = Run()
        self.commands, self.data = deque(), deque()
        self.pauses = dict.fromkeys(("s_axis_command", "s_axis", "m_axis", "m_axis_mark"), 0)
        self.random = random.Random(1)

    def simulate(self, script):
        """Run the streams beside `script`, a coroutine of (ctx, bench), until that is over."""
        simulator = Simulator(self.top)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._background, background=True)

        async def foreground(ctx):
            await self._reset(ctx)
            await script(ctx, self)

        simulator.add_testbench(foreground)
        simulator.run()
        return self.run

    async def _reset(self, ctx):
        reset = getattr(self.top, self.top.reset)
        ctx.set(reset, self.top.reset == "rst")
        await ctx.tick()
        ctx.set(reset, self.top.reset != "rst")

    async def settled(self, ctx, cycles=60):
        """Until nothing has come or gone for some cycles."""
        still, seen = 0, None
        while still < cycles:
            now = len(self.commands), len(self.data), len(self.run.results), len(self.run.marks), self.run.cycles
            still, seen = (still + 1 if now == seen else 0), now
            await ctx.tick()

    async def _background(self, ctx):
        top = self.top
        sources = [("s_axis_command", self.commands), ("s_axis", self.data)]
        sinks = [("m_axis", self.run.results), ("m_axis_mark", self.run.marks)]
        await ctx.tick()  # the reset
        while True:
            for name, beats in sources:
                valid = getattr(top, f"{name}_tvalid")
                offered = ctx.get(valid) or (bool(beats) and self.random.randrange(100) >= self.pauses[name])
                ctx.set(valid, offered and bool(beats))
                if offered and beats:
                    ctx.set(getattr(top, f"{name}_tdata"), beats[0])
            for name, _ in sinks:
                ctx.set(getattr(top, f"{name}_tready"), self.random.randrange(100) >= self.pauses[name])
            self._observe(ctx)
            moved = [
                (name, beats)
                for name, beats in sources + sinks
                if ctx.get(getattr(top, f"{name}_tvalid")) and ctx.get(getattr(top, f"{name}_tready"))
            ]
            for name, beats in moved:
                if name.startswith("s_"):
                    beats.popleft()
                else:
                    last = (ctx.get(top.m_axis_tlast),) if name == "m_axis" else ()
                    beats.append((ctx.get(getattr(top, f"{name}_tdata")), *last))
            await ctx.tick()
            for name, _ in moved:
                if name.startswith("s_"):
                    ctx.set(getattr(top, f"{name}_tvalid"), 0)

    def _observe(self, ctx):
        run, inner = self.run, self.executor
        stalls = [ctx.get(self.top.activity) >> ACTIVITY.index(f"stalled_{name}") & 1 for name in STALLS]
        run.stalls = [seen + now for seen, now in zip(run.stalls, stalls)]
        if ctx.get(self.top.inner.running) and not any(stalls):
            run.cycles += 1
            get = {name: ctx.get(getattr(inner, name)) for name in INPUTS}
            if get["set_enable"]:
                run.events.append((run.cycles, "set", get["set_register"], get["set_value"]))
            if get["start"]:
                run.events.append((run.cycles, "start"))
            if get["load_enable"]:
                where = get["load_target"], get["load_address"], get["load_part"]
                run.events.append((run.cycles, "load", *where, get["load_data"]))


def setting(register, value):
    return command(Opcode.SET, register, value)
