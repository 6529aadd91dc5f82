"""Hardware of LutMatmul: every shape and form against the definition, with exactly the cycles that the shape says."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator
from lut_units import random_unit

import hwlut
import hwlut.ops
from hwlut import Fixed, LutMatmul, ToolError
from hwlut.hdl import generate, read_description
from hwlut.hdl.lut_matmul import load_words
from hwlut.units.lut_array import lut_array
from hwlut.verify import bench
from hwlut.verify.rows import row_stimulus

UNIT = random_unit(1, encoder="tree", k=4, v=3, features=13, outputs=5, requantize="channels", ties=True)


def shape(seed, encoder, k, v, features, outputs, form, **more):
    unit = random_unit(seed, encoder=encoder, k=k, v=v, features=features, outputs=outputs, **more)
    return pytest.param(unit, form, id=f"{encoder}_{k}_{v}_{features}_{outputs}")


SHAPES = [
    # One codebook, one output, one bank.
    shape(1, "tree", 2, 1, 1, 1, {}, bias=False),
    shape(2, "l2", 2, 1, 1, 1, {"reloadable": True}),
    # Codebooks that do not fill the banks, outputs that do not fill the tiles, inputs that do not fill the codebooks.
    shape(3, "l1", 4, 2, 9, 7, {"banks": 2, "tile": 3, "encoders": 1, "reloadable": True}, requantize="channels"),
    shape(4, "chebyshev", 4, 3, 14, 5, {"banks": 4, "tile": 2, "encoders": 2, "reset": "aresetn"}, requantize=True),
    shape(5, "tree", 8, 2, 13, 4, {"banks": 3, "tile": 4, "encoders": 3, "reloadable": True}, table_bits=4),
    # One bank, and groups that come faster or slower than they are read.
    shape(6, "tree", 4, 1, 6, 3, {"banks": 1, "tile": 1, "reloadable": True}, bias=False, extreme=True),
    shape(7, "l2", 4, 2, 16, 2, {"banks": 8, "tile": 2, "encoders": 1}, ties=True),
    shape(8, "l1", 2, 2, 12, 3, {"banks": 6, "tile": 1, "encoders": 6}, ties=True, table_bits=4, extreme=True),
    # Rows that end within a group, by more than one beat.
    shape(9, "chebyshev", 2, 1, 9, 2, {"banks": 6, "tile": 1, "encoders": 2, "reloadable": True}, ties=True),
    # Many prototypes.
    shape(10, "tree", 256, 1, 2, 3, {"banks": 1, "tile": 2}, requantize="channels"),
]


@pytest.mark.parametrize(("unit", "form"), SHAPES)
def test_in_the_amaranth_simulator(unit, form):
    sizes = {name: form.get(name) for name in ("banks", "tile", "encoders")}
    array = lut_array(unit, **sizes)
    rtl = generate(unit, **form)
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and report.vectors >= 16 and not report.exhaustive, report
    assert report.latency == rtl.description["latency"] == array.latency
    assert report.cycles_per_row == array.cycles_per_row
    assert report.load_cycles == (array.load_cycles if "reloadable" in form else None)
    if "reloadable" not in form:
        assert report.passes[0].cycles == array.cycles(report.vectors)
    loads = max(3, min(12, 512 // array.load_cycles)) if "reloadable" in form else 0
    assert [run.reloads for run in report.passes] == ([0, 0, loads, loads] if loads else [0, 0])


def test_cycles_by_hand():
    # 5 codebooks in 3 groups of 2, 5 outputs in 3 tiles of 2, an encoder: 3 x 3 reads a row, and 5 beats.
    # The last of them in cycle 4, two comparisons, FIFO, bank, one level of adders, accumulator, two rows behind it.
    form = {"banks": 2, "tile": 2, "encoders": 1}
    description = generate(UNIT, reloadable=True, **form).description
    assert description["latency"] == 4 + 2 + 1 + 1 + 1 + 1 + 2
    assert description["rows"] == {
        "inputs": 5,
        "outputs": 3,
        "cycles": 9,
        "cycles_per_output": 3,
        "load_cycles": 3 * 5 * 4,
    }
    assert generate(UNIT, **form).description["rows"]["load_cycles"] is None
    report = hwlut.check(UNIT, "pysim", verilog=generate(UNIT, **form))
    assert report.passes[0].cycles == 12 + 1 + 2 * 3 + (report.vectors - 1) * 9
    assert "latency     12 cycles\na row       9 cycles\n" in str(report)


@pytest.mark.parametrize(
    ("unit", "form"),
    [
        (random_unit(20, encoder="l2", k=8, v=2, features=11, outputs=6, requantize="channels"), {"tile": 4}),
        (
            random_unit(21, encoder="tree", k=8, v=3, features=20, outputs=5, table_bits=4, extreme=True),
            {"banks": 3, "tile": 2, "reloadable": True},
        ),
    ],
    ids=["fixed", "reloadable"],
)
def test_in_verilator(unit, form):
    report = hwlut.check(unit, verilog=generate(unit, **form))
    assert report.ok and report.vectors == 4096, report
    assert report.passes[-1].reloads == (12 if "reloadable" in form else 0) and report.passes[-1].stall
    reads = generate(unit, **form).description["rows"]
    assert report.cycles_per_row == reads["cycles"]
    assert not hwlut.check(random_unit(22, encoder="l1", k=2, v=1, features=1, outputs=1), "reference").mismatches


@pytest.mark.parametrize("reloadable", [False, True], ids=["fixed", "reloadable"])
def test_in_cocotb_with_a_reset_in_mid_stream(monkeypatch, need, reloadable):
    need("iverilog", "cocotb", "cocotbext", "make")

    def find(minimum=None):
        raise ToolError("verilator", "not found", "install it")

    monkeypatch.setattr(bench, "find_verilator", find)
    unit = random_unit(23, encoder="l1" if reloadable else "tree", k=2, v=2, features=5, outputs=3, requantize=True)
    report = hwlut.check(unit, "cocotb", verilog=generate(unit, banks=2, tile=2, encoders=1, reloadable=reloadable))
    assert report.ok and len(report.passes) == (18 if reloadable else 9), report
    assert report.cycles_per_row == 4


# One constant of the Verilog, changed in its lowest bit.
CONSTANTS = {
    "threshold": ("tree", {}, r"thresholds_0_1\[1\] = 8'h.."),
    "first threshold": ("tree", {"banks": 3, "encoders": 3}, None),
    "prototype": ("l2", {}, r"prototypes_0\[2\] = \d+'h\w+"),
    "entry": ("l1", {}, r"bank0\[3\] = \d+'h\w+"),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_a_changed_constant_is_found(case):
    encoder, form, pattern = CONSTANTS[case]
    unit = random_unit(31, encoder=encoder, k=2 if pattern is None else 4, v=2, features=6, outputs=2)
    if encoder == "tree":
        unit = unit.replace(dimensions=[[0, 1][: unit.depth]] * 3)
    rtl = generate(unit, **{"banks": 2, "encoders": 1} | form)
    if pattern is None:  # a constant in the comparison
        threshold = int(unit.thresholds[0, 0]) & 0xFF
        pattern = rf">= \$signed\(8'h{threshold:02x}\)"
    (found,) = set(re.findall(pattern, rtl.verilog))
    digit = re.search(r"\w(?=\W*$)", found)
    changed = found[: digit.start()] + f"{int(digit[0], 16) ^ 1:x}" + found[digit.end() :]
    report = hwlut.check(unit, verilog=dataclasses.replace(rtl, verilog=rtl.verilog.replace(found, changed)))
    assert report.mismatches and report.fault is None, report
    assert set(report.first) == {"row", "output", "expected", "got"}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache of its own, for designs of changed code."""
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path))


def checked(unit, seeds=1, **form):
    rtl = generate(unit, **form)
    return [hwlut.check(unit, "pysim", verilog=rtl, seed=seed) for seed in range(seeds)]


def test_inputs_beyond_the_features_that_count_are_found(fresh, monkeypatch):
    from hwlut.hdl.lut_matmul import encoder

    monkeypatch.setattr(encoder, "_within", lambda m, array, inputs, place: list(inputs))
    # Of sums of distances all have the same share there.
    unit = random_unit(3, encoder="chebyshev", k=4, v=4, features=9, outputs=2)
    (report,) = checked(unit)
    assert report.mismatches and report.fault is None, report


def test_a_load_that_does_not_wait_is_found(fresh, monkeypatch):
    from hwlut.hdl.lut_matmul.load import Tables

    def never(tables, *rest):
        tables._m.d.comb += tables._load.ready.eq(1)

    monkeypatch.setattr(Tables, "wait", never)
    unit = random_unit(5, encoder="tree", k=2, v=1, features=2, outputs=6)
    reports = checked(unit, banks=1, tile=1, encoders=1, reloadable=True)
    assert any(report.mismatches for report in reports), reports
    assert set(reports[0].first) == {"row", "table", "output", "expected", "got"}


def test_an_accumulator_for_the_own_table_alone_is_found(fresh, monkeypatch):
    from hwlut.hdl.lut_matmul import component

    unit = random_unit(6, encoder="tree", k=2, v=1, features=4, outputs=2, bias=False).replace(
        table=np.ones((4, 2, 2), int)
    )
    monkeypatch.setattr(component, "loadable_sums", lambda unit: unit.accumulator)
    (report,) = checked(unit, reloadable=True)
    assert report.mismatches, report


def test_other_cycles_than_declared_are_a_fault():
    unit = random_unit(8, encoder="tree", k=2, v=1, features=2, outputs=2)
    rtl = generate(unit, banks=1, tile=1, reloadable=True)
    for change, fault in (
        ({"cycles": 3}, "a row is declared as 3 cycles, not 4"),
        ({"load_cycles": 9}, "a load is declared as 9 cycles, not 8"),
        ({"cycles_per_output": 3}, r"a run of 32 rows is declared as 133 cycles, not 132"),
    ):
        rows = rtl.description["rows"] | change
        wrong = dataclasses.replace(rtl, description=rtl.description | {"rows": rows})
        report = hwlut.check(unit, "pysim", verilog=wrong)
        assert not report.ok and not report.mismatches and report.fault == fault, report
    wrong = dataclasses.replace(rtl, description=rtl.description | {"latency": 7})
    assert hwlut.check(unit, "pysim", verilog=wrong).fault == "latency is declared as 7 cycles, not 5"


def loading(unit, tile=1):
    words = load_words(unit, tile)
    return [{"load": word.tolist(), "last": number == len(words) - 1} for number, word in enumerate(words)]


def run(script):
    """Results of a `SMALL` array that is driven cycle by cycle: codes `x`, a word to `load` and whether it is the
    `last`, a `reset`. An offer not taken in its cycle is an error of the script, but for those marked as `refused`.
    """
    top = generate(SMALL, banks=1, tile=1, reloadable=True).design()
    results = []

    async def bench(ctx):
        ctx.set(top.m_axis_tready, 1)
        ctx.set(top.rst, 1)
        await ctx.tick()
        for cycle in [*script, *[{}] * 12]:
            ctx.set(top.rst, cycle.get("reset", 0))
            ctx.set(top.s_axis_tvalid, "x" in cycle)
            ctx.set(top.s_axis_tdata, cycle.get("x", 0) & 0xFF)
            ctx.set(top.s_axis_load_tvalid, "load" in cycle)
            ctx.set(top.s_axis_load_tdata, cycle.get("load", [0])[0] & 0xFF)
            ctx.set(top.s_axis_load_tlast, cycle.get("last", 0))
            refused = cycle.get("refused", ())
            assert "x" not in cycle or ctx.get(top.s_axis_tready) == ("x" not in refused), cycle
            assert "load" not in cycle or ctx.get(top.s_axis_load_tready) == ("load" not in refused), cycle
            if ctx.get(top.m_axis_tvalid) and not cycle.get("reset", 0):
                value = ctx.get(top.m_axis_tdata) & 0xFFF
                results.append(value - (1 << 12) if value >> 11 else value)
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


# Two codebooks of a threshold at 0, one output: a row of inputs is two beats, a load four.
SMALL = LutMatmul(
    encoder="tree",
    features=2,
    v=1,
    thresholds=[[0], [0]],
    dimensions=[[0], [0]],
    table=[[[1], [2]], [[10], [20]]],
    bias=[500],
)
OTHER = SMALL.replace(table=[[[3], [4]], [[-30], [-40]]])
ROW = [{"x": -1}, {"x": 0}]  # 500 + 1 + 20, of the other 500 + 3 - 40


def test_no_row_is_accepted_before_a_load():
    waits = [cycle | {"x": -1, "refused": ("x",)} for cycle in loading(SMALL)]
    assert run([{"x": -1, "refused": ("x",)}, *waits, *ROW]) == [521]


def test_a_row_has_the_table_of_its_first_beat():
    first, second = ROW
    *words, last = loading(OTHER)
    # The first beat comes in the very cycle of the last word: still the old table, also for the second beat.
    script = [*loading(SMALL), *words, last | first, second, first, second]
    assert run(script) == [521, 463]
    # A cycle later it is the new one.
    assert run([*loading(SMALL), *words, last, *ROW]) == [463]


def test_a_load_waits_for_rows_of_the_table_before():
    row = [cycle | {"load": [0], "refused": ("load",)} for cycle in ROW]
    script = [*loading(SMALL), *loading(OTHER)[:-1], loading(OTHER)[-1] | ROW[0], ROW[1] | row[1]]
    # The last code is accepted in cycle n, a comparison, the FIFO; the bank is read in n + 2.
    script += [{"load": [0], "refused": ("load",)}] * 2 + [{"load": [0]}, *ROW]
    assert run(script) == [521, 463]


@pytest.mark.parametrize("change", [-1, 1, 4])
def test_a_load_of_another_length_changes_nothing(change):
    words = [*loading(OTHER), *loading(OTHER)][: 4 + change]
    wrong = [cycle | {"last": number == len(words) - 1} for number, cycle in enumerate(words)]
    assert run([*loading(SMALL), *wrong, *ROW, *loading(OTHER), *ROW]) == [521, 463]
    refused = {"x": -1, "refused": ("x",)}
    assert run([*wrong, refused, *loading(SMALL), *ROW]) == [521]


def test_reset_begins_a_new_row_and_leaves_no_table():
    script = [*loading(SMALL), ROW[1], {"reset": 1}, {"x": -1, "refused": ("x",)}, *loading(OTHER)[:2], {"reset": 1}]
    assert run([*script, *loading(OTHER), *ROW]) == [463]


def test_ports():
    rtl = generate(UNIT, banks=2, tile=2, encoders=1, reloadable=True)
    ports = {port["name"]: port for port in rtl.description["ports"]}
    assert [field["name"] for field in ports["s_axis_tdata"]["fields"]] == ["x0", "x1", "x2"]
    assert ports["m_axis_tdata"]["fields"][1] == {"name": "y1", "lsb": 8, "bits": 8, "signed": True, "frac": None}
    assert [field["name"] for field in ports["s_axis_load_tdata"]["fields"]] == ["e0", "e1"]
    assert "s_axis_tlast" not in ports and ports["s_axis_load_tlast"]["width"] == 1
    small = random_unit(3, encoder="l1", k=4, v=4, features=9, outputs=2, table_bits=4)
    ports = {port["name"]: port for port in generate(small, reloadable=True).description["ports"]}
    assert [(f["lsb"], f["bits"]) for f in ports["s_axis_load_tdata"]["fields"]] == [(0, 4), (8, 4)]


def test_no_memory_that_is_written_has_contents():
    text = generate(UNIT, banks=2, reloadable=True).verilog
    assert "thresholds_0_1[0] = " in text and "bank0[0] = " not in text and "held[0] = " not in text
    assert "bank0[0] = " in generate(UNIT, banks=2).verilog


def test_the_same_bytes_each_time(tmp_path, monkeypatch):
    texts = set()
    for number in range(2):
        monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / str(number)))
        texts.add(generate(UNIT, banks=2, tile=2, reloadable=True).verilog)
    (text,) = texts
    assert "// rows of 5 beats in and 3 out, 9 cycles each\n" in text


WIDE = {"encoder": "l1", "v": 1, "bias": False}
REFUSED = {
    "banks": (UNIT, {"banks": 6}, ValueError, "LutMatmul banks must be from 1 to 5, not 6"),
    "kind of banks": (UNIT, {"banks": True}, TypeError, "LutMatmul banks must be an integer, not True"),
    "tile": (UNIT, {"tile": 0}, ValueError, "LutMatmul tile must be from 1 to 5, not 0"),
    "encoders": (UNIT, {"banks": 4, "encoders": 3}, ValueError, "LutMatmul encoders must divide the banks, 4, not 3"),
    "stages": (UNIT, {"stages": 2}, ValueError, "LutMatmul stages must not be given, not 2"),
    "scale": (UNIT, {"scale": 0}, ValueError, "LutMatmul scale must not be given, not 0"),
    "lanes": (UNIT, {"lanes": 2}, ValueError, "LutMatmul lanes must not be given, not 2"),
    "reloadable": (UNIT, {"reloadable": 1}, TypeError, "LutMatmul reloadable must be true or false, not 1"),
    "wide input": (
        random_unit(1, k=2, features=3 * 4096 - 5, outputs=1, **WIDE | {"v": 4096}),
        {"banks": 3, "encoders": 3},
        ValueError,
        "LutMatmul inputs of a beat must be at most 8192, not 12288",
    ),
    "wide output": (
        random_unit(1, k=2, features=1, outputs=2049, **WIDE),
        {"tile": 2049},
        ValueError,
        "LutMatmul tile must be at most 2048 in hardware, not 2049",
    ),
    "large": (
        random_unit(1, k=256, features=64, outputs=129, **WIDE),
        {"tile": 1},
        ValueError,
        r"LutMatmul memories must hold at most 2\^24 bits in hardware, not 16908288",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    unit, form, kind, message = REFUSED[case]
    with pytest.raises(kind, match=f"^{message}$"):
        generate(unit, **form)


def test_what_cannot_hold_every_table_is_not_reloadable():
    ones = {"encoder": "tree", "features": 2, "v": 1, "thresholds": [[0], [0]], "dimensions": [[0], [0]]}
    after = hwlut.Requantize(input=Fixed(8), multipliers=(1,), shifts=(0,), output=Fixed(8))
    unit = LutMatmul(**ones, table=np.ones((2, 2, 1), int), requantize=after)
    assert generate(unit).description["latency"] > 0
    message = "LutMatmul requantize input must hold the sums of any table, s9, in a reloadable component, not s8"
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate(unit, reloadable=True)
    unit = LutMatmul(**ones, table=np.ones((2, 2, 1), int), bias=[(1 << 31) - 9])
    message = "LutMatmul sums of any table must fit 32 bits in a reloadable component, not 33"
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate(unit, reloadable=True)


DESCRIBED = {
    "keys": (lambda content: content["rows"].pop("inputs"), "rows must be an object of inputs, outputs, cycles, "),
    "cycles": (lambda content: content["rows"].update(cycles=0), "rows cycles must be an integer from 1 to 1048576, "),
    "load": (
        lambda content: content["rows"].update(load_cycles=None),
        "rows load_cycles must be given with s_axis_load",
    ),
    "sum": (lambda content: content.update(sum={}), "sum must be given only with s_axis_tlast"),
    "short": (lambda content: content["rows"].update(inputs=1), "s_axis must have 13 numbers a row, not 3"),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_descriptions_that_do_not_describe(case, tmp_path):
    verilog, path = generate(UNIT, banks=2, tile=2, encoders=1, reloadable=True).save(tmp_path)
    content = json.loads(path.read_text())
    edit, message = DESCRIBED[case]
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_description(path)
        hwlut.check(UNIT, verilog=verilog)


def test_files_of_another_form_are_kept(tmp_path):
    generate(UNIT, banks=2, tile=2).save(tmp_path)
    generate(UNIT, banks=2, tile=2).save(tmp_path)
    with pytest.raises(ValueError, match="has rows .*, not .*; --force overwrites it$"):
        generate(UNIT, banks=2, tile=1).save(tmp_path)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    from hwlut.cli import main

    monkeypatch.chdir(tmp_path)
    UNIT.save("t.json")
    form = ["--banks", "2", "--tile", "2", "--encoders", "1", "--reloadable"]
    assert main(["gen-rtl", "t.json", *form]) == 0
    assert "cycles_per_row   9\nload_cycles      60\n" in capsys.readouterr().out
    assert main(["sim", "t.json", "--engine", "pysim", *form, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["latency"], found["cycles_per_row"], found["load_cycles"]) == (12, 9, 60)
    assert main(["info", "t.json"]) == 0
    assert "requantize       input s32, multipliers " in capsys.readouterr().out
    for command in (["eval"], ["plot"], ["synth", "--compare"], ["sim", "--engine", "pysim", "--banks", "9"]):
        assert main([command[0], "t.json", *command[1:]]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "hwlut: accuracy needs a Pwl or Direct table, not LutMatmul 'lut_tree'",
        "hwlut: accuracy needs a Pwl or Direct table, not LutMatmul 'lut_tree'",
        "hwlut: compare needs a Pwl, Direct or Multiplier table, not LutMatmul 'lut_tree'",
        "hwlut: LutMatmul banks must be from 1 to 5, not 9",
    ]


def test_synthesis(need):
    need("yosys", "g++", "verilator")
    from hwlut.verify.synthesis import synthesize

    unit = random_unit(40, encoder="tree", k=2, v=1, features=3, outputs=1)
    found = synthesize(unit, target="ice40", verilog=generate(unit, banks=2, tile=1, reloadable=True))
    assert found.ok and found.recheck.cycles_per_row == 2 and found.netlist.luts, found


@pytest.mark.parametrize("encoder", ["l2", "tree"])
def test_kernels_are_compared_with_the_definition(encoder, need, monkeypatch):
    need("g++")
    unit = random_unit(3, encoder=encoder, k=16, v=4, features=30, outputs=7, requantize="channels")
    report = hwlut.check(unit, engine="cpu")
    assert report.ok and report.tool == "kernel" and report.vectors > 100
    wrong = unit.replace(bias=unit.bias + np.int32(1 << 20))
    matmul = hwlut.ops.lut_matmul
    monkeypatch.setattr("hwlut.ops.lut_matmul", lambda codes, _: matmul(codes, wrong))
    assert not hwlut.check(unit, engine="cpu").ok


def test_the_vectors_reach_the_ends_of_the_sums():
    unit = random_unit(50, encoder="l2", k=16, v=4, features=32, outputs=3)
    rows = row_stimulus(unit, 200, 0).inputs["x"]
    sums = unit(torch.from_numpy(rows))
    bias = unit.bias.astype(int)
    low, high = unit.table.min(1).astype(int).sum(0) + bias, unit.table.max(1).astype(int).sum(0) + bias
    assert (sums.min(0).values.numpy() == low).all() and (sums.max(0).values.numpy() == high).all()
    assert {tuple(row) for row in rows.tolist()} >= {(-128,) * 32, (127,) * 32, (unit.zero_point,) * 32}


def test_the_vectors_reach_the_ends_of_a_trees_sums():
    # Each level compares an input of its own, so every leaf can be reached.
    unit = random_unit(51, encoder="tree", k=8, v=3, features=12, outputs=2)
    unit = unit.replace(dimensions=[[2, 0, 1]] * 4, thresholds=np.maximum(unit.thresholds, -127))
    sums = unit(torch.from_numpy(row_stimulus(unit, 200, 0).inputs["x"]))
    bias = unit.bias.astype(int)
    low, high = unit.table.min(1).astype(int).sum(0) + bias, unit.table.max(1).astype(int).sum(0) + bias
    assert (sums.min(0).values.numpy() == low).all() and (sums.max(0).values.numpy() == high).all()


def test_the_vectors_hold_ties():
    unit = random_unit(52, encoder="l1", k=8, v=2, features=8, outputs=1)
    x = row_stimulus(unit, 400, 0).inputs["x"].reshape(-1, 4, 2)
    distances = np.abs(x[:, :, None] - unit.prototypes.astype(int)).sum(-1)
    least = distances.min(-1, keepdims=True)
    assert ((distances == least).sum(-1) > 1).sum() > 40 and (least == 0).sum() > 100
    unit = random_unit(53, encoder="tree", k=4, v=2, features=8, outputs=1)
    x = row_stimulus(unit, 400, 0).inputs["x"].reshape(-1, 4, 2)
    for codebook in range(4):
        inputs = x[:, codebook, unit.dimensions[codebook, 0]]
        threshold = int(unit.thresholds[codebook, 0])
        assert (inputs == threshold).sum() > 40 and (inputs == threshold - 1).sum() > 40
