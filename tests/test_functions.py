"""Target functions against torch in float64 and values known by hand."""

import math

import numpy as np
import pytest
import torch

from hwlut.functions import FUNCTIONS, function
from hwlut.units import Symmetry

F = torch.nn.functional
TORCH = {
    "gelu": F.gelu,
    "silu": F.silu,
    "hswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "exp": torch.exp,
}


def test_every_function_is_compared():
    assert set(TORCH) == set(FUNCTIONS)


@pytest.mark.parametrize("name", TORCH)
def test_against_torch(name):
    x = np.linspace(-20, 0 if name == "exp" else 20, 4001)
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
    x = np.linspace(0, 12, 1001)
    holds = {rule for rule, mirrored in RULES.items() if np.abs(target(-x) - mirrored(target(x), x)).max() < 1e-12}
    assert holds == ({target.symmetry} - {Symmetry.NONE})


def test_domains():
    assert {name: target.domain for name, target in FUNCTIONS.items() if target.domain != (-math.inf, math.inf)} == {
        "exp": (-math.inf, 0.0)
    }


@pytest.mark.parametrize("name", TORCH)
def test_far_out(name):
    far = np.array([40.0, 745.0, 1e4, 2.0**31, 1e300])
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        low = function(name)(-far)
        assert np.abs(low - (-1 if name == "tanh" else 0)).max() < 1e-14
        if name != "exp":
            high = function(name)(far)
            assert high.tolist() == (np.ones(5) if name in ("sigmoid", "tanh") else far).tolist()


def test_names():
    assert function("swish") is function("silu") is FUNCTIONS["silu"]
    assert all(FUNCTIONS[name].name == name for name in FUNCTIONS)
    for name, shown in (
        ("relu", "'relu'"),
        (None, "None"),
        (["gelu"], "['gelu']"),
        ("g" * 90, "'" + "g" * 59 + "..." + "g" * 16 + "'"),
    ):
        with pytest.raises(ValueError) as caught:
            function(name)
        assert str(caught.value) == (
            f"function must be one of exp, gelu, hswish, sigmoid, silu, softplus, swish, tanh, not {shown}"
        )
