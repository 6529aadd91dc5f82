"""Target functions against torch in float64 and values known by hand."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import hwlut
from hwlut import functions
from hwlut.accuracy import accuracy
from hwlut.cli import main
from hwlut.functions import FUNCTIONS, Function, function, register
from hwlut.plot import figure
from hwlut.units import Symmetry

F = torch.nn.functional
TORCH = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "hsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "mish": F.mish,
    "elu": F.elu,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "log2": torch.log2,
    "sqrt": torch.sqrt,
    "reciprocal": torch.reciprocal,
    "rsqrt": torch.rsqrt,
    "sin": torch.sin,
    "cos": torch.cos,
}
POSITIVE = {"log2", "sqrt", "reciprocal", "rsqrt"}


def test_every_function_is_compared():
    assert set(TORCH) == set(FUNCTIONS)


@pytest.mark.parametrize("name", TORCH)
def test_against_torch(name):
    x = np.linspace(2**-7 if name in POSITIVE else -20, 0 if name in ("exp", "exp2") else 20, 4001)
    want = TORCH[name](torch.from_numpy(x)).numpy()
    got = function(name)(x)
    assert got.dtype == np.float64 and got.shape == x.shape
    assert np.abs(got - want).max() <= 1e-12


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [
        ("gelu", 0, 0),
        ("gelu", 1, 0.8413447460685429),  # the normal distribution below one deviation
        ("gelu", -2, -2 * 0.022750131948179195),
        ("silu", math.log(3), 0.75 * math.log(3)),
        ("silu", -math.log(3), -0.25 * math.log(3)),
        ("hswish", -3, 0),
        ("hswish", -1, -1 / 3),
        ("hswish", 1, 2 / 3),
        ("hswish", 3, 3),
        ("hswish", 5, 5),
        ("sigmoid", 0, 0.5),
        ("sigmoid", math.log(3), 0.75),
        ("sigmoid", -math.log(3), 0.25),
        ("tanh", math.log(2), 0.6),
        ("softplus", 0, math.log(2)),
        ("softplus", math.log(3), math.log(4)),
        ("exp", -math.log(2), 0.5),
        ("exp", 1, math.e),
        ("gelu_tanh", 1, 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))),
        ("hsigmoid", -4, 0),
        ("hsigmoid", 1, 2 / 3),
        ("hsigmoid", 4, 1),
        ("mish", math.log(math.sqrt(3) - 1), 0.5 * math.log(math.sqrt(3) - 1)),  # softplus is log(3) / 2, its tanh 1/2
        ("elu", -math.log(2), -0.5),
        ("elu", 2.5, 2.5),
        ("erf", 1, 0.8427007929497149),
        ("erf", -0.5, -0.5204998778130465),
        ("exp2", -3, 0.125),
        ("exp2", 0.5, math.sqrt(2)),
        ("log2", 0.125, -3),
        ("sqrt", 0, 0),
        ("sqrt", 6.25, 2.5),
        ("reciprocal", -8, -0.125),
        ("rsqrt", 0.25, 2),
        ("sin", math.pi / 6, 0.5),
        ("cos", math.pi / 3, 0.5),
    ],
)
def test_by_hand(name, x, want):
    assert function(name)(x) == pytest.approx(want, rel=1e-14, abs=1e-15)


RULES = {
    Symmetry.IDENTITY: lambda y, x: y - x,
    Symmetry.ODD: lambda y, x: -y,
    Symmetry.EVEN: lambda y, x: y,
    Symmetry.COMPLEMENT: lambda y, x: 1 - y,
}


@pytest.mark.parametrize("name", TORCH)
def test_symmetry_holds_and_is_claimed_where_it_does(name):
    target = function(name)
    x = np.linspace(1 / 64, 12, 1001)
    holds = {rule for rule, mirrored in RULES.items() if np.abs(target(-x) - mirrored(target(x), x)).max() < 1e-12}
    assert holds == ({target.symmetry} - {Symmetry.NONE})


def test_domains():
    unbounded = (-math.inf, math.inf)
    assert {name: target.domain for name, target in FUNCTIONS.items() if target.domain != unbounded} == {
        "exp": (-math.inf, 0),
        "exp2": (-math.inf, 0),
        "log2": (0.25, 4),
        "sqrt": (0, math.inf),
        "reciprocal": (0.5, 4),
        "rsqrt": (0.25, 4),
        "sin": (-math.pi, math.pi),
        "cos": (-math.pi, math.pi),
    }


def test_every_function_is_told():
    """docs/fitting.md has each function with its domain and its symmetry."""
    text = (Path(__file__).parent.parent / "docs" / "fitting.md").read_text()
    rows = re.findall(r"^\| `(\w+)`(?: \(`(\w+)`\))? \| .+ \| (.+) \| (\w+) \|$", text, re.MULTILINE)
    ends = {(-math.inf, 0.0): "x <= 0", (0.0, math.inf): "x >= 0", (-math.pi, math.pi): "-π to π"}
    ends |= {(-math.inf, math.inf): "all", (0.25, 4.0): "0.25 to 4", (0.5, 4.0): "0.5 to 4"}
    told = {name: (domain, symmetry) for name, _, domain, symmetry in rows}
    assert told == {name: (ends[target.domain], target.symmetry.value) for name, target in FUNCTIONS.items()}
    aliases = {alias: name for name, alias, _, _ in rows if alias}
    assert aliases == {"swish": "silu", "reci": "reciprocal", "sqrt_reci": "rsqrt"}


def test_help_tells_every_function(capsys):
    assert main(["fit", "--help"]) == 0
    assert set(NAMES.split(", ")) <= set(re.findall(r"\w+", capsys.readouterr().out))


FAR = np.array([40.0, 745.0, 1e4, 2.0**31, 1e300])
LOW = {"tanh": -np.ones(5), "erf": -np.ones(5), "elu": -np.ones(5), "exp2": 2.0**-FAR, "reciprocal": -1 / FAR}
HIGH = dict.fromkeys(["sigmoid", "hsigmoid", "tanh", "erf"], np.ones(5)) | {
    "exp": np.array([math.exp(40), math.inf, math.inf, math.inf, math.inf]),
    "exp2": np.array([2.0**40, 2.0**745, math.inf, math.inf, math.inf]),
    "log2": np.array([math.log2(x) for x in FAR]),
    "sqrt": np.array([math.sqrt(x) for x in FAR]),
    "reciprocal": 1 / FAR,
    "rsqrt": np.array([1 / math.sqrt(x) for x in FAR]),
    "sin": np.array([math.sin(x) for x in FAR]),
    "cos": np.array([math.cos(x) for x in FAR]),
}


@pytest.mark.parametrize("name", TORCH)
def test_far_out(name):
    """Warnings are errors, so nothing warns either."""
    np.testing.assert_allclose(function(name)(FAR), HIGH.get(name, FAR), rtol=1e-14)
    if name in ("log2", "sqrt", "rsqrt"):
        assert np.isnan(function(name)(-FAR)).all()
    elif name not in ("sin", "cos"):
        np.testing.assert_allclose(function(name)(-FAR), LOW.get(name, np.zeros(5)), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [
        ("gelu", -10, -10 * 7.619853024160527e-24),  # the normal distribution ten deviations below
        ("gelu_tanh", -10, -10 * math.exp(-2 * math.sqrt(2 / math.pi) * 54.715)),
        ("silu", -50, -50 * math.exp(-50)),
        ("mish", -50, -50 * math.exp(-50)),
        ("softplus", -50, math.exp(-50)),
        ("sigmoid", -50, math.exp(-50)),
        ("elu", -1e-12, -1e-12),
        ("exp2", -1000, 2.0**-1000),
    ],
)
def test_small_results_are_precise(name, x, want):
    assert function(name)(x) == pytest.approx(want, rel=1e-12, abs=0)


def test_poles():
    assert [function(name)(0.0) for name in ("log2", "reciprocal", "rsqrt")] == [-math.inf, math.inf, math.inf]


NAMES = (
    "cos, elu, erf, exp, exp2, gelu, gelu_tanh, hsigmoid, hswish, log2, mish, reci, reciprocal, rsqrt, sigmoid, silu, "
    "sin, softplus, sqrt, sqrt_reci, swish, tanh"
)


def test_names():
    assert function("swish") is function("silu") is FUNCTIONS["silu"]
    assert function("reci") is FUNCTIONS["reciprocal"] and function("sqrt_reci") is FUNCTIONS["rsqrt"]
    assert all(FUNCTIONS[name].name == name for name in FUNCTIONS)
    for name, shown in (
        ("relu", "'relu'"),
        (None, "None"),
        (["gelu"], "['gelu']"),
        ("g" * 90, "'" + "g" * 59 + "..." + "g" * 16 + "'"),
    ):
        with pytest.raises(ValueError) as caught:
            function(name)
        assert str(caught.value) == f"function must be one of {NAMES}, not {shown}"


def test_a_scale_without_codes_in_the_domain_counts_for_nothing():
    """No int8 code reaches 0.5 at scale 8, and all of them at scale 0 but 1 to 4 lie past the domain."""
    wide = hwlut.fit("reciprocal", 4, scales=(0, 5, 8))
    assert wide.meta["domain"] == [0.5, 4.0]
    assert wide.meta["mse"] == hwlut.fit("reciprocal", 4, scales=(0, 5), breakpoint_frac=8).meta["mse"]


# The user's own


@pytest.fixture
def softsign(monkeypatch):
    """A function that no table has, and room to register it."""
    monkeypatch.setattr(functions, "_registered", {})
    return Function("softsign", lambda x: x / (1 + np.abs(x)), symmetry=Symmetry.ODD)


def test_own_function(softsign, tmp_path, capsys):
    unit = hwlut.load(hwlut.fit(softsign, 8, scales=(3, 5)).save(tmp_path / "softsign_8.json"))
    codes = torch.arange(-128, 128)
    assert hwlut.check(unit, "cpu").ok
    message = f"function must be one of {NAMES}, not 'softsign'"
    with pytest.raises(ValueError) as caught:
        accuracy(unit)
    assert str(caught.value) == message
    for command in ("eval", "plot"):
        assert main([command, str(tmp_path / "softsign_8.json")]) == 2
        assert capsys.readouterr().err == f"hwlut: {message}\n"
    assert register(softsign) is softsign is function("softsign")
    for row in accuracy(unit):
        x = codes.double() / 2**row.scale
        result = unit(codes, scale=row.scale).double() / 2 ** unit.output_format(row.scale).frac
        assert row.mse == pytest.approx(float(((result - F.softsign(x)) ** 2).mean()), rel=1e-9)
    assert figure(unit).axes[0].get_legend().get_texts()[0].get_text() == "softsign, exact"
    assert main(["eval", str(tmp_path / "softsign_8.json")]) == 0
    assert "softsign_8 against softsign on all codes" in capsys.readouterr().out


def test_names_of_own_functions(softsign):
    register(softsign)
    assert register(softsign) is softsign
    other = Function("softsign", np.tanh)
    for name in ("gelu", "swish", "softsign"):
        with pytest.raises(ValueError) as caught:
            register(Function(name, np.tanh))
        assert str(caught.value) == f"function name must be new, not {name!r}"
    assert function("softsign") is softsign is not other
    with pytest.raises(ValueError) as caught:
        register(Function("soft sign", np.tanh))
    assert str(caught.value) == "function name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not 'soft sign'"
    with pytest.raises(TypeError) as caught:
        register(np.tanh)
    assert str(caught.value) == "function must be a Function, not <ufunc 'tanh'>"
    with pytest.raises(ValueError) as caught:
        function("tan")
    assert "softplus, softsign, sqrt" in str(caught.value)
