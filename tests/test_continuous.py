"""Continuous tables meet exactly, are near the optimum, and are the function itself where it is such a table."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import hwlut
from hwlut import Fixed
from hwlut.functions import Function


def gaps(unit):
    """What is between neighbouring lines at their breakpoint, exactly."""
    lines = [
        (Fraction(k, 2**unit.slope.frac), Fraction(b, 2**unit.intercept.frac))
        for k, b in zip(unit.slopes, unit.intercepts)
    ]
    places = [Fraction(p, 2**unit.breakpoint_frac) for p in unit.breakpoints]
    return [
        (k - left_k) * x + b - left_b for x, (left_k, left_b), (k, b) in zip(places, lines, lines[1:], strict=False)
    ]


@pytest.mark.parametrize(
    "name, factor, options",
    [
        ("gelu", 1.3, {}),
        ("tanh", 1.2, {}),
        ("exp", 1.4, {}),
        ("gelu", 1.35, {"symmetry": "auto"}),
        ("gelu", 1.4, {"slope_digits": 2}),
        ("gelu", 1.3, {"slope_bits": 16}),
        ("gelu", 12, {"slope_frac": 6, "intercept_bits": 8, "intercept_frac": 6}),  # whole numbers as breakpoints
        ("gelu", 3, {"breakpoint_frac": 8, "intercept_frac": 10, "slope_frac": 6}),
    ],
    ids=map(str, range(8)),
)
def test_lines_meet_and_are_near_the_optimum(name, factor, options):
    unit = hwlut.fit(name, 8, continuous=True, **options)
    best = hwlut.fit(name, 8, **options)
    assert gaps(unit) == [0] * 7 and any(gaps(best))
    assert unit.meta["continuous"] and not unit.meta["certified"]
    assert best.meta["mse"] < unit.meta["mse"] < factor * best.meta["mse"]
    assert unit.meta["optimum_mse"] == best.meta["mse"]
    assert unit.meta["above_optimum"] == pytest.approx(unit.meta["mse"] / best.meta["mse"] - 1, rel=1e-3)


@pytest.mark.parametrize(
    "evaluate, lines, corners",
    [
        (np.abs, [(-1, 0), (1, 0)], [0]),
        (lambda x: np.clip(x / 4 + 0.5, 0, 1), [(0, 0), (0.25, 0.5), (0, 1)], [-2, 2]),
        (lambda x: np.maximum(x, -0.125 * x) + np.minimum(x - 3, 0), [(0.875, -3), (2, -3), (1, 0)], [0, 3]),
    ],
    ids=["abs", "clip", "bent"],
)
def test_a_polyline_is_reproduced(evaluate, lines, corners):
    unit = hwlut.fit(Function("polyline", evaluate), len(lines), continuous=True)
    assert unit.meta["mse"] == 0 and unit.meta["certified"]
    assert [p / 2**unit.breakpoint_frac for p in unit.breakpoints] == corners
    step = 2.0**-unit.slope.frac, 2.0**-unit.intercept.frac
    assert [(k * step[0], b * step[1]) for k, b in zip(unit.slopes, unit.intercepts)] == lines


def test_no_two_joined_lines_are_better():
    """Against every breakpoint, pair of slopes and offset of a small format."""
    x = np.arange(-8, 8) / 4
    y = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    least = math.inf
    for p, k, j in itertools.product(range(-8, 8), range(-8, 8), range(-8, 8)):
        shape = np.where(x < p / 4, k / 4 * x, j / 4 * x + (k - j) * p / 16)
        b = np.arange(-32, 32)
        far = b + (k - j) * p  # the second intercept, which must fit as well
        errors = ((shape[:, None] + b / 16 - y[:, None]) ** 2).mean(axis=0)
        least = min(least, np.min(errors[(far >= -32) & (far < 32)], initial=math.inf))
    formats = {"slope_bits": 4, "slope_frac": 2, "intercept_bits": 6, "intercept_frac": 4}
    unit = hwlut.fit("gelu", 2, input=Fixed(4), scales=(2,), continuous=True, **formats)
    assert unit.meta["mse"] == pytest.approx(least, rel=1e-5)


def test_the_same_call_gives_the_same_bytes():
    first, second = (hwlut.fit("silu", 4, scales=(3, 5), continuous=True).dumps() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "error, message, options",
    [
        (TypeError, "fit continuous must be true or false, not 1", {"continuous": 1}),
        (ValueError, "fit continuous must go with objective 'mse', not 'max'", {"objective": "max"}),
        (ValueError, "fit continuous must go with method optimal, not genetic", {"method": "genetic"}),
        (ValueError, "fit continuous must have at most 64 segments, not 65", {"segments": 65}),
        (
            ValueError,
            "fit continuous must have intercept_frac at least slope_frac 6, not 5",
            {"slope_frac": 6, "intercept_frac": 5},
        ),
    ],
    ids=map(str, range(5)),
)
def test_what_cannot_be_continuous_is_refused(error, message, options):
    with pytest.raises(error, match=f"^{message}$"):
        hwlut.fit(**{"function": "gelu", "segments": 4, "continuous": True, **options})
