"""The hardware of programs: every operation, every pipeline depth, every code."""

import dataclasses
import time

import pytest
from tables import random_pwl

from hwlut import Fixed, Multiplier, Program, Requantize, check
from hwlut.hdl import generate, program_nodes
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.ports import Port
from hwlut.units.products import MatrixProduct


def every_operation():
    """All operations with operands of both signs, and names that the pipeline's own signals have."""
    table = random_pwl(1, input_bits=7, scales=(2,), output=Fixed(9, 1))
    offset = -table.input.min
    return Program.of(
        name="every_operation",
        input=Fixed(7, 3),
        nodes=(
            Constant("five", 5),
            Constant("minus_nine", -9),
            Constant("two", 2),
            Subtract("move", "q", "five"),
            Less("valid_0", "move", "minus_nine"),
            Equal("beat", "q", "five"),
            ShiftLeft("clk", "move", "two"),
            Bits("rst", "clk", 2, 3),
            ShiftLeft("skid_full", "move", "rst"),
            Clamp("self", "q", 0, 40),
            LeadingOne("power", "self"),
            ShiftRight("half_up", "skid_full", "power", "half_up"),
            ShiftRight("half_even", "skid_full", "power", "half_even"),
            ShiftRight("down", "skid_full", "power", "floor"),
            ShiftRight("halved", "move", "two", "half_even"),
            Subtract("three", "five", "two"),
            Constant("offset", 64 - offset),
            Add("table_code", "q", "offset"),
            Apply("looked_up", "table_code", table),
            Select("either", "valid_0", "half_up", "half_even"),
            Add("sum_0", "either", "down"),
            Select("other", "beat", "looked_up", "sum_0"),
            Add("sum_1", "other", "looked_up"),
            Add("sum_2", "sum_1", "halved"),
            Add("y", "sum_2", "three"),
        ),
        output=Fixed(17, 0),
    )


def ends_in_a_unit():
    half = Requantize(input=Fixed(8), multipliers=(3,), shifts=(2,), output=Fixed(8))
    return Program.of(
        name="ends_in_a_unit",
        input=Fixed(7, 0),
        nodes=(Constant("one", 1), Add("more", "q", "one"), Apply("y", "more", half)),
        output=Fixed(8, 0),
    )


def a_program_inside():
    inner = ends_in_a_unit()
    return Program.of(
        name="a_program_inside",
        input=Fixed(7, 0),
        nodes=(Apply("nested", "q", inner), Add("sum", "nested", "q"), Less("y", "sum", "nested")),
        output=Fixed(1, 0, False),
    )


def wires_alone():
    return Program.of(name="wires_alone", input=Fixed(6, 0), nodes=(Bits("y", "q", 1, 4),), output=Fixed(4, 0, False))


def a_unit_of_a_constant():
    half = Requantize(input=Fixed(8), multipliers=(1,), shifts=(1,), output=Fixed(8))
    return Program.of(
        name="a_unit_of_a_constant",
        input=Fixed(6, 0),
        nodes=(Constant("n", 100), Apply("fifty", "n", half), Add("y", "q", "fifty")),
        output=Fixed(9, 0),
    )


PROGRAMS = (every_operation, ends_in_a_unit, a_program_inside, wires_alone, a_unit_of_a_constant)
each_program = pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)


@each_program
def test_shallowest_and_deepest_in_the_amaranth_simulator(make):
    program = make()
    latencies = [program.schedule(depth).latency for depth in (len(program.nodes), 1)]
    for latency in sorted(set(latencies)):
        report = check(program, "pysim", verilog=generate(program, stages=latency))
        assert report.ok and report.exhaustive and report.latency == latency, report


@each_program
def test_verilog(make):
    program = make()
    report = check(program, "verilator")
    assert report.ok and report.exhaustive and report.vectors == 1 << program.input.bits, report
    assert report.latency == program.cost().latency


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
def test_a_shift_by_all_bits(rounding):
    nodes = (Constant("three", 3), Bits("low", "q", 0, 3), ShiftRight("y", "low", "three", rounding))
    program = Program.of(name="shifted", input=Fixed(4, 0), nodes=nodes, output=Fixed(2, 0))
    report = check(program, "pysim")
    assert report.ok and report.exhaustive, report


def test_wide_leading_ones_are_emitted_at_once():
    nodes = (Constant("n", 28), ShiftLeft("wide", "q", "n"), LeadingOne("y", "wide"))
    program = Program.of(name="wide", input=Fixed(32, 0, signed=False), nodes=nodes, output=Fixed(6, 0, signed=False))
    start = time.perf_counter()
    report = check(program, "verilator")
    assert report.ok and time.perf_counter() - start < 60, report


def test_cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")
    report = check(every_operation(), "cocotb")
    assert report.ok and report.vectors == 128, report


def test_changed_verilog_is_found():
    program = ends_in_a_unit()
    rtl = generate(program)
    changed = rtl.verilog.replace("$signed(3'h3)", "$signed(3'h2)")
    assert changed != rtl.verilog
    assert not check(program, "verilator", verilog=dataclasses.replace(rtl, verilog=changed)).ok


def test_stages_that_no_depth_gives():
    program = every_operation()
    with pytest.raises(ValueError, match=r"^Program stages must be one of \d+(, \d+)*, not 1$"):
        generate(program, stages=1)
    with pytest.raises(TypeError, match="^Program stages must be an integer, not True$"):
        generate(program, stages=True)
    with pytest.raises(ValueError, match="^Program scale must be 3, not 2$"):
        generate(program, scale=2)


def several(bits=4):
    """Of codes a and b, and one that counts nothing in hardware but its shape: a product, halved, and a comparison."""
    half = Requantize(input=Fixed(2 * bits + 2), multipliers=(1,), shifts=(1,), output=Fixed(2 * bits))
    return Program(
        name="several",
        inputs=(Port("a", Fixed(bits)), Port("b", Fixed(bits + 1, signed=False), shape=(3,))),
        nodes=(Multiply("p", "a", "b"), Apply("y", "p", half), Less("z", "p", "b")),
        outputs=(Port("z", Fixed(1, signed=False)), Port("y", Fixed(2 * bits), step=(3, 5))),
    )


@pytest.mark.parametrize("engine", ["pysim", "verilator"])
def test_several_inputs_and_outputs(engine):
    report = check(several(), engine)
    assert report.ok and report.exhaustive and report.vectors == 1 << 9, report
    assert report.scope == "every combination of codes" and report.latency == 2  # those of the Requantize


def test_fields_are_the_ports_in_their_order():
    fields = [[field["name"] for field in port["fields"]] for port in generate(several()).description["ports"]]
    assert [names for names in fields if names] == [["a", "b"], ["z", "y"]]


def test_of_wide_inputs_a_sample():
    report = check(several(14), "verilator")
    assert report.ok and not report.exhaustive and report.vectors == (1 << 18) + 7 * 4, report
    assert report.scope == "edges and a sample (seed 0) of the combinations of codes"


@pytest.mark.parametrize("values", ["all", ("p",)])
def test_the_first_wrong_value_is_named(values):
    assert check(several(), "pysim", values=values).ok
    compute = program_nodes._compute.registry[Multiply]
    program_nodes._compute.register(Multiply, lambda node, m, spans, a, b: compute(node, m, spans, a, b) ^ (b == 5))
    try:
        report = check(several(), "pysim", values=values)
    finally:
        program_nodes._compute.register(Multiply, compute)
    assert not report.ok and report.unit == "several" and report.digest == several().digest
    assert report.first == {"a": -8, "b": 5, "value": "p", "expected": -40, "got": -39}, report


_ANOTHER = "values must be given for hwlut's own design in its default form, without another one"


@pytest.mark.parametrize(
    ("error", "text", "options"),
    [
        (ValueError, "values must be those of several, not 'x'", {"values": ("p", "x")}),
        (TypeError, "values must be names or 'all', not 'p'", {"values": "p"}),
        (ValueError, _ANOTHER, {"values": "all", "verilog": generate(several())}),
        (ValueError, "engine cpu runs no Verilog: values must not be given", {"values": "all", "engine": "cpu"}),
        (ValueError, "engine cpu computes programs of one code and one result, not several", {"engine": "cpu"}),
    ],
)
def test_impossible_checks(error, text, options):
    with pytest.raises(error) as caught:
        check(several(), **options)
    assert str(caught.value) == text


def test_tensors_are_no_stream():
    product = Program(
        name="product",
        inputs=(Port("a", Fixed(4)), Port("b", Fixed(4))),
        nodes=(
            MatrixProduct(
                "y", "a", "b", multiplier=Multiplier(family="exact", bits=4, signed=True), a_zero=0, b_zero=0, most=5
            ),
        ),
        outputs=(Port("y", Fixed(10)),),
    )
    with pytest.raises(ValueError) as caught:
        generate(product)
    text = "Program 'product' cannot become one stream; its node 'y' (matrix_product) takes whole tensors"
    assert str(caught.value) == text
