"""The hardware of programs: every operation, every pipeline depth, every code."""

import dataclasses

import pytest
from tables import random_pwl

from hwlut import Fixed, Program, Requantize, check
from hwlut.hdl import generate
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)


def every_operation():
    """All operations with operands of both signs, and names that the pipeline's own signals have."""
    table = random_pwl(1, input_bits=7, scales=(2,), output=Fixed(9, 1))
    offset = -table.input.min
    return Program(
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
    return Program(
        name="ends_in_a_unit",
        input=Fixed(7, 0),
        nodes=(Constant("one", 1), Add("more", "q", "one"), Apply("y", "more", half)),
        output=Fixed(8, 0),
    )


def a_program_inside():
    inner = ends_in_a_unit()
    return Program(
        name="a_program_inside",
        input=Fixed(7, 0),
        nodes=(Apply("nested", "q", inner), Add("sum", "nested", "q"), Less("y", "sum", "nested")),
        output=Fixed(1, 0, False),
    )


def wires_alone():
    return Program(name="wires_alone", input=Fixed(6, 0), nodes=(Bits("y", "q", 1, 4),), output=Fixed(4, 0, False))


def a_unit_of_a_constant():
    half = Requantize(input=Fixed(8), multipliers=(1,), shifts=(1,), output=Fixed(8))
    return Program(
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
