"""Reloadable components: which table each beat is computed with, whatever the streams do."""

import itertools

import numpy as np
import pytest
import torch
from amaranth.hdl import Const
from amaranth.sim import Simulator
from tables import random_pwl

import hwlut
from hwlut import Fixed, Requantize, ToolError
from hwlut.hdl import generate
from hwlut.hdl.reload import ReloadableTable, load_entries, loadable_bits
from hwlut.hdl.stream import Pipeline
from hwlut.verify import bench
from hwlut.verify.engine import Outcome
from hwlut.verify.reload import random_table

UNIT = random_pwl(3, segments=4, scales=(1,), output=Fixed(12, 2))
OTHER = random_table(UNIT, np.random.default_rng(1))
THIRD = random_table(UNIT, np.random.default_rng(2))


@pytest.mark.parametrize("stages", range(1, 6))
def test_each_beat_has_the_table_of_its_time(stages):
    symmetry = ["none", "identity", "odd", "even", "complement"][stages - 1]
    unit = random_pwl(stages, segments=stages + 1, symmetry=symmetry)
    scale, lanes, comparison = (None, 2, "tree") if stages % 2 else (3, 1, "parallel")
    rtl = generate(unit, scale=scale, stages=stages, comparison=comparison, lanes=lanes, reloadable=True)
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and report.exhaustive and report.latency == stages, report
    assert [run.reloads for run in report.passes] == [0, 0, 16, 16]
    assert "free-running, 16 tables loaded: " in str(report.passes[2])


@pytest.mark.parametrize("form", [{"lanes": 4}, {"scale": 1, "comparison": "tree", "reset": "aresetn"}], ids=["a", "b"])
def test_in_verilator(form):
    unit = random_pwl(21, segments=6, symmetry="identity")
    report = hwlut.check(unit, verilog=generate(unit, reloadable=True, **form))
    assert report.ok and report.passes[-1].reloads == 16, report


def test_in_cocotb_with_a_reset_in_mid_stream(monkeypatch, need):
    need("iverilog", "cocotb", "cocotbext", "make")

    def find(minimum=None):
        raise ToolError("verilator", "not found", "install it")

    monkeypatch.setattr(bench, "find_verilator", find)
    rtl = generate(UNIT, reloadable=True)
    report = hwlut.check(UNIT, "cocotb", verilog=rtl)
    assert report.ok and len(report.passes) == 18, report


def run(script, stages=3):
    """Results of a `UNIT` that is driven cycle by cycle.

    Each cycle of the script may offer a code `q`, a load beat `load` = (entry, last), refuse the
    output (`stall`) or `reset`. An offer not taken in its cycle is an error of the script.
    """
    top = generate(UNIT, stages=stages, reloadable=True).design()
    results, offered = [], [*script, *[{}] * 12]

    async def bench(ctx):
        ctx.set(top.rst, 1)
        await ctx.tick()
        for cycle in offered:
            ctx.set(top.rst, cycle.get("reset", 0))
            ctx.set(top.s_axis_tvalid, "q" in cycle)
            ctx.set(top.s_axis_tdata, cycle.get("q", 0) & 0xFF)
            ctx.set(top.s_axis_load_tvalid, "load" in cycle)
            ctx.set(top.m_axis_tready, not cycle.get("stall", 0))
            if "load" in cycle:
                (point, slope, intercept), last = cycle["load"]
                ctx.set(top.s_axis_load_tdata, (point & 0xFF) | (slope & 0xFF) << 8 | (intercept & 0xFFFF) << 16)
                ctx.set(top.s_axis_load_tlast, last)
                assert ctx.get(top.s_axis_load_tready)
            assert "q" not in cycle or ctx.get(top.s_axis_tready)
            if ctx.get(top.m_axis_tvalid) and ctx.get(top.m_axis_tready) and not cycle.get("reset", 0):
                value = ctx.get(top.m_axis_tdata)
                results.append(value - (1 << 16) if value >> 15 else value)
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def loading(entries):
    return [{"load": (entry, number == len(entries) - 1)} for number, entry in enumerate(entries)]


def of(table, *codes):
    return table(torch.tensor(codes)).tolist()


CODE = next(q for q in range(16) if len({of(table, q)[0] for table in (UNIT, OTHER, THIRD)}) == 3)


@pytest.mark.parametrize("stages", range(1, 6))
def test_a_load_counts_from_the_cycle_after_its_last_beat(stages):
    script = loading(load_entries(OTHER))
    for cycle in script:
        cycle["q"] = CODE  # up to and with the last beat: still the old table
    script += [{}] * 2 + [{"q": CODE}] * 2 + loading(load_entries(THIRD)) + [{}] * 2 + [{"q": CODE}]
    assert run(script, stages) == of(UNIT, CODE) * 4 + of(OTHER, CODE) * 2 + of(THIRD, CODE)


@pytest.mark.parametrize("stages", range(1, 6))
def test_beats_that_wait_keep_their_table(stages):
    """The output refuses until pipeline and skid buffer are full, then a whole table arrives."""
    full = [{"q": CODE, "stall": 1}] * (stages + 1)
    script = full + [cycle | {"stall": 1} for cycle in loading(load_entries(OTHER))] + [{"stall": 1}] * 5
    script += [{}] * (stages + 3) + [{"q": CODE}]
    assert run(script, stages) == of(UNIT, CODE) * (stages + 1) + of(OTHER, CODE)


@pytest.mark.parametrize("change", [-1, 1, 5])
def test_a_load_of_another_length_changes_nothing(change):
    entries = list(itertools.islice(itertools.cycle(load_entries(OTHER)), UNIT.segments + change))
    script = loading(entries) + [{}] * 2 + [{"q": CODE}] + loading(load_entries(THIRD)) + [{}] * 2 + [{"q": CODE}]
    assert run(script) == of(UNIT, CODE) + of(THIRD, CODE)


def test_reset_brings_back_the_first_table_and_forgets_a_load_half_done():
    script = loading(load_entries(OTHER)) + [{}] * 2 + [{"q": CODE}] + [{}] * 4
    script += loading(load_entries(THIRD))[:-1] + [{"reset": 1}] + [{"q": CODE}] + loading(load_entries(THIRD))
    script += [{}] * 2 + [{"q": CODE}]
    assert run(script) == of(OTHER, CODE) + of(UNIT, CODE) + of(THIRD, CODE)


def test_the_streams_wait_while_the_table_changes():
    top = generate(UNIT, reloadable=True).design()
    ready = []

    async def bench(ctx):
        ctx.set(top.rst, 1)
        await ctx.tick()
        ctx.set(top.rst, 0)
        for cycle in loading(load_entries(OTHER)):
            ctx.set(top.s_axis_load_tvalid, 1)
            ctx.set(top.s_axis_load_tlast, cycle["load"][1])
            await ctx.tick()
        for _ in range(3):
            ready.append((ctx.get(top.s_axis_tready), ctx.get(top.s_axis_load_tready)))
            ctx.set(top.s_axis_load_tvalid, 0)
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert ready == [(0, 0), (1, 1), (1, 1)]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache of its own, for designs of changed code."""
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path))


def found(unit, stages):
    """Whether one of a few seeds finds it: it shows only where a pause meets a swap."""
    rtl = generate(unit, stages=stages, reloadable=True)
    reports = [hwlut.check(unit, "pysim", verilog=rtl, seed=seed) for seed in range(3)]
    wrong = [report for report in reports if report.mismatches]
    assert all(set(report.first) == {"q", "scale", "table", "expected", "got"} for report in wrong)
    return bool(wrong)


@pytest.mark.parametrize("stages", [3, 4])
def test_a_swap_that_does_not_wait_is_found(fresh, monkeypatch, stages):
    swap = ReloadableTable.swap_unless
    monkeypatch.setattr(ReloadableTable, "swap_unless", lambda table, busy: swap(table, Const(0, 1)))
    assert found(random_pwl(3, segments=6), stages)


def test_a_beat_accepted_during_the_swap_is_found(fresh, monkeypatch):
    init = Pipeline.__init__
    monkeypatch.setattr(Pipeline, "__init__", lambda self, m, i, o, pause=None: init(self, m, i, o))
    assert found(random_pwl(3, segments=6), 3)


def test_a_load_stream_that_stops_is_a_fault(monkeypatch):
    from hwlut.verify import pysim

    run_all = pysim.run

    def cut(jobs):
        for outcome in run_all(jobs):
            accepted = {name: cycles[:-1] for name, cycles in outcome.accepted.items()}
            yield Outcome(**{**vars(outcome), "accepted": accepted})

    monkeypatch.setattr(pysim, "run", cut)
    report = hwlut.check(UNIT, "pysim", verilog=generate(UNIT, reloadable=True))
    assert not report.ok and "_axis took " in report.fault or "_load took " in report.fault


def test_entries():
    unit = hwlut.Pwl(
        name="entries",
        input=Fixed(4),
        scales=(0, 1),
        breakpoint_frac=2,
        breakpoints=(-100, -6, 2, 90),
        slope=Fixed(3, 1),
        slopes=(0, 1, 2, 3, -4),
        intercept=Fixed(4, 0),
        intercepts=(5, 6, 7, -8, -1),
    )
    lines = list(zip(unit.slopes, unit.intercepts))
    # At scale 1 a code is 2 units of 2^-2: -6 / 2 = -3, 2 / 2 = 1; codes are -8 to 7, held from -8 to 8.
    assert load_entries(unit, 1) == [(p, *line) for p, line in zip((-8, -3, 1, 8, 0), lines)]
    # Codes at scale 0 are 4 units, and half of that comes with the rounding: -32 to 28 + 2, then one beyond.
    assert load_entries(unit) == [(p, *line) for p, line in zip((-32, -6, 2, 31, 0), lines)]
    with pytest.raises(ValueError, match=r"Pwl scale must be one of \(0, 1\), not 2"):
        load_entries(unit, 2)


@pytest.mark.parametrize("symmetry", ["none", "identity", "odd", "even", "complement"])
def test_the_accumulator_holds_every_table(symmetry):
    unit = random_pwl(4, input_bits=4, segments=2, symmetry=symmetry).replace(slope=Fixed(3, 1), slopes=(1, 2))
    unit = unit.replace(intercept=Fixed(4, 2), intercepts=(1, 2))
    codes = torch.arange(unit.input.min, unit.input.max + 1)
    lowest = highest = 0
    for slope, intercept, scale in itertools.product(range(-4, 4), range(-8, 8), unit.scales):
        line = unit.replace(slopes=(slope,), intercepts=(intercept,), breakpoints=())
        results = line(codes, scale)
        lowest, highest = min(lowest, int(results.min())), max(highest, int(results.max()))
    bits = loadable_bits(unit)
    assert -(1 << bits - 1) <= lowest and highest < 1 << bits - 1
    assert lowest < -(1 << bits - 2) or highest >= 1 << bits - 2


def test_ports():
    unit = random_pwl(4, symmetry="odd", input_bits=8, segments=3)
    ports = generate(unit, scale=1, reloadable=True).description["ports"]
    assert [port["name"] for port in ports if "load" in port["name"]] == [
        "s_axis_load_tdata",
        "s_axis_load_tlast",
        "s_axis_load_tvalid",
        "s_axis_load_tready",
    ]
    (data,) = (port for port in ports if port["name"] == "s_axis_load_tdata")
    # |q| goes to 128, a breakpoint beyond it to 129: 9 bits and a sign.
    assert data["width"] == 40 and data["fields"] == [
        {"name": "breakpoint", "lsb": 0, "bits": 9, "signed": True, "frac": 1},
        {"name": "slope", "lsb": 16, "bits": 6, "signed": True, "frac": unit.slope.frac},
        {"name": "intercept", "lsb": 24, "bits": 9, "signed": True, "frac": unit.intercept.frac},
    ]


def test_refusals():
    wide = random_pwl(1).replace(intercept=Fixed(62, 0))
    with pytest.raises(ValueError, match="Pwl accumulator must stay below 63 bits"):
        generate(wide, reloadable=True)
    unit = Requantize(input=Fixed(7), multipliers=(5,), shifts=(3,), output=Fixed(4))
    with pytest.raises(ValueError, match="Requantize reloadable must not be given, not True"):
        generate(unit, reloadable=True)


def test_the_command_line_refuses_a_form_beside_a_file(capsys):
    from hwlut.cli import main

    assert main(["sim", "gelu_8", "--verilog", "gelu_8.v", "--lanes", "2"]) == 2
    assert "--verilog must be given without --lanes" in capsys.readouterr().err
