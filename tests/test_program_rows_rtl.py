"""The hardware of programs of rows: passes, their timing and rows of every length, in every engine."""

import copy
import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from hwlut import Direct, Fixed, Program, check
from hwlut.hdl import generate, program_nodes, read_description
from hwlut.units.operations import (
    Add,
    Apply,
    Clamp,
    Constant,
    LeadingOne,
    Multiply,
    ShiftRight,
    Subtract,
)
from hwlut.units.passes import row_passes
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries, Maximum, Sum
from hwlut.verify.beats import streams
from hwlut.verify.engine import Job
from hwlut.verify.pysim import run


def shares(most=5):
    """As softmax: powers of what is below a row's highest code, and their shares in the row's sum."""
    power = Direct(
        input=Fixed(6, 0), output=Fixed(5, 0, False), values=[31 >> min(5, -q) if q <= 0 else 0 for q in range(-32, 32)]
    )
    inverse = Direct(input=Fixed(8, 0, False), output=Fixed(9, 0, False), values=[511 // (q + 1) for q in range(256)])
    return Program(
        name="shares",
        inputs=(Port("x", Fixed(5)),),
        nodes=(
            Maximum("top", "x"),
            Subtract("away", "x", "top"),
            Apply("grown", "away", power),
            Sum("total", "grown", most),
            Clamp("held", "total", 0, 255),
            Apply("share", "held", inverse),
            Multiply("product", "grown", "share"),
            Constant("six", 6),
            ShiftRight("y", "product", "six", "floor"),
        ),
        outputs=(Port("y", Fixed(8, signed=False)),),
    )


def centred(size=4):
    """As a layer norm: n v - sum(v), its squares summed, entries for each place; two inputs, and a row's own value."""
    return Program(
        name="centred",
        inputs=(Port("a", Fixed(5), shape=(size,)), Port("b", Fixed(4))),
        nodes=(
            Add("v", "a", "b"),
            Sum("total", "v", size),
            Constant("n", size),
            Multiply("scaled", "v", "n"),
            Subtract("d", "scaled", "total"),
            Multiply("square", "d", "d"),
            Sum("squares", "square", size),
            LeadingOne("power", "squares"),
            Entries("gain", np.arange(size) - 2),
            Entries("offset", np.array([5])),
            Multiply("weighted", "d", "gain"),
            Add("raised", "weighted", "offset"),
            ShiftRight("y", "raised", "power"),
        ),
        outputs=(Port("y", Fixed(14)), Port("total", Fixed(9))),
    )


def entries_alone():
    """One pass, so no buffer."""
    gain = Entries("gain", np.array([[3, -4, 5]]))
    return Program(
        name="entries_alone", inputs=(Port("q", Fixed(6)),), nodes=(gain, Multiply("y", "q", "gain")),
        outputs=(Port("y", Fixed(9)),),
    )  # fmt: skip


def rows_of_one():
    """Rows of one place."""
    return shares(1).replace(name="rows_of_one")


def of_rows_alone():
    """Results that are a row's own; sums and maxima of such; names that the pipeline's own signals have."""
    return Program(
        name="of_rows_alone",
        inputs=(Port("place", Fixed(4)), Port("leaves", Fixed(3, signed=False))),
        nodes=(
            Maximum("first", "place"),
            Sum("queue", "leaves", 6),
            Add("last", "first", "queue"),
            Maximum("results", "last"),
            Sum("row_last", "results", 6),
        ),
        outputs=(Port("row_last", Fixed(10)), Port("queue", Fixed(6, signed=False))),
    )


PROGRAMS = (shares, centred, entries_alone, rows_of_one, of_rows_alone)
each_program = pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)


def test_passes_by_hand():
    plan = row_passes(shares())
    assert [each.places for each in plan.passes] == [("x",), ("x",), ("grown",)]
    assert [each.rows for each in plan.passes] == [(), ("top",), ("share",)]
    assert (plan.least, plan.most) == (1, 5)
    # A maximum and its queue; the power's table; a sum and its queue, the share's table; product.
    assert plan.latency == 2 + 1 + 2 + 1 + 1
    assert row_passes(centred()).least == row_passes(centred()).most == 4


def test_what_is_narrower_waits():
    each = row_passes(centred()).passes
    # v, of 6 bits, in place of d or of d times its gain; n v is between them, and the table of gains is read anew.
    assert [one.places for one in each] == [("a", "b"), ("v",), ("v",)]
    assert [one.rows for one in each] == [(), ("total",), ("total", "power")]
    assert [node.name for node in each[2].each.nodes][:3] == ["n", "scaled", "d"]


@each_program
def test_shallowest_and_deepest_in_the_amaranth_simulator(make):
    program = make()
    for depth in (len(program.nodes), 1):
        latency = row_passes(program, depth).latency
        report = check(program, "pysim", verilog=generate(program, stages=latency))
        assert report.ok and report.latency == latency and not report.exhaustive, report
        assert report.cycles_per_row == row_passes(program).most


@pytest.mark.parametrize("make", [shares, centred], ids=lambda make: make.__name__)
def test_verilog(make):
    program = make()
    report = check(program, "verilator")
    assert report.ok and report.latency == row_passes(program).latency == program.cost().latency, report
    lengths = "1 to 5" if make is shares else "4"
    assert report.scope == f"rows of {lengths} places, at the ends of the codes and at random (seed 0)"


def test_cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")
    report = check(shares(), "cocotb")
    assert report.ok and report.cycles_per_row == 5, report


MUTATIONS = {
    "a maximum that never begins anew": (r"first \| ", ""),
    "a row that begins before its sum is there": (r"waiting__valid = r_rdy & \S+ ;", "waiting__valid = r_rdy;"),
    "a full buffer": ("results__ready = move & w_rdy;", "results__ready = move;"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_changed_verilog_is_found(mutation):
    rtl = generate(shares())
    changed = re.sub(*MUTATIONS[mutation], rtl.verilog)
    assert changed != rtl.verilog
    report = check(shares(), "verilator", verilog=dataclasses.replace(rtl, verilog=changed))
    assert not report.ok, report


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (r"waiting__valid = .*;", "waiting__valid = 1'h0;", r"m_axis stopped after 0 of (\d+) beats"),
        ("assign i__ready = ", "assign i__ready = 1'h0 & ", r"m_axis delivered more than (\d+) beats"),
    ],
    ids=["inside", "at the input"],
)
def test_a_stuck_design_is_told_of(before, after, fault):
    rtl = generate(shares())
    stuck = re.sub(before, after, rtl.verilog)
    assert stuck != rtl.verilog
    report = check(shares(), "verilator", verilog=dataclasses.replace(rtl, verilog=stuck))
    assert not report.ok and re.fullmatch(fault, report.fault), report


def test_more_cycles_than_declared_are_a_fault():
    rtl = generate(shares())
    description = rtl.description | {"latency": 8}
    report = check(shares(), "pysim", verilog=dataclasses.replace(rtl, description=description))
    assert report.fault == "latency is declared as 8 cycles, not 7"


def test_too_long_a_row_is_cut():
    """At its place number `most`, whatever tlast is."""
    rtl, codes, last = generate(shares()), np.arange(12) % 7 - 3, np.arange(12) == 11
    source, sink = streams(rtl.description).values()
    sent = source.pack({"x": codes, "last": last.astype(np.int64)})
    (outcome,) = run([Job(rtl=rtl, inputs={source.name: sent}, expected={sink.name: 12})])
    got = sink.unpack(outcome.outputs[sink.name])
    want = torch.cat([shares()(part) for part in torch.from_numpy(codes).split(5)])
    assert got["y"].tolist() == want.tolist() and got["last"].nonzero()[0].tolist() == [4, 9, 11]
    assert outcome.fault is None


def test_the_first_wrong_value_is_named():
    """Also where it is wrong only behind the first place, which a wrong sum of the row is before."""
    assert check(centred(), "pysim", values="all").ok
    compute = program_nodes._compute.registry[Subtract]
    program_nodes._compute.register(Subtract, lambda node, m, spans, a, b: compute(node, m, spans, a, b) ^ (a == 20))
    try:
        report = check(centred(), "pysim", values=("squares", "d"))
    finally:
        program_nodes._compute.register(Subtract, compute)
    assert not report.ok and report.first["value"] == "d" and report.digest == centred().digest, report
    assert 4 * (report.first["a"] + report.first["b"]) == 20


def message(call):
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def refused(nodes, **fields):
    output = Port(nodes[-1].name, Fixed(40))
    program = Program(**{"name": "rows", "inputs": (Port("q", Fixed(4)),), "outputs": (output,), **fields}, nodes=nodes)
    text = message(lambda: generate(program))
    assert text.startswith("Program 'rows' cannot become one stream of rows; ")
    return text.partition("; ")[2]


def test_refusals():
    add = Add("y", "q", "e")
    assert refused((Maximum("y", "q"),)) == "nothing says how long a row can be: no sum, no entries, no port's shape"
    assert refused((Entries("e", np.ones((2, 3), np.int64)), add)) == "node 'e' has entries of several rows"
    two = (
        Entries("e", np.ones(3, np.int64)),
        Entries("f", np.ones(4, np.int64)),
        Add("g", "e", "f"),
        Add("y", "q", "g"),
    )
    assert refused(two) == "node 'e' has rows of 3 places and node 'f' of 4"
    shaped = {"inputs": (Port("q", Fixed(4), shape=(2, 9)),)}
    assert refused((Sum("y", "q", 8),), **shaped) == "input 'q' has rows of 9 places and a sum takes 8"
    assert refused((Apply("y", "q", shares().replace(inputs=(Port("x", Fixed(5, 0)),))),)) == (
        "node 'y' is a program of rows within it"
    )
    assert refused((Sum("y", "last", 3),), inputs=(Port("last", Fixed(4)),)) == "it has a port named 'last'"
    wide = Program.of(
        name="wide", input=Fixed(16), nodes=(Sum("s", "q", 1 << 20), Add("y", "s", "q")), output=Fixed(40)
    )
    assert message(lambda: generate(wide)).startswith(
        "Program 'wide' buffers must hold at most 2^24 bits in hardware, "
    )


HOSTILE = {
    "keys": (
        lambda content: content["stream_rows"].pop("most"),
        "stream_rows must be an object of least, most, passes",
    ),
    "least": (
        lambda content: content["stream_rows"].update(least=6),
        "stream_rows least must be an integer from 1 to 5",
    ),
    "most": (lambda content: content["stream_rows"].update(most=1 << 40), "stream_rows most must be an integer from 1"),
    "passes": (lambda content: content["stream_rows"].update(passes=True), "stream_rows passes must be an integer"),
    "missing": (
        lambda content: content.pop("stream_rows"),
        "stream_rows must be given with s_axis_tlast and m_axis_tlast",
    ),
    "sum": (lambda content: content.update(sum={}), "sum must be given only with s_axis_tlast"),
    "no tlast": (
        lambda content: content["ports"].pop(3),
        "stream_rows must be given only with s_axis_tlast and m_axis_tl",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_descriptions(case, tmp_path):
    change, text = HOSTILE[case]
    content = copy.deepcopy(generate(shares()).description)
    change(content)
    path = tmp_path / "bad.rtl.json"
    path.write_text(json.dumps(content))
    assert message(lambda: read_description(path)).startswith(f"{path}: {text}")


def test_files_of_other_rows_stay(tmp_path):
    generate(shares()).save(tmp_path)
    other = generate(shares(6))
    assert "has digest" in message(lambda: other.save(tmp_path))
    description = generate(shares()).description
    assert description["stream_rows"] == {"least": 1, "most": 5, "passes": 3}
    assert "// rows of 1 to 5 places, a beat each, in 3 passes" in generate(shares()).verilog


def test_a_unit_without_rows_is_refused():
    from hwlut.verify.plan import plan

    with pytest.raises(ValueError, match="^Direct 'direct' has no rows$"):
        unit = Direct(input=Fixed(2, 0), output=Fixed(2, 0), values=(0, 1, 0, 1))
        plan(unit, generate(shares()).description, "reference", 0, True)


def test_engines_of_software():
    with pytest.raises(ValueError) as caught:
        check(shares(), "reference")
    assert str(caught.value) == "Program 'shares' of rows must be checked in a simulator"


def test_synthesis_counts_ram_apart(need):
    need("yosys")
    from hwlut.verify.synthesis import synthesize

    found = synthesize(shares())
    # 5 places and 2 on their way, of 5 bits and last, less the one in a register; then one more, of grown, also 5 bits.
    assert found.ok and found.netlist.ram_bits == (5 + 2 - 1) * 6 + (5 + 1 + 2 - 1) * 6, found
    assert "RAM       78 bits, in neither area nor delay" in str(found)
