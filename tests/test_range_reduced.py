"""Range-reduced functions against numpy's, over every input code."""

import json
import re

import numpy as np
import pytest
import torch

import hwlut
from hwlut import Fixed, check
from hwlut.accuracy import accuracy
from hwlut.cli import main
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
RELATIVE = {"exp": 0.8e-3, "reciprocal": 1.5e-3, "rsqrt": 2.1e-3, "sqrt": 0.8e-3}
ABSOLUTE = {"log2": 1e-3, "sin": 1.8e-3, "cos": 1.8e-3}

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
    assert range_reduced("exp", input=Fixed(13, 20)).output == Fixed(17, 16, False)


def test_exp_keeps_16_fraction_bits_and_saturates():
    program = range_reduced("exp", input=Fixed(16, 8))
    assert program.output == Fixed(32, 16, False)
    x, y = results(program)
    # 2^16 = exp(11.09): 2839 / 2^8 is below, 2840 / 2^8 above.
    assert (y[x >= 2840 / 2**8] == (2**32 - 1) / 2**16).all() and y[x == 2838 / 2**8] < 2**16 * 0.999
    within = np.abs(x) <= 4
    assert np.max(np.abs(y / np.exp(x) - 1)[within]) < 1.5e-3


def test_exp_by_default_in_simulation():
    report = check(range_reduced("exp", input=Fixed(6, 1)), "pysim")
    assert report.ok and report.exhaustive, report


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


def run(capsys, *arguments):
    """Standard output of a command that succeeds."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_commands(tmp_path, capsys):
    path = tmp_path / "r.json"
    options = ("--input-format", "u10.4", "--output-format", "u20.8", "--segments", "4", "--name", "inverse")
    told = json.loads(run(capsys, "reduce", "reci", *options, "-o", path, "--json"))
    program = hwlut.load(path)
    assert program == range_reduced(
        "reciprocal", input=Fixed(10, 4, False), output=Fixed(20, 8, False), segments=4, name="inverse"
    )
    assert told == {
        "table": str(path),
        "name": "inverse",
        "function": "reciprocal",
        "digest": program.digest,
        "input": "u10.4",
        "output": "u20.8",
    }
    info = run(capsys, "info", path)
    assert re.search(r"^zero +equal +\w+, plus_0 +u1 ", info, re.M) and re.search(
        r"^mantissa +bits +\w+ +u10 ", info, re.M
    )
    shown = json.loads(run(capsys, "eval", path, "--json"))
    # Every code but 0, where the function has no value.
    assert shown["domain"] == [None, None] and shown["scales"][0]["codes"] == 1023
    x, y = results(program)
    assert shown["mse"] == pytest.approx(np.mean((y[1:] - 1 / x[1:]) ** 2))
    run(capsys, "plot", path, "-o", tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_commands_refuse(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for arguments, text in (
        (("exp", "--input-format", "s16"), "input format must be such as s16.8 or u16.0, not 's16'"),
        (("exp", "--output-format", "x"), "output format must be such as s16.8 or u16.0, not 'x'"),
        (("exp", "--input-format", "s17.0"), "range reduction input bits must be from 4 to 16, not 17"),
    ):
        assert main(["reduce", *arguments]) == 2
        assert capsys.readouterr().err == f"hwlut: {text}\n"
    assert not list(tmp_path.iterdir())


def test_saturated_results_are_no_errors():
    program = range_reduced("exp", input=Fixed(12, 6), output=Fixed(12, 4, False))
    (row,) = accuracy(program)
    x, y = results(program)
    inside = np.exp(x) <= program.output.max / 2**4
    assert row.codes == inside.sum() < 4096
    assert row.max_error == np.max(np.abs(y - np.exp(x))[inside]) < 0.35
