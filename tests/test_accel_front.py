"""The front of a tile, around a stand-in for what computes: when commands are taken, stalls, errors, registers."""

import random

import pytest
from amaranth.hdl import Signal
from amaranth.sim import Simulator
from tile_front import LACKING, NOT_READY, PORT, RESULTS, STALLS, TILE, Bench, axil, mark_fields, setting

from hwlut.accel.commands import END, Destination, Opcode, Register, Target, XSource, YSource, command, start
from hwlut.accel.hdl import Executor
from hwlut.accel.hdl.register_port import RegisterPort
from hwlut.accel.instructions import Compute, Load, Loops, Mark, Stream, encode
from hwlut.accel.port import Access
from hwlut.accel.timing import busy_cycles
from hwlut.units import Operation

START, COMPUTE = start(TILE), command(Opcode.COMPUTE)
WORD_BEATS = {Target.WEIGHTS: 1, Target.CONSTANTS: 2, Target.TABLES: 1, Target.INPUTS: 1}  # 32, 24 and 62, 9, 24 bits


def load(target, address, count, wait=False):
    return command(Opcode.LOAD, target | wait << 7, address | count << 24)


def schedule(commands, beats):
    """What happens in which cycle by docs/tile.md: events, cycle of END, and the cycle of each mark."""
    events, marks = [], []
    now, computed, loaded, length = 0, 0, 0, 0  # the first cycles in which nothing is computed or loaded
    beats = iter(beats)
    for each in commands:
        opcode, argument, value = each >> 56, each >> 48 & 255, each & (1 << 48) - 1
        if opcode == Opcode.LOAD:
            now = max(now, loaded, computed if argument & 128 else 0)
        elif opcode == Opcode.COMPUTE:
            now = max(now, computed, loaded if argument & 1 else 0)
        elif opcode == Opcode.END:
            now = max(now, computed, loaded)
        elif opcode != Opcode.START:
            now = max(now, computed)
        if opcode == Opcode.SET:
            events.append((now, "set", argument, value))
            length = value if argument == Register.COUNT else length
        elif opcode == Opcode.COMPUTE:
            events.append((now, "start"))
            computed = now + 1 + length
        elif opcode == Opcode.LOAD:
            target, parts = argument & 127, WORD_BEATS[argument & 127]
            for beat in range((value >> 24) * parts):
                where = target, (value & 0xFFFFFF) + beat // parts, beat % parts
                events.append((now + 1 + beat, "load", *where, next(beats)))
            loaded = now + 1 + (value >> 24) * parts
        elif opcode == Opcode.MARK:
            marks.append((value, now))
        now += 1
    return sorted(events), now, marks


def some_commands(seed):
    """A run in which computing, loading and marks lie beside each other in all ways."""
    rng = random.Random(seed)
    commands, beats = [START], 0
    for number in range(30):
        kind = rng.choice(("compute", "compute", "load", "load", "set", "mark"))
        if kind == "compute":
            commands += [setting(Register.COUNT, rng.randrange(1, 12)), setting(Register.FLAGS, rng.randrange(2))]
            commands.append(command(Opcode.COMPUTE, rng.randrange(2)))
        elif kind == "load":
            target, count = rng.choice(list(Target)), rng.randrange(0, 6)
            commands.append(load(target, rng.randrange(1 << 24 - 1), count, wait=rng.random() < 0.3))
            beats += count * WORD_BEATS[target]
        elif kind == "set":
            commands.append(setting(Register.LOW, rng.getrandbits(48)))
        else:
            commands.append(command(Opcode.MARK, value=number << 40 | number))
    commands.append(load(Target.INPUTS, 0, 3))
    beats += 3
    return [*commands, END], [rng.getrandbits(32) for _ in range(beats)]


def played(commands, data=(), pauses=None, reset="rst", then=None, executor=None):
    bench = Bench(reset, executor)
    bench.commands.extend(commands)
    bench.data.extend(data)
    bench.pauses |= pauses or {}

    async def script(ctx, bench):
        await bench.settled(ctx)
        if then is not None:
            await then(ctx, bench)

    run = bench.simulate(script)
    run.left = len(bench.commands) + len(bench.data)
    return run


@pytest.mark.parametrize("seed", range(3))
def test_commands_are_taken_in_the_first_cycle_they_can(seed):
    commands, data = some_commands(seed)
    events, cycles, marks = schedule(commands, data)
    run = played(commands, data)
    assert sorted(run.events) == events
    assert run.cycles == cycles - 1  # START is taken while nothing moves
    assert [(mark_fields(beat)["number"], mark_fields(beat)["cycles"]) for (beat,) in run.marks] == marks
    assert run.left == 0


@pytest.mark.parametrize(
    ("stream", "place"), [("s_axis_command", 0), ("s_axis", 1), ("m_axis", 2), ("m_axis_mark", 2), ("all", None)]
)
def test_stalls_of_every_kind_leave_the_cycles_that_move_as_they_are(stream, place):
    commands, data = some_commands(7)
    if stream == "m_axis_mark":
        commands[-1:] = [command(Opcode.MARK, value=number) for number in range(30)] + [END]
    free = played(commands, data)
    streams = ("s_axis_command", "s_axis", "m_axis", "m_axis_mark") if stream == "all" else (stream,)
    run = played(commands, data, dict.fromkeys(streams, 80))
    assert (run.events, run.cycles, run.results) == (free.events, free.cycles, free.results)
    told = [mark_fields(beat) for (beat,) in run.marks]
    assert [(m["number"], m["cycles"], m["commands"]) for m in told] == [
        (m["number"], m["cycles"], m["commands"]) for m in (mark_fields(beat) for (beat,) in free.marks)
    ]
    stalled = [told[-1][f"stalled_{name}"] for name in STALLS]
    if place is not None:
        assert stalled[place] > 10
    assert all(seen >= counted for seen, counted in zip(run.stalls, stalled))


def test_a_run_stands_still_for_the_next_command_unless_none_could_be_taken():
    def gap(ctx, bench):
        return bench.settled(ctx, 20)

    async def later(ctx, bench):
        await gap(ctx, bench)
        seen.append((bench.run.cycles, list(bench.run.stalls)))
        bench.data.extend([3])
        await gap(ctx, bench)
        seen.append((bench.run.cycles, list(bench.run.stalls)))

    seen = []
    sixty = setting(Register.COUNT, 60)
    played([START, sixty, COMPUTE], then=later)  # a LOAD could be taken: nothing is computed
    assert seen[0][0] == 2 and seen[0][1][0] > 20 and seen[1][0] == 2
    seen.clear()
    played([START, sixty, COMPUTE, load(Target.INPUTS, 0, 2)], [1], then=later)  # a beat is missing, which tells first
    assert seen[0][0] == 4 and seen[0][1][1] > 20
    assert seen[1][0] == 5 and seen[1][1][0] > 20  # loaded: again a LOAD could be taken
    seen.clear()
    played([START, sixty, COMPUTE, load(Target.INPUTS, 0, 90)], range(100), then=later)  # both are at work
    assert seen[0][0] == 62 and seen[0][1][0] > 20  # until the computation is over


def errors():
    known = setting(Register.COUNT, 4)
    yield "opcode 0", [START, known, command(0, 5, 6), END], 1, 2
    yield "opcode 7", [START, command(7), END], 1, 1
    yield "opcode 255 before START", [command(255), START], 1, 0
    yield "register 0x46", [START, known, known, setting(0x46, 1), END], 2, 3
    yield "level 2 of two", [START, setting(Register.Y_DELTAS + 2, 0), END], 2, 1
    yield "SET before START", [known, START, END], 3, 0
    yield "END before START", [END], 3, 0
    yield "START in a run", [START, known, START, END], 3, 2
    yield "another tile", [start(TILE.replace(rows=3)), END], 4, 0
    yield "flags", [START, setting(Register.FLAGS, LACKING), COMPUTE, END], 5, 2
    yield "target 4", [START, load(4, 0, 1), END], 5, 1
    yield "operator", [START, setting(Register.FLAGS, NOT_READY), known, COMPUTE, END], 6, 4


@pytest.mark.parametrize(("commands", "error", "place"), [case[1:] for case in errors()], ids=[c[0] for c in errors()])
def test_an_error_ends_the_run_and_nothing_hangs(commands, error, place):
    more = [setting(Register.LOW, 9)] * 40

    async def look(ctx, bench):
        for name in ("STATUS", "ERROR", "COMMANDS"):
            registers[name] = await axil(ctx, bench.top, PORT[name].address)

    registers = {}
    run = played([*commands, *more], range(50), then=look)
    (mark,) = (mark_fields(beat) for (beat,) in run.marks)
    assert (mark["error"], mark["number"], mark["commands"]) == (error, 0, place)
    assert registers == {"STATUS": (0, 0b110), "ERROR": (0, error), "COMMANDS": (0, place)}
    assert run.left == 0
    assert all(event[1:3] != ("set", Register.LOW) for event in run.events)
    before = [each >> 56 for each in commands[:place]]
    assert [event[1] for event in run.events] == ["set"] * before.count(2) + ["start"] * before.count(3)


@pytest.mark.parametrize("faulty", [START, command(7)])
@pytest.mark.parametrize("pause", [0, 90, 95])
def test_an_error_has_its_cycle_whenever_its_command_comes(faulty, pause):
    """Commands are not waited for while both are at work, so none is taken in these cycles."""
    commands = [START, setting(Register.COUNT, 60), COMPUTE, load(Target.INPUTS, 0, 90), faulty]
    run = played(commands, range(90), {"s_axis_command": pause})
    (mark,) = (mark_fields(beat) for (beat,) in run.marks)
    assert (mark["error"], mark["cycles"]) == (1 if faulty != START else 3, 2 + 1 + 60 + 1)


def test_a_row_that_is_not_ready_fails_in_its_own_cycle():
    commands = [START, setting(Register.FLAGS, NOT_READY | RESULTS), setting(Register.COUNT, 20), COMPUTE, END]
    cycles = []
    for pause in (0, 80):
        (mark,) = played(commands, pauses={"m_axis": pause}).marks
        cycles.append(mark_fields(mark[0])["cycles"])
    # START to COMPUTE, then the cycle with one more to go.
    assert cycles == [4 + 19] * 2


@pytest.mark.parametrize(("beats", "place"), [(8, 1), (9, 2), (10, 2)])
def test_a_cycle_that_misses_data_and_room_waits_for_room(beats, place):
    commands = [
        START,
        setting(Register.FLAGS, RESULTS),
        setting(Register.COUNT, 40),
        load(Target.INPUTS, 0, 99),
        COMPUTE,
    ]
    # The queue holds 8 results, and loading is one cycle ahead: in the tenth both are missing.
    run = played(commands, range(beats), {"m_axis": 100})
    assert [name for name, count in zip(STALLS, run.stalls) if count > 20] == [STALLS[place]]


def test_tables_that_a_tile_does_not_have_are_no_target(monkeypatch):
    import tile_front

    assert not played([START, load(Target.TABLES, 0, 1), END], [1]).marks
    monkeypatch.setattr(tile_front, "TILE", TILE.replace(table_inputs=0))
    (mark,) = played([start(tile_front.TILE), load(Target.TABLES, 0, 1), END], [1]).marks
    assert mark_fields(mark[0])["error"] == 5


def test_an_error_waits_for_room_for_its_mark():
    commands = [START, *(command(Opcode.MARK, value=n) for n in range(1, 9)), command(9)]

    async def open_up(ctx, bench):
        assert not bench.run.marks
        assert await axil(ctx, bench.top, PORT["STATUS"].address) == (0, 0b110)
        bench.pauses["m_axis_mark"] = 0
        await bench.settled(ctx)

    run = played(commands, pauses={"m_axis_mark": 100}, then=open_up)
    assert [mark_fields(beat)["number"] for (beat,) in run.marks] == [*range(1, 9), 0]
    assert mark_fields(run.marks[-1][0])["error"] == 1


@pytest.mark.parametrize("reset", ["rst", "aresetn"])
def test_clear_ends_everything_and_the_next_run_is_as_the_first(reset):
    commands, data = some_commands(3)
    first = played(commands, data, reset=reset)

    async def again(ctx, bench):
        top, run = bench.top, bench.run
        assert run.results == [] and run.cycles > 0
        assert await axil(ctx, top, PORT["CONTROL"].address, 1) == (0, None)
        for name in ("STATUS", "ERROR", "RUNS", "CYCLES", "STALLED_COMMANDS", "COMMANDS", "DATA_BEATS"):
            assert await axil(ctx, top, PORT[name].address) == (0, 0)
        assert not ctx.get(top.m_axis_tvalid) and not ctx.get(top.irq)
        bench.pauses["m_axis"] = 0
        run.events.clear()
        run.cycles = 0
        bench.commands.extend(commands)
        bench.data.extend(data)
        await bench.settled(ctx)

    broken = [START, setting(Register.FLAGS, RESULTS), setting(Register.COUNT, 40), COMPUTE, load(Target.INPUTS, 0, 99)]
    run = played(broken, range(6), pauses={"m_axis": 100}, reset=reset, then=again)
    assert (run.events, run.cycles, run.results) == (first.events, first.cycles, first.results)
    assert run.marks == first.marks


@pytest.mark.parametrize("reset", ["rst", "aresetn"])
def test_a_cycle_of_reset_withdraws_all_that_waits(reset):
    async def then(ctx, bench):
        top, valid = bench.top, ("m_axis_tvalid", "m_axis_mark_tvalid", "s_axil_bvalid", "s_axil_rvalid")
        ready = ("s_axis_command_tready", "s_axis_tready", "s_axil_awready", "s_axil_wready", "s_axil_arready")
        for name in ("aw", "w", "ar"):
            ctx.set(getattr(top, f"s_axil_{name}valid"), 1)
        await ctx.tick().repeat(2)
        for name in ("aw", "w", "ar"):
            ctx.set(getattr(top, f"s_axil_{name}valid"), 0)
        await ctx.tick().repeat(2)
        assert all(ctx.get(getattr(top, name)) for name in valid)
        ctx.set(getattr(top, reset), reset == "rst")
        await ctx.tick()
        ctx.set(getattr(top, reset), reset != "rst")
        for _ in range(4):
            assert not any(ctx.get(getattr(top, name)) for name in valid)
            await ctx.tick()
        assert all(ctx.get(getattr(top, name)) for name in ready)

    commands = [START, setting(Register.FLAGS, RESULTS), setting(Register.COUNT, 4), COMPUTE, command(Opcode.MARK), END]
    run = played(commands, pauses={"m_axis": 100, "m_axis_mark": 100}, reset=reset, then=then)
    assert (run.results, run.marks) == ([], [])


def test_registers_say_how_a_run_went():
    length, words = 9, 3
    commands = [START, setting(Register.COUNT, length), setting(Register.FLAGS, RESULTS), COMPUTE]
    commands += [load(Target.CONSTANTS, 5, words), command(Opcode.MARK, value=1), END]

    async def look(ctx, bench):
        top = bench.top
        for name, register in PORT.items():
            found[name] = await axil(ctx, top, register.address)
        assert ctx.get(top.irq)
        assert await axil(ctx, top, PORT["CONTROL"].address, 2, strobe=0b1110) == (0, None)
        assert ctx.get(top.irq)
        assert await axil(ctx, top, PORT["CONTROL"].address, 2) == (0, None)
        assert not ctx.get(top.irq)
        assert await axil(ctx, top, PORT["STATUS"].address) == (0, 0)
        for address in (0x3C, 0x90, 0xFC):
            assert await axil(ctx, top, address) == (2, 0)
        for name in ("IDENTITY", "STATUS", "CYCLES"):
            assert await axil(ctx, top, PORT[name].address, 1) == (2, None)
        assert await axil(ctx, top, PORT["RUNS"].address) == (0, 1)

    found = {}
    run = played(commands, range(2 * words), then=look)
    # START and two SETs, COMPUTE, its cycles beside the LOAD, the mark, END.
    cycles = 4 + length + 2
    assert {name: data for name, (response, data) in found.items() if response == 0} == {
        "IDENTITY": int.from_bytes(b"HWLT", "big"),
        "VERSION": 1,
        "DIGEST": int(TILE.digest[-8:], 16),
        "CONTROL": 0,
        "STATUS": 0b100,
        "ERROR": 0,
        "RUNS": 1,
        "CYCLES": cycles,
        "CYCLES_HIGH": 0,
        "STALLED_COMMANDS": run.stalls[0],
        "STALLED_DATA": 0,
        "STALLED_RESULTS": 0,
        "COMMANDS": len(commands),
        "DATA_BEATS": 2 * words,
        "RESULT_BEATS": length,
        "ROWS": 2,
        "COLUMNS": 3,
        "MULTIPLIERS": 1,
        "ENTRIES": 0,
        "ACCUMULATOR_BITS": 24,
        "VALUE_BITS": 12,
        "INPUT_BITS": 8,
        "WEIGHT_BITS": 8,
        "CONSTANT_BITS": 25 + 31 + 6,
        "BEAT_BYTES": 4,
        "OPERATORS": 0,
        "TABLE_INPUTS": 4,
        "TABLE_OUTPUTS": 9,
        "TABLES": 1,
        "LOOPS": 2,
        "VALUES": 1 << 14,
        "INPUTS": 1 << 11,
        "WEIGHTS": 16,
        "CONSTANTS": 1 << 10,
        "OPERANDS": 0,
    }
    assert [last for _, last in run.results] == [0] * (length - 1) + [1]


def test_the_words_of_the_cycles_belong_together():
    cycles = Signal(48)
    live = {name: Signal(32) for name, register in PORT.items() if register.access == Access.READ}
    port = RegisterPort(TILE, live | {"CYCLES": cycles}, Signal())
    found = []

    async def script(ctx):
        for now in (0x1_FFFF_FFFF, 0x2_0000_0000, 0x8765_0000_0003):
            ctx.set(cycles, now)
            low = await axil(ctx, port, PORT["CYCLES"].address)
            ctx.set(cycles, now + (5 << 32))
            found.append((low, await axil(ctx, port, PORT["CYCLES_HIGH"].address)))

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(script)
    simulator.run()
    assert found == [((0, 0xFFFF_FFFF), (0, 1)), ((0, 0), (0, 2)), ((0, 3), (0, 0x8765))]


@pytest.mark.parametrize("order", ["address first", "data first", "both"])
def test_a_write_comes_in_any_order_and_waits_for_its_response_to_be_taken(order):
    port = RegisterPort(TILE, {name: Signal(48) for name in PORT}, Signal())
    cleared = []

    async def channel(ctx, name):
        ctx.set(getattr(port, f"s_axil_{name}valid"), 1)
        while not ctx.get(getattr(port, f"s_axil_{name}ready")):
            await ctx.tick()
        await ctx.tick()
        ctx.set(getattr(port, f"s_axil_{name}valid"), 0)

    async def script(ctx):
        for value in (1, 0, 1):
            ctx.set(port.s_axil_awaddr, PORT["CONTROL"].address)
            ctx.set(port.s_axil_wdata, value)
            ctx.set(port.s_axil_wstrb, 1)
            if order == "both":
                ctx.set(port.s_axil_wvalid, 1)
            for name in {"data first": ("w", "aw")}.get(order, ("aw", "w")):
                assert not ctx.get(port.s_axil_bvalid)
                await channel(ctx, name)
                ctx.set(port.s_axil_wvalid, 0)
            for _ in range(3):
                await ctx.tick()
                assert ctx.get(port.s_axil_bvalid) and ctx.get(port.s_axil_bresp) == 0
            ctx.set(port.s_axil_bready, 1)
            await ctx.tick()
            ctx.set(port.s_axil_bready, 0)
            assert not ctx.get(port.s_axil_bvalid)

    async def watch(ctx):
        async for *_, clear in ctx.tick().sample(port.clear):
            cleared.append(clear)

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(script)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert sum(cleared) == 2


@pytest.mark.parametrize("pause", [0, 50])
def test_what_really_computes_is_told_and_stalled_in_the_same_way(pause):
    codes = [[-3, 7, 100, -128, 5], [1, -2, 3, -4, 5]]  # of each row
    doubled = Compute(
        feed=Loops((5,)),
        x=Stream(0, (1,)),
        x_source=XSource.INPUTS,
        y_source=YSource.IMMEDIATE,
        immediate=1,
        operation=Operation.SHIFT_LEFT,
        store=Loops((5,)),
        destination=Destination.OUTPUT,
        wait=True,
    )
    words = encode(TILE, [Load(target=Target.INPUTS, address=0, count=5), Mark(1), doubled, Mark(2)])
    data = [(first & 0xFFFF) | (second & 0xFFFF) << 16 for first, second in zip(*codes)]
    run = played(words, data, dict.fromkeys(("s_axis_command", "s_axis", "m_axis"), pause), executor=Executor(TILE))
    assert [(beat & 0xFFFF, beat >> 16, last) for beat, last in run.results] == [
        (2 * first & 0xFFFF, 2 * second & 0xFFFF, place == 4) for place, (first, second) in enumerate(zip(*codes))
    ]
    first, second = (mark_fields(beat)["cycles"] for (beat,) in run.marks)
    assert first == 2  # START, LOAD: a mark does not wait for what is loaded
    settings = len(words) - 6
    assert second == first + 1 + settings + 1 + busy_cycles(TILE, doubled)
