"""Range-reduced functions against numpy's, over every input code."""

import numpy as np
import pytest
import torch

from hwlut import Fixed, check
from hwlut.program import FUNCTIONS, range_reduced

EXACT = {
    "exp": np.exp,
    "reciprocal": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
    "log2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
}
# Largest error with 8 segments, int8 slopes and int16 intercepts: of the result, or absolute.
RELATIVE = {"exp": 1.25e-3, "reciprocal": 1.6e-3, "rsqrt": 2.2e-3, "sqrt": 1.2e-3}
ABSOLUTE = {"log2": 1.3e-3, "sin": 2.4e-3, "cos": 2.4e-3}

INPUTS = [Fixed(16, 0, False), Fixed(16, 11), Fixed(13, 20), Fixed(5, 2, False)]


def results(program):
    """Every input's real value, and the result's."""
    codes = torch.arange(program.input.min, program.input.max + 1)
    x = np.ldexp(codes.double().numpy(), -program.input.frac)
    return x, np.ldexp(program(codes).double().numpy(), -program.output.frac)


def ends(format):
    return np.ldexp(float(format.min), -format.frac), np.ldexp(float(format.max), -format.frac)


def test_every_function_has_a_bound():
    assert set(FUNCTIONS) == set(EXACT) == {*RELATIVE, *ABSOLUTE}


@pytest.mark.parametrize("input", INPUTS, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_error_over_the_whole_input(name, input):
    for output in (None, Fixed(18, 6), Fixed(24, 16, False))[: 1 if input.bits == 16 else 3]:
        program = range_reduced(name, input=input, output=output)
        assert program.function == name and program.name == f"{name}_reduced_8"
        x, y = results(program)
        inside = x > 0 if name in ("rsqrt", "sqrt", "log2") else x != 0
        with np.errstate(over="ignore"):
            exact = EXACT[name](x[inside])
        allowed = RELATIVE[name] * np.abs(exact) if name in RELATIVE else ABSOLUTE[name]
        held = np.clip(exact, *ends(program.output))
        # Half a step of the output's rounding, and what the core's 16 fraction bits add to it.
        error = np.abs(y[inside] - held) - 0.51 * 2.0**-program.output.frac
        assert (error <= allowed)[np.isfinite(exact)].all()


def test_targets_over_all_16_bits():
    for input in (Fixed(16, 0, False), Fixed(16, 15)):
        for name, most in (("reciprocal", 2e-3), ("rsqrt", 3.5e-3)):
            x, y = results(range_reduced(name, input=input))
            exact = EXACT[name](x[x > 0])
            assert np.max(np.abs(y[x > 0] / exact - 1)) <= most


def test_more_segments_are_better():
    input = Fixed(12, 0, False)
    errors = []
    for segments in (4, 8, 16):
        x, y = results(range_reduced("reciprocal", input=input, segments=segments))
        errors.append(np.max(np.abs(y[1:] * x[1:] - 1)))
    assert errors[0] > 2.5 * errors[1] > 2.5 * errors[2] and errors[2] < 1e-3


def test_signs_and_zero():
    signed = Fixed(8, 3)

    def at(name, *codes):
        program = range_reduced(name, input=signed)
        return program(torch.tensor(codes)).tolist(), program.output

    (at_zero, up, down), output = at("reciprocal", 0, 24, -24)
    assert at_zero == output.max and up == -down > 0
    (at_zero, below), output = at("rsqrt", 0, -1)
    assert at_zero == below == output.max
    (at_zero, below, lowest), output = at("log2", 0, -1, -128)
    assert at_zero == below == lowest == output.min
    (at_zero, below), _ = at("sqrt", 0, -128)
    assert at_zero == below == 0


def test_saturation():
    narrow = Fixed(8, 4, False)
    codes = torch.tensor([-128, 0, 127])
    assert range_reduced("exp", input=Fixed(8, 3), output=narrow)(codes).tolist() == [0, 16, 255]
    assert range_reduced("sin", input=Fixed(8, 4), output=Fixed(4, 3))(torch.tensor([25, -25])).tolist() == [7, -8]


def test_default_outputs():
    assert range_reduced("reciprocal", input=Fixed(16, 0, False)).output == Fixed(32, 31, False)
    assert range_reduced("reciprocal", input=Fixed(16, 8)).output == Fixed(32, 22, True)
    assert range_reduced("sqrt", input=Fixed(16, 0, False)).output == Fixed(23, 15, False)
    assert range_reduced("cos", input=Fixed(16, 8)).output == Fixed(18, 16, True)


@pytest.mark.parametrize("name", ["reciprocal", "rsqrt", "exp", "cos"])
def test_verilog_on_every_code_of_16_bits(name):
    report = check(range_reduced(name, input=Fixed(16, 11)), "verilator")
    assert report.ok and report.vectors == 65536 and report.exhaustive, report


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            {"function": "gelu"},
            ValueError,
            "range reduction must be of one of exp, reciprocal, rsqrt, sqrt, log2, sin, cos, not 'gelu'",
        ),
        ({"input": Fixed(17, 0)}, ValueError, "range reduction input bits must be from 4 to 16, not 17"),
        ({"input": Fixed(3, 0)}, ValueError, "range reduction input bits must be from 4 to 16, not 3"),
        ({"output": Fixed(33, 0)}, ValueError, "range reduction output bits must be from 2 to 32, not 33"),
        (
            {"input": Fixed(8)},
            TypeError,
            "range reduction input must be a Fixed with a frac, not Fixed(bits=8, frac=None, signed=True)",
        ),
        ({"output": 8}, TypeError, "range reduction output must be a Fixed with a frac, not 8"),
        (
            {"output": Fixed(8, 62)},
            ValueError,
            "sin from s8.4 to s8.62 cannot be range-reduced: "
            "Program node 'size_raised' must stay within 62 bits, not 64",
        ),
        (
            {"segments": 0},
            ValueError,
            "sin from s8.4 to s17.16 cannot be range-reduced: fit segments must be from 1 to 256, not 0",
        ),
    ],
    ids=range(8),
)
def test_what_cannot_be_reduced(arguments, error, text):
    with pytest.raises(error) as caught:
        range_reduced(**{"function": "sin", "input": Fixed(8, 4), **arguments})
    assert str(caught.value) == text
