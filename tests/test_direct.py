"""Truth tables: by hand, against exact fractions, through every engine."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from tables import random_pwl

import hwlut
from hwlut import Direct, Fixed, Requantize
from hwlut.cli import main
from hwlut.functions import FUNCTIONS
from hwlut.hdl import generate
from hwlut.ops import table
from hwlut.share import share


def square(**changes):
    """q^2 of a signed code of 3 bits, at scale 1."""
    fields = {"input": Fixed(3, 1), "output": Fixed(5, 2, False), "values": (16, 9, 4, 1, 0, 1, 4, 9)}
    return Direct(**{**fields, **changes})


def shuffled(bits, output, signed=True, seed=0):
    """A table without any pattern."""
    rng = np.random.default_rng(seed)
    values = rng.integers(output.min, output.max, 1 << bits, endpoint=True).tolist()
    return Direct(input=Fixed(bits, 2, signed), output=output, values=values)


def test_by_hand():
    unit = square()
    assert unit(torch.tensor([[-4, -1], [0, 3]], dtype=torch.int8)).tolist() == [[16, 1], [0, 9]]
    assert unit(torch.tensor([2]), scale=1).dtype == torch.int32
    assert square(output=Fixed(32, 2, False))(torch.tensor([2])).dtype == torch.int64
    assert square(input=Fixed(3, 1, False))(torch.tensor([0, 7])).tolist() == [16, 9]
    assert (unit.scales, unit.input_format(1), unit.output_format(1)) == ((1,), Fixed(3, 1), Fixed(5, 2, False))
    cost = unit.cost()
    assert (cost.storage_bits, cost.multiplier_bits, cost.adder_bits, cost.latency) == (40, 0, 0, 1)


def test_file(tmp_path):
    unit = square(name="square", function="sq", meta={"by": "hand"})
    content = json.loads(unit.save(tmp_path / "square.json").read_text())
    assert content == {
        "schema": "hwlut.direct/1",
        "name": "square",
        "function": "sq",
        "input": {"bits": 3, "signed": True, "frac": 1},
        "output": {"bits": 5, "signed": False, "frac": 2},
        "values": [16, 9, 4, 1, 0, 1, 4, 9],
        "meta": {"by": "hand"},
    }
    assert hwlut.load(tmp_path / "square.json") == unit
    widest = shuffled(12, Fixed(63, 0))
    assert hwlut.load(widest.save(tmp_path / "widest.json")) == widest


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": Fixed(13, 1)}, ValueError, "Direct input bits must be from 1 to 12, not 13"),
        ({"output": Fixed(64, 2)}, ValueError, "Direct output bits must be from 1 to 63, not 64"),
        ({"values": (1, 2)}, ValueError, "Direct values must be 8, one a code, not 2"),
        ({"output": Fixed(4, 2, False)}, ValueError, "Direct values must be from 0 to 15, not 16"),
        ({"values": (1.0,) * 8}, TypeError, r"Direct values\[0\] must be an integer, not 1.0"),
        ({"input": Fixed(3)}, TypeError, "Direct input frac must be an integer, not None"),
    ],
    ids=["input", "output", "number", "range", "kind", "frac"],
)
def test_refuses(changes, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        square(**changes)


def test_refuses_codes_and_scales():
    unit = square()
    with pytest.raises(ValueError, match="^Direct codes must be from -4 to 3, not 4$"):
        unit(torch.tensor([0, 4]))
    for use in (lambda s: unit(torch.tensor([0]), scale=s), lambda s: generate(unit, scale=s), unit.at_scale):
        with pytest.raises(ValueError, match="^Direct scale must be 1, not 2$"):
            use(2)
    with pytest.raises(TypeError, match="^Direct scale must be an integer, not 'a'$"):
        unit.chosen_scale("a")
    with pytest.raises(ValueError, match="^Direct stages must be from 1 to 2, not 3$"):
        generate(unit, stages=3)


ROUND = {
    "half_up": lambda real: math.floor(real + Fraction(1, 2)),
    "half_even": round,
    "floor": math.floor,
}


@pytest.mark.parametrize("rounding", ROUND)
def test_sample_against_fractions(rounding):
    unit = Direct.sample(lambda x: x * x / 8 - 1, input=Fixed(6, 2), output=Fixed(4, 2), rounding=rounding)
    for q, got in zip(range(-32, 32), unit.values):
        exact = (Fraction(q, 4) ** 2 / 8 - 1) * 4
        assert got == min(max(ROUND[rounding](exact), -8), 7), q
    assert (unit.name, unit.function, unit.meta["rounding"]) == ("direct", None, rounding)


def test_sample_saturates_and_refuses():
    unit = Direct.sample(FUNCTIONS["exp"], input=Fixed(8, 0), output=Fixed(8, 7, False))
    assert (unit.name, unit.function) == ("exp_direct", "exp")
    assert unit(torch.tensor([-128, -1, 0, 1, 127])).tolist() == [0, 47, 128, 255, 255]  # 128 / e is 47.09
    assert Direct.sample(lambda x: 1 / x, input=Fixed(2, 0), output=Fixed(3, 0)).values == (0, -1, 3, 1)  # -1/2 is up
    formats = {"input": Fixed(2, 0), "output": Fixed(3, 0)}
    for function, message in (
        (np.sqrt, "Direct function must be a number at every code, not nan at -2"),
        (np.sum, r"Direct function must give one value a code, not shape \(\)"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Direct.sample(function, **formats)
    with pytest.raises(TypeError, match="^Direct output must be a Fixed with a frac, not Fixed"):
        Direct.sample(np.abs, **{**formats, "output": Fixed(3)})
    with pytest.raises(ValueError, match="^Direct output bits must be from 1 to 53, not 54$"):
        Direct.sample(np.abs, **{**formats, "output": Fixed(54, 0)})


def test_of_any_unit():
    codes = torch.arange(-128, 128)
    gelu = hwlut.load(share("pretrained", "gelu_8.json"))
    unit = Direct.of(gelu, 5)
    assert torch.equal(unit(codes), gelu(codes, scale=5)) and unit.output == gelu.at_scale(5).output_format(5)
    assert (unit.name, unit.function, unit.meta, unit.scales) == ("gelu_8_direct", "gelu", gelu.meta, (5,))
    assert Direct.of(unit, name="gelu_8_direct") == unit
    for seed, symmetry in enumerate(("none", "odd", "complement")):
        pwl = random_pwl(seed, symmetry=symmetry, output=Fixed(4, None))
        inside = torch.arange(pwl.input.min, pwl.input.max + 1)
        assert torch.equal(Direct.of(pwl, 3)(inside), pwl(inside, scale=3))
    fields = {"input": Fixed(8), "multipliers": (3,), "shifts": (2,), "output": Fixed(8)}
    requantize = Requantize(**fields)
    assert torch.equal(Direct.of(requantize)(codes), requantize(codes))
    for other, scale, message in (
        (gelu, None, r"Pwl 'gelu_8' has scales \(0, 1, 2, 3, 4, 5, 6\): one must be given"),
        (requantize, 1, "Requantize scale must not be given, not 1"),
        (Requantize(**{**fields, "input": Fixed(13)}), None, "Direct needs a unit of at most 12 input bits, not 13"),
        (Requantize(**{**fields, "multipliers": (3, 3), "shifts": (1, 2)}), None, ".* one channel, not 2"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Direct.of(other, scale)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("stages", [1, 2])
def test_hardware(signed, stages):
    unit = shuffled(7, Fixed(11, 3), signed)
    report = hwlut.check(unit, "pysim", verilog=generate(unit, stages=stages))
    assert report.ok and report.exhaustive and (report.vectors, report.latency) == (128, stages), report


def test_verilog(need):
    need("g++", "verilator")
    unit = shuffled(10, Fixed(9, 3, False))
    report = hwlut.check(unit, "verilator", scale=2)
    assert report.ok and report.exhaustive and report.vectors == 1024, report
    rtl = generate(unit)
    entry = f"9'h{unit.values[512 + 77]:03x}"  # of code 77
    before, arm, after = rtl.verilog.partition("10'h04d:\n")
    assert arm and entry in after.split(";")[0]
    wrong = f"{before}{arm}{after.replace(entry, f'9{chr(39)}h{unit.values[512 + 77] ^ 4:03x}', 1)}"
    report = hwlut.check(unit, verilog=type(rtl)(wrong, rtl.description))
    assert not report.ok and report.mismatches == 2 and report.first["q"] == 77


def test_kernel():
    unit = shuffled(9, Fixed(6, 3))
    assert table(unit).dtype == torch.int8 and table(unit, 2).tolist() == list(unit.values)
    assert hwlut.check(unit, "cpu").ok


def test_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unit = Direct.sample(FUNCTIONS["tanh"], input=Fixed(10, 7), output=Fixed(8, 7), name="tanh_1024")
    unit.save("t.json")
    x = np.arange(-512, 512) / 128
    error = np.abs(np.clip(np.floor(np.tanh(x) * 128 + 0.5), -128, 127) / 128 - np.tanh(x))
    assert main(["eval", "t.json", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["scales"]
    assert (row["scale"], row["codes"]) == (7, 1024) and row["max_error"] == pytest.approx(error.max())
    assert main(["info", "t.json", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["scales"], content["cost"]["storage_bits"]) == ("Direct", [7], 8192)
    assert main(["plot", "t.json", "-o", "t.svg"]) == 0 and "<svg" in (tmp_path / "t.svg").read_text()
    assert main(["gen-rtl", "t.json", "--scale", "7"]) == 0
    assert json.loads((tmp_path / "tanh_1024.rtl.json").read_text())["latency"] == 1
