"""Sums of products in hardware: every length, both ends of the accumulator, and what a Requantize makes of them."""

import dataclasses
import gc
import itertools
import json
import re
import warnings

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator

import hwlut
from hwlut import Fixed, Multiplier, Requantize, ToolError
from hwlut.cli import main
from hwlut.hdl import generate, read_description
from hwlut.hdl.multiplier import dot as hdl_dot
from hwlut.ops import approx_matmul
from hwlut.units.dot import accumulator, dot, extremes
from hwlut.verify import bench
from hwlut.verify.beats import streams
from hwlut.verify.sums import sums

MIXED = {"a": Fixed(3), "b": Fixed(4, signed=False)}
UNITS = {
    "unsigned": Multiplier(family="exact", name="dot_u3", bits=3),
    "signed": Multiplier(family="exact", name="dot_s4", bits=4, signed=True),
    "mixed": Multiplier(family="exact", name="dot_mixed", **MIXED),
    "drum": Multiplier(family="drum", name="dot_drum", bits=5, signed=True, k=3),
    "columns": Multiplier(family="truncate_columns", name="dot_columns", columns=3, **MIXED),
    "table": Multiplier(family="table", name="dot_table", bits=2, products=np.arange(16).reshape(4, 4) * 5 - 9),
}
SIGNED = UNITS["signed"]


def ratio(input, **changes):
    """acc * 5 / 64 + 3 to six bits."""
    fields = {"multipliers": (5,), "shifts": (6,), "zero_point": 3, "output": Fixed(6), **changes}
    return Requantize(input=input, **fields)


def plain(unit):
    """Its products by pair of codes, as plain integers."""
    codes = (range(unit.a.min, unit.a.max + 1), range(unit.b.min, unit.b.max + 1))
    pairs = list(itertools.product(*codes))
    a, b = (torch.tensor(column) for column in zip(*pairs))
    return dict(zip(pairs, unit(a, b).tolist()))


@pytest.mark.parametrize("name", UNITS)
def test_the_definition(name):
    unit, generator = UNITS[name], torch.Generator().manual_seed(0)
    a = torch.randint(unit.a.min, unit.a.max + 1, (5, 1, 9), generator=generator)
    b = torch.randint(unit.b.min, unit.b.max + 1, (3, 9), generator=generator)
    found, products = dot(unit, a, b), plain(unit)
    assert found.shape == (5, 3) and found.dtype == torch.int32
    want = [[sum(products[pair] for pair in zip(x[0].tolist(), y.tolist())) for y in b] for x in a]
    assert found.tolist() == want
    assert torch.equal(approx_matmul(a[:, 0], b.T, unit).long(), found.long())


def test_the_definition_is_exact_beyond_32_bits():
    unit = Multiplier(family="exact", bits=16)
    codes = torch.full((3,), 65535)
    assert dot(unit, codes, codes).item() == 3 * 65535**2
    assert dot(unit, codes[:0], codes[:0]).item() == 0
    with pytest.raises(ValueError, match=r"^dot codes must have at least one dimension, not shape \(\)$"):
        dot(unit, codes[0], codes[0])


@pytest.mark.parametrize(
    ("unit", "terms", "want"),
    [  # 255 * 255 * 4608 = 299,635,200; 128 * 128 * 4608 = 75,497,472; -128 * 255 * 4608 = -150,405,120
        (Multiplier(family="exact"), 4608, Fixed(29, signed=False)),
        (Multiplier(family="exact", signed=True), 4608, Fixed(28)),
        (Multiplier(family="exact", a=Fixed(8), b=Fixed(8, signed=False)), 4608, Fixed(29)),
        (Multiplier(family="exact"), 1, Fixed(16, signed=False)),
        (Multiplier(family="exact"), 1 << 20, Fixed(36, signed=False)),
        (Multiplier(family="exact", bits=16, signed=True), 2, Fixed(33)),
        (Multiplier(family="drum", bits=16, k=6), 2, Fixed(33, signed=False)),
        # -9 to 66
        (UNITS["table"], 1, Fixed(8)),
        (UNITS["table"], 7, Fixed(10)),
    ],
    ids=str,
)
def test_widths_by_hand(unit, terms, want):
    assert accumulator(unit, terms) == want


@pytest.mark.parametrize("terms", [1, 7, 4608])
@pytest.mark.parametrize("name", UNITS)
def test_the_width_is_the_narrowest(name, terms):
    unit = UNITS[name]
    low, high = min(plain(unit).values()), max(plain(unit).values())
    assert extremes(unit) == (low, high)
    found = accumulator(unit, terms)
    assert found.min <= min(low, terms * low) and terms * high <= found.max
    narrower = Fixed(found.bits - 1, signed=found.signed)
    assert terms * high > narrower.max or terms * low < narrower.min


@pytest.mark.parametrize("terms", [1, 7, 40])
@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_in_the_amaranth_simulator(lanes, terms):
    unit = UNITS["signed" if (lanes + terms) % 2 else "columns"]
    report = hwlut.check(unit, "pysim", verilog=generate(unit, terms=terms, lanes=lanes))
    assert report.ok and not report.exhaustive, report
    assert report.latency == (2 if lanes == 1 else 3)
    most = lanes * -(-terms // lanes)
    assert report.scope == f"sums of 1 to {most} products, the extreme ones and every pair of codes among them"


@pytest.mark.parametrize(
    ("lanes", "requantized", "stages"),
    [(1, False, (1, 2, 3, 4)), (3, False, (1, 3, 4, 5)), (1, True, (2, 4, 7)), (3, True, (2, 3, 5, 8))],
    ids=["one", "three", "one_requantized", "three_requantized"],
)
def test_stages(lanes, requantized, stages):
    unit, form = UNITS["columns"], {"lanes": lanes, "terms": 6}
    if requantized:
        form["requantize"] = ratio(accumulator(unit, 6), multipliers=(5, 9, 30)[:lanes], shifts=(6, 5, 4)[:lanes])
    least, *_, most = numbers = stages
    for stages in numbers:
        report = hwlut.check(unit, "pysim", verilog=generate(unit, stages=stages, **form))
        assert report.ok and report.latency == stages, report
    for stages in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"^Multiplier stages must be from {least} to {most}, not {stages}$"):
            generate(unit, stages=stages, **form)
    with pytest.raises(TypeError, match="^Multiplier stages must be an integer, not True$"):
        generate(unit, stages=True, **form)


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
def test_requantized(rounding):
    unit = UNITS["signed"]
    after = ratio(Fixed(14), rounding=rounding, multipliers=(1,), shifts=(1,), output=Fixed(9))
    rtl = generate(unit, terms=14, lanes=2, requantize=after, reset="aresetn")
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and report.latency == 5, report
    # Halves are among the sums, so that the three roundings differ.
    acc = sums(unit, {**rtl.description, "sum": {"terms": 14, "requantize": None}}, 0).results("reference")
    assert (acc % 2).any()
    assert np.array_equal(sums(unit, rtl.description, 0).results("reference"), after(torch.from_numpy(acc)).numpy())


def test_requantized_by_the_channel_of_the_last_beat():
    unit = UNITS["mixed"]
    after = ratio(accumulator(unit, 10), multipliers=(5, 9, 30), shifts=(6, 5, 4))
    report = hwlut.check(unit, "pysim", verilog=generate(unit, terms=10, requantize=after))
    assert report.ok, report


@pytest.mark.parametrize(
    ("unit", "form"),
    [
        (Multiplier(family="exact", name="mul8u_exact"), {"terms": 4608, "lanes": 8}),
        (Multiplier(family="drum", name="drum_8x6", a=Fixed(8), b=Fixed(6, signed=False), k=4), {"terms": 4608}),
    ],
    ids=["exact", "drum"],
)
def test_verilog(unit, form):
    report = hwlut.check(unit, verilog=generate(unit, **form))
    assert report.ok and report.passes[1].stall, report
    # One beat a cycle.
    pairs = report.passes[0].cycles - report.latency
    assert pairs == len(sums(unit, generate(unit, **form).description, 0).inputs["last"])


def test_verilog_requantized():
    unit = Multiplier(family="exact", name="mul8s_exact", signed=True)
    after = ratio(Fixed(24), multipliers=(77, 1001), shifts=(14, 19), output=Fixed(8), rounding="half_even")
    rtl = generate(unit, terms=64, lanes=3, requantize=after)
    report = hwlut.check(unit, verilog=rtl)
    assert report.ok and report.scope.startswith("sums of 1 to 66 products"), report
    again = rtl.description["sum"]
    assert again == {"terms": 66, "requantize": after.content()}


def test_cocotb(monkeypatch, need):
    need("iverilog", "cocotb", "cocotbext", "make")

    def find(minimum=None):
        raise ToolError("verilator", "not found", "install it")

    monkeypatch.setattr(bench, "find_verilator", find)
    report = hwlut.check(SIGNED, "cocotb", verilog=generate(SIGNED, terms=20, lanes=2))
    assert report.ok and len(report.passes) == 9, report


def test_the_vectors():
    unit = Multiplier(family="drum", name="d", bits=4, k=3)
    for lanes, terms in ((1, 1), (3, 7), (4, 4608)):
        description = generate(unit, lanes=lanes, terms=terms).description
        vectors = sums(unit, description, 3)
        ends = np.flatnonzero(vectors.inputs["last"])
        lengths = np.diff(ends, prepend=-1)
        most = -(-terms // lanes)
        assert lengths[0] == 1 and lengths.max() == most and vectors.inputs["last"][-1] == 1
        assert np.array_equal(vectors.labels["terms"], lengths * lanes)
        names = [""] if lanes == 1 else map(str, range(lanes))
        columns = [(vectors.inputs["a" + x], vectors.inputs["b" + x]) for x in names]
        pairs = {pair for a, b in columns for pair in zip(a.tolist(), b.tolist())}
        assert len(pairs) == unit.pairs
        results, high = vectors.results("reference"), max(plain(unit).values())
        assert results.max() == most * lanes * high and results.min() == 0
        if most > 1:
            assert len(set(lengths.tolist())) > min(most, 20) / 2
        assert not np.array_equal(sums(unit, description, 4).inputs["last"], vectors.inputs["last"]) or most == 1


def test_the_vectors_of_many_pairs():
    unit = Multiplier(family="truncate_columns", name="wide", a=Fixed(12), b=Fixed(16, signed=False), columns=6)
    vectors = sums(unit, generate(unit, lanes=3, terms=7).description, 0)
    assert (
        vectors.scope
        == "sums of 1 to 9 products, the extreme ones and edges and a sample (seed 0) of the pairs among them"
    )
    for name, ends in (("a0", (-2048, -2047, -1, 0, 1, 2046, 2047)), ("b2", (0, 1, 65534, 65535))):
        assert set(ends) <= set(vectors.inputs[name].tolist())
    assert len(vectors.inputs["last"]) > 65536 / 3


def test_the_longest_sums_reach_the_top_of_the_accumulator(need):
    need("verilator", "g++")
    unit = Multiplier(family="exact", name="u2", bits=2)
    rtl = generate(unit, terms=1 << 16)
    report = hwlut.check(unit, verilog=rtl)
    assert report.ok, report
    assert report.scope == "sums of 1 to 65536 products, the extreme ones and every pair of codes among them"
    # 9 products of 2^16 need 20 bits; 2^14 such terms need 18.
    assert rtl.verilog.count("reg [19:0] o__payload;") == 1
    stuck = rtl.verilog.replace("assign m_axis_tdata = ", "assign m_axis_tdata = 24'h7ffff & ")
    report = hwlut.check(unit, verilog=dataclasses.replace(rtl, verilog=stuck))
    assert report.mismatches == 2 and report.first["terms"] == 1 << 16, report


def test_slow_engines_leave_the_longest_sums_out():
    vectors = sums(UNITS["unsigned"], generate(UNITS["unsigned"], terms=1 << 16).description, 0, short=True)
    assert vectors.labels["terms"].max() == 1 << 14
    assert vectors.scope.endswith("every pair of codes among them, but not the longest, of 65536")


def test_against_a_kernel():
    unit = UNITS["mixed"]
    vectors = sums(unit, generate(unit, lanes=3, terms=7).description, 0)
    assert np.array_equal(vectors.results("cpu"), vectors.results("reference"))
    if not torch.cuda.is_available():
        with pytest.raises(ToolError, match="^cuda: no GPU that torch can use"):
            vectors.results("cuda")


def run(script, unit, **form):
    """The results of a component driven cycle by cycle: each offers (a, b, last), resets or waits.

    An offer not taken in its cycle is an error of the script.
    """
    top = generate(unit, **form).design()
    results = []

    async def bench(ctx):
        ctx.set(top.rst, 1)
        await ctx.tick()
        for cycle in [*script, *[None] * 9]:
            ctx.set(top.rst, cycle == "reset")
            ctx.set(top.s_axis_tvalid, isinstance(cycle, tuple))
            ctx.set(top.m_axis_tready, cycle != "stall")
            if isinstance(cycle, tuple):
                a, b, last = cycle
                ctx.set(top.s_axis_tdata, a | b << 8)
                ctx.set(top.s_axis_tlast, last)
                assert ctx.get(top.s_axis_tready)
            if ctx.get(top.m_axis_tvalid) and ctx.get(top.m_axis_tready) and cycle != "reset":
                results.append(ctx.get(top.m_axis_tdata))
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize("stages", range(1, 5))
def test_reset_forgets_a_sum_half_done(stages):
    for wait in range(6):
        script = [(3, 5, 0), (7, 7, 0), *[None] * wait, "reset", (2, 3, 0), (1, 4, 1), (6, 6, 1)]
        assert run(script, UNITS["unsigned"], terms=4, stages=stages) == [10, 36]


def test_a_result_that_waits_is_kept():
    script = [(3, 5, 1), (2, 2, 0), "stall", "stall", "stall", None, (1, 1, 1)]
    assert run(script, UNITS["unsigned"], terms=4) == [15, 5]


def test_more_beats_than_terms_wrap():
    two = Multiplier(family="exact", name="two", bits=2)
    assert accumulator(two, 1) == Fixed(4, signed=False)
    assert run([(3, 3, 0), (3, 3, 0), (3, 3, 1), (1, 2, 1)], two, terms=1) == [27 % 16, 2]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache of its own, for designs of changed code."""
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path))


@pytest.mark.parametrize(("name", "terms"), [("unsigned", 1), ("signed", 7), ("drum", 300)])
def test_an_accumulator_one_bit_short_is_found(fresh, monkeypatch, name, terms):
    def short(unit, terms):
        found = accumulator(unit, terms)
        return Fixed(found.bits - 1, signed=found.signed)

    monkeypatch.setattr(hdl_dot, "accumulator", short)
    report = hwlut.check(UNITS[name], "pysim", verilog=generate(UNITS[name], terms=terms, lanes=1))
    assert report.mismatches and set(report.first) == {"sum", "terms", "a", "b", "expected", "got"}


def test_changed_verilog_is_found():
    rtl = generate(SIGNED, terms=20, lanes=2)
    assert rtl.verilog.count(" = first ? ") == 1
    changed = rtl.verilog.replace(" = first ? ", " = 1'h1 ? ")
    report = hwlut.check(SIGNED, verilog=dataclasses.replace(rtl, verilog=changed))
    assert report.mismatches and report.fault is None, report


@pytest.mark.parametrize("form", [{}, {"lanes": 2, "stages": 5}], ids=["one", "lanes"])
def test_a_missing_reset_of_the_sum_is_found(form):
    rtl = generate(SIGNED, terms=20, **form)
    (held,) = re.findall(r"^    first <= (\S+) ;$", rtl.verilog, re.MULTILINE)
    changed = re.sub(rf"if \(rst\) begin\n +{re.escape(held)}  = 1'h1;\n", "if (1'h0) begin\n", rtl.verilog)
    assert changed != rtl.verilog
    for seed in range(3):
        report = hwlut.check(SIGNED, verilog=dataclasses.replace(rtl, verilog=changed), seed=seed)
        assert report.mismatches and report.fault is None, report


def test_the_same_bytes_each_time(tmp_path, monkeypatch):
    form = {"terms": 20, "lanes": 3, "requantize": ratio(Fixed(20))}
    texts = set()
    for number in range(2):
        monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / str(number)))
        texts.add(generate(UNITS["drum"], **form).verilog)
    (text,) = texts
    assert "// sums of up to 21 products\n" in text


def test_ports():
    unit, after = UNITS["mixed"], ratio(Fixed(20), multipliers=(1, 2, 3), shifts=(1, 1, 1))
    found = streams(generate(unit, terms=6, lanes=2, requantize=after).description)
    assert found["s_axis"].fields == ["a0", "a1", "b0", "b1", "channel", "last"]
    assert found["m_axis"].fields == ["y"]
    found = streams(generate(unit, terms=6).description)
    assert found["s_axis"].fields == ["a", "b", "last"] and found["m_axis"].fields == ["acc"]
    assert "sum" not in generate(unit).description


REFUSED = {
    "no terms": ({"lanes": 2}, ValueError, "Multiplier lanes must be given with terms"),
    "requantize alone": ({"requantize": ratio(Fixed(9))}, ValueError, "Multiplier requantize must be given with terms"),
    "no sum": ({"terms": 0}, ValueError, "Multiplier terms must be from 1 to 1048576, not 0"),
    "long": ({"terms": (1 << 20) + 1}, ValueError, "Multiplier terms must be from 1 to 1048576, not 1048577"),
    "kind of terms": ({"terms": 2.0}, TypeError, "Multiplier terms must be an integer, not 2.0"),
    "lanes": ({"terms": 9, "lanes": 65}, ValueError, "Multiplier lanes must be from 1 to 64, not 65"),
    "kind of lanes": ({"terms": 9, "lanes": True}, TypeError, "Multiplier lanes must be an integer, not True"),
    "kind": (
        {"terms": 9, "requantize": UNITS["drum"]},
        TypeError,
        "Multiplier requantize must be a Requantize, not Multiplier",
    ),
    "narrow": (
        {"terms": 7, "requantize": ratio(Fixed(9))},
        ValueError,
        "Multiplier requantize input must hold the accumulator, s10, not s9",
    ),
    "stages": ({"terms": 7, "stages": 5}, ValueError, "Multiplier stages must be from 1 to 4, not 5"),
    "unsigned": (
        {"terms": 7, "requantize": ratio(Fixed(32, signed=False))},
        ValueError,
        "Multiplier requantize input must hold the accumulator, s10, not u32",
    ),
    "scale": ({"terms": 7, "scale": 1}, ValueError, "Multiplier scale must not be given, not 1"),
    "another form": ({"terms": 7, "reloadable": True}, ValueError, "Multiplier reloadable must not be given, not True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    form, kind, message = REFUSED[case]
    with warnings.catch_warnings(record=True) as warned:  # Amaranth warns of a component that is thrown away
        warnings.simplefilter("always")
        with pytest.raises(kind, match=f"^{message}$"):
            generate(SIGNED, **form)
        gc.collect()
    assert not warned


def test_other_kinds_have_no_terms():
    with pytest.raises(ValueError, match="^Requantize terms must not be given, not 3$"):
        generate(ratio(Fixed(9)), terms=3)


DESCRIBED = {
    "missing": (lambda content: content.pop("sum"), "sum must be given with s_axis_tlast"),
    "keys": (lambda content: content["sum"].pop("terms"), "sum must be an object of terms, requantize, not"),
    "terms": (lambda content: content["sum"].update(terms=0), "sum terms must be an integer from 1 to 2097152, not 0"),
    "requantize": (
        lambda content: content["sum"].update(requantize=5),
        "sum requantize must be null or a unit of hwlut.requantize/1, not 5",
    ),
    "its keys": (
        lambda content: content["sum"].update(requantize={"schema": "hwlut.requantize/1"}),
        "sum requantize: key 'input' is missing",
    ),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_descriptions_that_do_not_describe(case, tmp_path):
    _, path = generate(SIGNED, terms=20, lanes=2).save(tmp_path)
    content = json.loads(path.read_text())
    edit, message = DESCRIBED[case]
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        read_description(path)


def test_only_sums_are_described_as_sums(tmp_path):
    _, path = generate(SIGNED).save(tmp_path)
    content = json.loads(path.read_text()) | {"sum": {"terms": 4, "requantize": None}}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="sum must be given only with s_axis_tlast"):
        read_description(path)
    path.unlink()
    path.with_name("dot_s4.v").unlink()
    generate(SIGNED, terms=20).save(tmp_path)
    with pytest.raises(ValueError, match=f"^{path} has sum .*'terms': 20.*, not none; --force overwrites it$"):
        generate(SIGNED).save(tmp_path)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    SIGNED.save("m.json")
    ratio(Fixed(14)).save("r.json")
    form = ["--terms", "20", "--lanes", "2", "--requantize", "r.json"]
    assert main(["sim", "m.json", "--engine", "pysim", *form]) == 0
    assert "sums of 1 to 20 products" in capsys.readouterr().out
    assert main(["gen-rtl", "m.json", *form]) == 0
    assert main(["sim", "m.json", "--verilog", "dot_s4.v", "--json"]) == 0
    capsys.readouterr()
    assert main(["sim", "m.json", "--verilog", "dot_s4.v", "--terms", "20"]) == 2
    assert main(["gen-rtl", "m.json", "--terms", "20", "--requantize", "m.json"]) == 2
    assert main(["gen-rtl", "m.json", "--lanes", "2"]) == 2
    assert main(["gen-rtl", "r.json", "--requantize", "r.json"]) == 2
    assert main(["sim", "m.json", "--engine", "cpu", "--terms", "4"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "hwlut: --verilog must be given without --terms",
        "hwlut: Multiplier requantize must be a Requantize, not Multiplier",
        "hwlut: Multiplier lanes must be given with terms",
        "hwlut: Requantize requantize must not be given, not requantize",
        "hwlut: --engine cpu must be given without --terms",
    ]


def test_synthesis(need):
    need("yosys", "g++", "verilator")
    from hwlut.verify.synthesis import synthesize

    unit = UNITS["mixed"]
    found = synthesize(unit, target="ice40", verilog=generate(unit, terms=12, lanes=2))
    assert found.ok and found.recheck.scope.startswith("sums of 1 to 12 products") and found.netlist.luts, found
