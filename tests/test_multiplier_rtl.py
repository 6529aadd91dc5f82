"""Hardware of multipliers: every family and parameter on small operands, streams, plain ports, refusals, mutations."""

import itertools
import json
import re

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

import hwlut
from hwlut import Fixed, Multiplier
from hwlut.cli import main
from hwlut.hdl import Rtl, component, generate, read_description
from hwlut.hdl.axi import AxiTop
from hwlut.hdl.emit import describe, text_of
from hwlut.hdl.multiplier import PLACES, product
from hwlut.hdl.stream import shape_of
from hwlut.units.families import RULES, Family
from hwlut.verify.stimulus import stimulus

SHAPES = [(2, 2), (2, 3), (3, 2), (4, 2), (2, 4), (4, 4)]
"""Widths whose products are all simulated, for every sign and parameter."""


def units(family, widths):
    """Every multiplier of the family that these widths allow."""
    rule = RULES[family]
    for signs in itertools.product((False, True), repeat=2):
        a, b = (Fixed(bits, signed=signed) for bits, signed in zip(widths, signs))
        for values in itertools.product(*(range(least, most + 1) for least, most in rule.ranges(*widths))):
            try:
                yield Multiplier(family=family, a=a, b=b, **dict(zip(rule.parameters, values)))
            except ValueError:
                continue  # no such widths or signs


def simulated(unit, codes_a=None, codes_b=None):
    """Products by the hardware, of all codes or of those given."""
    m = Module()
    a, b = Signal(shape_of(unit.a)), Signal(shape_of(unit.b))
    p = product(m, unit, a, b)
    found = []

    async def bench(ctx):
        for x in range(unit.a.min, unit.a.max + 1) if codes_a is None else codes_a:
            ctx.set(a, x)
            row = []
            for y in range(unit.b.min, unit.b.max + 1) if codes_b is None else codes_b:
                ctx.set(b, y)
                row.append(ctx.get(p))
            found.append(row)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert p.shape() == shape_of(unit.product)
    return found


@pytest.mark.parametrize("family", [family.value for family in RULES])
def test_every_small_product(family):
    count = 0
    for widths in SHAPES:
        for unit in units(Family(family), widths):
            assert simulated(unit) == unit.products().tolist(), unit
            count += 1
    assert count >= 2, "nothing was compared"


WIDE = {
    "u3 x s5 exact": {"family": "exact", "a": Fixed(3, signed=False), "b": Fixed(5)},
    "u8 x s4 drum": {"family": "drum", "a": Fixed(8, signed=False), "b": Fixed(4), "k": 3},
    "s8 x u8 mitchell": {"family": "mitchell", "a": Fixed(8), "b": Fixed(8, signed=False)},
    "s16 broken array": {"family": "broken_array", "bits": 16, "signed": True, "h": 3, "v": 9},
    "s16 booth": {"family": "booth_truncated", "bits": 16, "signed": True, "columns": 11},
    "u16 roba": {"family": "roba", "bits": 16},
    "u16 x s5 ssm": {"family": "ssm", "a": Fixed(16, signed=False), "b": Fixed(5), "m": 8},
    "u16 x u2 loa": {"family": "loa", "a": Fixed(16, signed=False), "b": Fixed(2, signed=False), "low": 12},
    "s12 or columns": {"family": "or_columns", "bits": 12, "signed": True, "columns": 9},
    "s16 kulkarni": {"family": "kulkarni", "bits": 16, "signed": True},
}


@pytest.mark.parametrize("case", WIDE)
def test_ends_and_samples_of_wide_products(case):
    import torch

    unit = Multiplier(**WIDE[case])
    rng = np.random.default_rng(0)

    def codes(format):
        ends = [format.min, format.min + 1, 0, 1, 3, format.max - 1, format.max]
        return [*ends, *rng.integers(format.min, format.max, 8, endpoint=True).tolist()]

    a, b = codes(unit.a), codes(unit.b)
    assert simulated(unit, a, b) == unit(torch.tensor(a)[:, None], torch.tensor(b)).tolist()


def test_tables_of_any_shape_and_sign():
    rng = np.random.default_rng(1)
    for widths, signs in itertools.product([(2, 2), (3, 4), (5, 2)], itertools.product((False, True), repeat=2)):
        a, b = (Fixed(bits, signed=signed) for bits, signed in zip(widths, signs))
        entries = rng.integers(-40 if any(signs) else 0, 90, (1 << a.bits, 1 << b.bits))
        assert simulated(Multiplier(family="table", a=a, b=b, products=entries)) == entries.tolist()


def test_netlists_keep_their_gates():
    rng = np.random.default_rng(2)
    gates = [[truth, *rng.integers(0, 7 + number, 2)] for number, truth in enumerate([*range(16), *range(16)])]
    unit = Multiplier(family="netlist", a=Fixed(3), b=Fixed(2), gates=gates, outputs=[0, 38, 37, 36, 1, 3, 20, 35])
    for form in ({"stages": 3}, {"combinational": True}):
        rtl = generate(unit, **form)
        wires = set(re.findall(r"wire (node_\d+);", rtl.verilog))
        assert wires == {f"node_{number}" for number in range(7, 39)}
    assert simulated(unit) == unit.products().tolist()
    wires_alone = Multiplier(family="netlist", bits=2, outputs=[2, 0, 1, 5])
    assert simulated(wires_alone) == wires_alone.products().tolist()


SMALL = {
    "exact": {"family": "exact"},
    "by magnitude": {"family": "mitchell", "a": Fixed(3), "b": Fixed(4, signed=False)},
    "drum": {"family": "drum", "a": Fixed(5), "b": Fixed(4), "k": 3},
    "booth": {"family": "booth_truncated", "bits": 4, "signed": True, "columns": 3},
    "loa": {"family": "loa", "bits": 4, "low": 3},
    "table": {"family": "table", "bits": 3, "products": np.arange(64).reshape(8, 8)},
    "netlist": {"family": "netlist", "bits": 2, "gates": [[8, 2, 4], [6, 3, 6], [9, 6, 7]], "outputs": [6, 7, 8]},
}


def small(case):
    return Multiplier(**({"bits": 4} if case == "exact" else {}), **SMALL[case])


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("case", SMALL)
def test_streams(case, stages):
    unit = small(case)
    report = hwlut.check(unit, "pysim", verilog=generate(unit, stages=stages))
    assert report.ok and report.exhaustive and (report.vectors, report.latency) == (unit.pairs, stages), report


@pytest.mark.parametrize("case", SMALL)
def test_plain_ports(case):
    unit = small(case)
    rtl = generate(unit, combinational=True)
    ports = [(port["name"], port["dir"], port["width"]) for port in rtl.description["ports"]]
    widths = unit.a.bits, unit.b.bits, unit.product.bits
    assert ports == list(zip("abp", ("input", "input", "output"), widths))
    assert (rtl.description["reset"], rtl.description["latency"]) == (None, 0) and "clk" not in rtl.verilog
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and (report.vectors, report.latency) == (unit.pairs, 0), report


@pytest.mark.parametrize("form", [{}, {"combinational": True}], ids=["stream", "plain"])
def test_the_verilog_itself(form):
    unit = Multiplier(name="mixed", family="mitchell", a=Fixed(3), b=Fixed(4, signed=False))
    rtl = generate(unit, **form)
    assert hwlut.check(unit, "verilator", verilog=rtl).ok
    mutated = re.sub(r"(_place = 2'h)1", r"\g<1>2", rtl.verilog, count=1)
    assert mutated != rtl.verilog
    report = hwlut.check(unit, "verilator", verilog=Rtl(mutated, rtl.description))
    assert not report.ok and report.mismatches > 0 and {"a", "b"} <= set(report.first)


def test_cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")
    unit = Multiplier(name="two", family="kulkarni", bits=2)
    assert hwlut.check(unit, "cocotb", verilog=generate(unit, combinational=True)).ok


def test_software_against_the_definition():
    unit = Multiplier(family="roba", a=Fixed(6), b=Fixed(5, signed=False))
    report = hwlut.check(unit, "cpu")
    assert report.ok and report.vectors == 1 << 11


def test_no_kernel_is_no_agreement():
    unit = Multiplier(family="mitchell", bits=16)  # no factors, and no table
    with pytest.raises(hwlut.ToolError, match="^cpu kernel: none for multiplier, so torch would be compared with"):
        hwlut.check(unit, "cpu")


def test_a_sample_of_wide_pairs():
    unit = Multiplier(family="exact", a=Fixed(16), b=Fixed(10, signed=False))
    vectors = stimulus(unit, None, 3)
    a, b = vectors.inputs["a"], vectors.inputs["b"]
    # About p powers of two are 3 p - 3 codes (1 + 1 and 4 - 1 come twice, 0 is one of them); then the ends.
    special = 2 * (3 * 15 - 4) + 1 + 3, 3 * 10 - 3 + 1
    assert vectors.scope == (
        f"all pairs of {special[0]} codes of a with {special[1]} of b: powers of two, their neighbours and the ends of "
        "the range; and at random (seed 3) 1048576 pairs and 4 blocks of all pairs of 256 codes with 256"
    )
    assert not vectors.exhaustive and len(a) == special[0] * special[1] + (1 << 20) + 4 * (1 << 16)
    assert {-32768, -32767, -1, 0, 1, 2, 3, 16383, 32767} <= set(a.tolist())
    assert {0, 511, 512, 513, 1023} <= set(b.tolist())
    # One code of a in 2,048 gives a wrong product: whichever it is, it is sent.
    assert len(np.unique(a % 2048)) == 2048 and len(np.unique(a)) > 65000
    assert (vectors.results("reference") == a * b).all()
    assert stimulus(Multiplier(family="exact", bits=12), None, 0).exhaustive


def test_wide_pairs_by_a_kernel():
    unit = Multiplier(family="exact", bits=13)
    vectors = stimulus(unit, None, 0)
    assert (vectors.results("cpu") == vectors.inputs["a"] * vectors.inputs["b"]).all()


def test_registers_stand_where_they_are_asked_for():
    for family in RULES:
        signed = family is Family.BOOTH_TRUNCATED
        rule = RULES[family]
        values = [most for _, most in rule.ranges(8, 8)]
        unit = Multiplier(family=family, bits=8, signed=signed, **dict(zip(rule.parameters, values)))
        called = []

        def register(place, /, **wires):
            called.append(place)  # noqa: B023
            return tuple(wires.values())

        product(Module(), unit, Signal(shape_of(unit.a)), Signal(shape_of(unit.b)), register)
        assert tuple(called) == PLACES, family


def test_the_same_bytes():
    unit = Multiplier(family="or_columns", bits=4, columns=3)
    tops = [AxiTop(component(unit), "rst") for _ in range(2)]
    texts = [text_of(top, describe("multiplier", unit, top)) for top in tops]
    assert texts[0] == texts[1] == generate(unit).verilog


REFUSED = {
    "scale": ({"scale": 1}, "Multiplier scale must not be given, not 1"),
    "stages": ({"stages": 4}, "Multiplier stages must be from 1 to 3, not 4"),
    "stages of none": ({"stages": 1, "combinational": True}, "Multiplier stages must not be given with combinational"),
    "sums of none": ({"terms": 4, "combinational": True}, "Multiplier terms must not be given with combinational"),
    "reset": (
        {"reset": "aresetn", "combinational": True},
        "reset must not be given with combinational, not 'aresetn'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate(Multiplier(family="exact", bits=3), **options)


def test_refuses_large_tables_names_of_ports_and_other_kinds():
    large = Multiplier(family="table", bits=9, products=np.zeros((512, 512), np.int64))
    with pytest.raises(ValueError, match=r"^Multiplier products must be at most 2\^16 in hardware, not 2\^18$"):
        generate(large)
    with pytest.raises(ValueError, match="^Multiplier name must not be that of a port, not 'p'$"):
        generate(Multiplier(name="p", family="exact", bits=3), combinational=True)
    gelu = hwlut.load("pretrained/gelu_8.json")
    with pytest.raises(ValueError, match="^Pwl combinational must not be given, not True$"):
        generate(gelu, combinational=True)


def change(content, path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


PLAIN = {
    "latency": (["latency"], 1, "latency must be an integer from 0 to 0, not 1"),
    "reset": (["reset"], "rst", "latency must be an integer from 1 to 1048576, not 0"),
    "width": (["ports", 0, "width"], 4, "a must be one field of its name and width where there is no reset"),
    "twice": (["ports", 1, "name"], "a", "ports must be inputs and outputs of different names"),
    "one way": (["ports", 2, "dir"], "input", "ports must be inputs and outputs of different names"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_descriptions_of_plain_ports(tmp_path, case):
    path, value, message = PLAIN[case]
    _, description = generate(Multiplier(family="exact", bits=3), combinational=True).save(tmp_path)
    content = read_description(description)
    change(content, path, value)
    description.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{description}: {message}$"):
        read_description(description)


def test_the_verilog_of_16_bits():
    unit = Multiplier(name="wide", family="truncate_operands", bits=16, signed=True, a_drop=3, b_drop=4)
    report = hwlut.check(unit)
    assert report.ok and report.vectors > 1 << 20 and not report.exhaustive, report


OTHERS = {
    "signed": (["ports", 0, "fields", 0, "signed"], True, "ports must be {}, not input a s3, input b u3, output p u6"),
    "cycles": (["cycles_per_beat"], 2, "cycles_per_beat must be 1, not 2"),
    "order": (["ports", 0, "name"], "c", "ports must be {}, not input c u3, input b u3, output p u6"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_plain_design_of_other_ports(tmp_path, case):
    path, value, message = OTHERS[case]
    unit = Multiplier(family="exact", bits=3)
    verilog, description = generate(unit, combinational=True).save(tmp_path)
    content = read_description(description)
    change(content, path, value)
    if path[-1] == "name":
        content["ports"][0]["fields"][0]["name"] = value
    description.write_text(json.dumps(content))
    with pytest.raises(ValueError) as refusal:
        hwlut.check(unit, verilog=verilog)
    assert str(refusal.value) == f"{description}: {message.format('input a u3, input b u3, output p u6')}"


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Multiplier(name="three", family="roba", bits=3).save("three.json")
    assert main(["gen-rtl", "three.json", "--combinational", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rtl"]["latency"] == 0
    assert main(["sim", "three.json", "--combinational", "--engine", "pysim"]) == 0
    assert main(["sim", "three.json", "--verilog", "three.v", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["vectors"] == 64
    (tmp_path / "three.rtl.json").unlink()
    assert main(["sim", "three.json", "--verilog", "three.v"]) == 2
    refusal = "hwlut: Verilog of three does not have the ports of its description: no "
    assert capsys.readouterr().err.startswith(refusal)
