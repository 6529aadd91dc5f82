"""cocotb bench of a tile: its registers, its commands against what a model expects, its errors, clears and resets.

Beside description.json, the folder $HWLUT_BENCH holds activity.json (names of the bits of that port) and one folder a
case: words.npy (uint64), data.npy (beats, uint8),
results.npy (beats with their tlast, uint8), marks.npy (number, cycles, commands, error of each, int64) and case.json:
name, counters of the run (cycles, commands, data_beats, result_beats), and error, 0 for none.
"""

import itertools
import json
import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamFrame
from testbench import DESCRIPTION, FOLDER, TB

REGISTERS = {register["name"]: register for register in DESCRIPTION["registers"]}
ACTIVITY = json.loads((FOLDER / "activity.json").read_text())
PORTS = {port["name"]: port for port in DESCRIPTION["ports"]}
STREAMS = ("s_axis_command", "s_axis", "m_axis", "m_axis_mark")
STALLS = ("stalled_commands", "stalled_data", "stalled_results")
COUNTERS = ("cycles", "commands", "data_beats", "result_beats")
FREE = dict.fromkeys(STREAMS, 0)
PAUSED = dict.fromkeys(STREAMS, 0.4)
AFTER = 40  # cycles in which beats too many would come


class Case:
    """A run, and what must come out of it."""

    def __init__(self, folder):
        self.name = folder.name.partition("_")[2]
        self.words, self.data, self.results, marks = (
            np.load(folder / f"{name}.npy") for name in ("words", "data", "results", "marks")
        )
        self.marks = [tuple(mark) for mark in marks.tolist()]
        said = json.loads((folder / "case.json").read_text())
        self.name, self.counters, self.error = said["name"], said["counters"], said["error"]


CASES = [Case(folder) for folder in sorted(FOLDER.glob("case_*"))]
PATIENCE = 2000 + max(case.counters["cycles"] for case in CASES)  # cycles in which nothing moves that are a hang
RUNS = [case for case in CASES if not case.error]
ERRORS = [cocotb.Param(case, case.name) for case in CASES if case.error]


def fields(stream, value):
    """The fields of a beat's tdata."""
    places = PORTS[f"{stream}_tdata"]["fields"]
    return {place["name"]: value >> place["lsb"] & (1 << place["bits"]) - 1 for place in places}


class TileTB(TB):
    """Commands and data in, results and marks out, and the register port."""

    def __init__(self, dut, chances=FREE, seed=0):
        super().__init__(dut)
        bus = AxiLiteBus.from_prefix(dut, "s_axil")
        low = DESCRIPTION["reset"] == "aresetn"
        self.registers = AxiLiteMaster(bus, dut.clk, self.reset_port, reset_active_level=not low)
        self.chances = chances
        self.seed = seed
        self.seen = dict.fromkeys(STREAMS, 0)
        self.stalls = dict.fromkeys(STALLS, 0)

    async def begin(self):
        await self.reset()
        self.pause(self.chances, self.seed)
        self.monitors = self.watch()
        cocotb.start_soon(self.count())

    async def count(self):
        """Counts the cycles in which the tile says that it stands still."""
        while True:
            await RisingEdge(self.dut.clk)
            activity = int(self.dut.activity.value)
            for name in STALLS:
                self.stalls[name] += activity >> ACTIVITY.index(name) & 1

    async def read(self, name):
        answer = await self.registers.read(REGISTERS[name]["address"], 4)
        assert answer.resp == AxiResp.OKAY, f"reading {name} was answered with {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def control(self, field):
        (place,) = (each for each in REGISTERS["CONTROL"]["fields"] if each["name"] == field)
        word = (1 << place["lsb"]).to_bytes(4, "little")
        answer = await self.registers.write(REGISTERS["CONTROL"]["address"], word)
        assert answer.resp == AxiResp.OKAY, f"writing {field} was answered with {answer.resp!r}"

    async def status(self):
        word = await self.read("STATUS")
        return {each["name"] for each in REGISTERS["STATUS"]["fields"] if word >> each["lsb"] & 1}

    def send(self, words, data):
        for word in words.tolist():
            self.sources["s_axis_command"].send_nowait(AxiStreamFrame([word]))
        for beat in data:
            self.sources["s_axis"].send_nowait(AxiStreamFrame([int.from_bytes(beat.tobytes(), "little")]))

    async def quiet(self, done):
        """Wait until `done`, and whatever comes behind; a hang is an error."""
        moved, left = -1, PATIENCE
        while not done():
            await RisingEdge(self.dut.clk)
            now = sum(len(monitor.cycles) for monitor in self.monitors.values())
            left = PATIENCE if now != moved else left - 1
            moved = now
            assert left, "the tile hangs"
        await ClockCycles(self.dut.clk, AFTER)

    def taken(self, stream):
        """The beats of a stream since the last time, as integers of their payload, and their cycles."""
        monitor, first = self.monitors[stream], self.seen[stream]
        self.seen[stream] = len(monitor.cycles)
        beats = [[int(part, 2) for part in beat] for beat in monitor.beats[first:]]
        return beats, monitor.cycles[first:]

    def results(self):
        """The results since the last time, as a case has them."""
        size = PORTS["m_axis_tdata"]["width"] // 8
        roles = [role for role, _ in self.outputs["m_axis"]]
        beats = [dict(zip(roles, beat)) for beat in self.taken("m_axis")[0]]
        rows = [[*beat["tdata"].to_bytes(size, "little"), beat["tlast"]] for beat in beats]
        return np.array(rows, np.uint8).reshape(len(rows), size + 1)

    async def run(self, case):
        """A whole run: results, marks, counters, stalls and interrupt are as they must be."""
        before = dict(self.stalls)
        self.send(case.words, case.data)
        await self.quiet(
            lambda: (
                self.dut.irq.value
                and len(self.monitors["m_axis"].cycles) - self.seen["m_axis"] >= len(case.results)
                and len(self.monitors["m_axis_mark"].cycles) - self.seen["m_axis_mark"] >= len(case.marks)
            )
        )
        results, (beats, cycles) = self.results(), self.taken("m_axis_mark")
        assert np.array_equal(results, case.results), f"{case.name}: {difference(results, case.results)}"
        marks = [fields("m_axis_mark", *beat) for beat in beats]
        found = [tuple(mark[name] for name in ("number", "cycles", "commands", "error")) for mark in marks]
        assert found == case.marks, f"{case.name}: marks are {found}, not {case.marks}"

        stalls = {name: self.stalls[name] - before[name] for name in STALLS}
        for name, chance in (("commands", "s_axis_command"), ("data", "s_axis")):
            if not self.chances[chance]:
                assert not stalls[f"stalled_{name}"], f"{case.name}: {stalls} though {name} were there"
        if not self.chances["m_axis"] and not self.chances["m_axis_mark"]:
            assert not stalls["stalled_results"], f"{case.name}: {stalls} though all was taken"
        if not self.chances["m_axis_mark"]:
            times = [mark["cycles"] + sum(mark[name] for name in STALLS) for mark in marks]
            assert np.array_equal(np.diff(cycles), np.diff(times)), f"{case.name}: marks came in {cycles}, not {times}"
        for name, count in ({name: case.counters[name] for name in COUNTERS} | stalls).items():
            told = await self.read(name.upper())
            assert told == count, f"{case.name}: {name} is told as {told}, not {count}"
        self.kept()

    def kept(self):
        """Every stream has kept its promises."""
        for monitor in self.monitors.values():
            assert monitor.fault is None, monitor.fault

    async def acknowledge(self):
        assert self.dut.irq.value, "no interrupt after a run"
        await self.control("ACKNOWLEDGE")
        await ClockCycles(self.dut.clk, 2)
        assert not self.dut.irq.value, "the interrupt stays after its acknowledgement"

    async def stop(self):
        """Send nothing more, and let nothing be left of what was sent and came out."""
        self.pause(FREE, 0)
        for source in self.sources.values():
            source.clear()
        await self.control("CLEAR")
        await ClockCycles(self.dut.clk, AFTER)
        await self.control("CLEAR")  # of what its sources had offered already
        await ClockCycles(self.dut.clk, AFTER)
        self.forget()

    def forget(self):
        """What was on its way at a clear or reset is gone, and no promise is broken by that."""
        for name, monitor in self.monitors.items():
            assert not monitor.valid.value, f"{name}_tvalid must be low after that"
            monitor.waiting = monitor.fault = None
            self.seen[name] = len(monitor.cycles)
        self.pause(self.chances, self.seed)

    async def fresh(self):
        """The registers say what they say after power-up."""
        for name, register in REGISTERS.items():
            if register["access"] != "write":
                found = await self.read(name)
                assert found == register["reset"], f"{name} is {found}, not {register['reset']} as after power-up"
        assert not self.dut.irq.value


def difference(found, expected):
    """Two arrays of results in words."""
    count = min(len(found), len(expected))
    wrong = np.nonzero((found[:count] != expected[:count]).any(axis=1))[0]
    if len(wrong):
        at = wrong[0]
        return f"result {at} is {bytes(found[at]).hex()}, not {bytes(expected[at]).hex()}"
    return f"{len(found)} results, not {len(expected)}"


def every_pause():
    """Chances of pauses on none, on some and on all streams."""
    found = itertools.chain.from_iterable(itertools.combinations(STREAMS, count) for count in range(len(STREAMS) + 1))
    return [cocotb.Param(FREE | dict.fromkeys(paused, 0.4), "+".join(paused) or "none") for paused in found]


@cocotb.test
async def registers_say_what_the_tile_is(dut):
    """Constants, read-only registers and addresses without one, before and after a run."""
    tb = TileTB(dut)
    await tb.begin()
    await tb.fresh()
    for name, register in REGISTERS.items():
        if register["access"] != "write":
            answer = await tb.registers.write(register["address"], b"\xff" * 4)
            assert answer.resp == AxiResp.SLVERR, f"{name} can be written"
    taken = {register["address"] for register in REGISTERS.values()}
    for address in sorted(set(range(0, 1 << PORTS["s_axil_araddr"]["width"], 4)) - taken):
        for answer in (await tb.registers.read(address, 4), await tb.registers.write(address, b"\xff" * 4)):
            assert answer.resp == AxiResp.SLVERR, f"an access to 0x{address:02x}, which is no register, succeeds"
    await tb.fresh()
    await tb.run(RUNS[0])
    assert await tb.status() == {"INTERRUPT"} and await tb.read("RUNS") == 1 and await tb.read("ERROR") == 0
    await tb.acknowledge()
    assert await tb.status() == set()
    await tb.run(RUNS[0])
    assert await tb.read("RUNS") == 2
    await tb.control("CLEAR")
    await tb.fresh()


@cocotb.test
async def registers_are_read_in_mid_run(dut):
    """Reading them disturbs nothing, and shows how the run goes on."""
    tb = TileTB(dut, PAUSED, seed=3)
    await tb.begin()
    task = cocotb.start_soon(tb.run(RUNS[0]))
    seen, states = [0], set()
    while not task.done():
        seen.append(await tb.read("CYCLES") | await tb.read("CYCLES_HIGH") << 32)
        states |= await tb.status()
    await task
    assert seen == sorted(seen) and seen[-1] == RUNS[0].counters["cycles"], f"CYCLES goes {seen}"
    assert len(set(seen)) > 10 and states == {"RUNNING", "INTERRUPT"}, f"CYCLES goes {seen}, STATUS shows {states}"


@cocotb.test
@cocotb.parametrize(pauses=every_pause())
async def runs(dut, pauses):
    """One run after the other with pauses on some of the streams."""
    tb = TileTB(dut, pauses, seed=1)
    await tb.begin()
    for case in RUNS:
        await tb.run(case)
        await tb.acknowledge()


@cocotb.test
@cocotb.parametrize(case=ERRORS, pauses=[cocotb.Param(FREE, "none"), cocotb.Param(PAUSED, "all")])
async def error(dut, case, pauses):
    """A command in error ends the run: it is told once, all that follows is dropped, and a clear makes all well."""
    tb = TileTB(dut, pauses, seed=2)
    await tb.begin()
    tb.send(case.words, case.data)
    tb.send(RUNS[0].words, RUNS[0].data)
    await tb.quiet(lambda: dut.irq.value and all(source.idle() for source in tb.sources.values()))
    results, (beats, _) = tb.results(), tb.taken("m_axis_mark")
    assert np.array_equal(results, case.results[: len(results)]), difference(results, case.results[: len(results)])
    marks = [fields("m_axis_mark", *beat) for beat in beats]
    found = [tuple(mark[name] for name in ("number", "cycles", "commands", "error")) for mark in marks]
    assert found == case.marks, f"marks are {found}, not {case.marks}"
    assert await tb.status() == {"FAILED", "INTERRUPT"}
    told = {name: await tb.read(name) for name in ("ERROR", "COMMANDS", "CYCLES", "RUNS")}
    number, cycles, commands, code = case.marks[-1]
    assert told == {"ERROR": code, "COMMANDS": commands, "CYCLES": cycles, "RUNS": 0}, f"registers tell {told}"
    await tb.acknowledge()
    tb.kept()
    await tb.control("CLEAR")
    await tb.fresh()
    await tb.run(RUNS[0])


@cocotb.test
@cocotb.parametrize(how=["reset", "clear"], seed=list(range(3)))
async def stopped_in_mid_run(dut, how, seed):
    """A reset or a clear while all is at work: what follows is as after power-up."""
    rng = random.Random(seed)
    case = rng.choice(RUNS)
    tb = TileTB(dut, PAUSED, seed)
    await tb.begin()
    tb.send(case.words, case.data)
    await ClockCycles(dut.clk, rng.randrange(20, 2 * case.counters["cycles"]))
    if how == "clear":
        await tb.stop()
    else:
        for source in tb.sources.values():
            source.clear()
        await tb.reset(cycles=1)
        tb.forget()
    await tb.fresh()
    for case in RUNS[:2]:
        await tb.run(case)
        await tb.acknowledge()
