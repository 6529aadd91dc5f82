"""Fits: certified by enumerating everything, against published optima, and by the unit itself."""

import itertools
import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

import hwlut
from hwlut import Fixed
from hwlut.functions import Function
from hwlut.units import Symmetry

PLAIN = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "hswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "exp": math.exp,
}
SEED_STORAGE = {"slope_frac": 6, "intercept_bits": 8, "intercept_frac": 6}


def codes_of(unit, scale, domain):
    every = range(unit.input.min, unit.input.max + 1)
    return [q for q in every if domain[0] <= q / 2**scale <= domain[1]]


def recomputed_mse(unit, plain, domain=(-math.inf, math.inf)):
    """Mean over scales of the torch unit's mean squared error over the codes of the domain."""
    errors = []
    for scale in unit.scales:
        codes = codes_of(unit, scale, domain)
        results = unit(torch.tensor(codes), scale=scale).tolist()
        point = unit.output_format(scale).frac
        errors.append(math.fsum((y / 2**point - plain(q / 2**scale)) ** 2 for q, y in zip(codes, results)) / len(codes))
    return math.fsum(errors) / len(errors)


def line_target(symmetry, y, x):
    """What the line at |x| must give so that the corrected result is y."""
    if x >= 0:
        return y
    return {"none": y, "identity": y - x, "odd": -y, "even": y, "complement": 1 - y}[symmetry]


def enumerated_mse(plain, segments, input, scales, domain, slope, intercept, breakpoint_frac, symmetry):
    """The least error over all breakpoints, slopes and intercepts, one by one."""
    rows = []
    for scale in scales:
        codes = [q for q in range(input.min, input.max + 1) if domain[0] <= q / 2**scale <= domain[1]]
        for q in codes:
            code = q if symmetry == "none" else abs(q)
            rows.append(
                (scale, code, line_target(symmetry, plain(q / 2**scale), q / 2**scale), 1 / len(codes) / len(scales))
            )
    lines = [
        (k / 2**slope.frac, b / 2**intercept.frac)
        for k in range(slope.min, slope.max + 1)
        for b in range(intercept.min, intercept.max + 1)
    ]
    known = {}

    def least(members):
        if members not in known:
            points = [(rows[i][1] / 2 ** rows[i][0], rows[i][2], rows[i][3]) for i in members]
            known[members] = min(sum(w * (k * x + b - y) ** 2 for x, y, w in points) for k, b in lines)
        return known[members]

    unit = 2**breakpoint_frac
    candidates = range(min(0, input.min) * unit, (-input.min if symmetry != "none" else input.max) * unit + unit + 1)
    left_of = []
    for c in candidates:
        cuts = {scale: round(Fraction(c) * 2**scale / unit) for scale in scales}  # half to even
        left_of.append(frozenset(i for i, row in enumerate(rows) if row[1] < cuts[row[0]]))
    left_of = sorted(set(left_of), key=len)
    everything = frozenset(range(len(rows)))
    best = math.inf
    for path in itertools.combinations_with_replacement(left_of, segments - 1):
        edges = (frozenset(), *path, everything)
        best = min(best, sum(least(b - a) for a, b in zip(edges, edges[1:])))
    return best


ENUMERATED = [
    # plain, segments, input, scales, domain, slope, intercept, breakpoint_frac, symmetry
    (PLAIN["gelu"], 3, Fixed(3), (0, 1), (-9, 9), Fixed(3, 1), Fixed(4, 2), 1, "none"),
    (PLAIN["gelu"], 3, Fixed(3), (0, 2), (-9, 9), Fixed(4, 2), Fixed(4, 3), 2, "none"),
    (PLAIN["gelu"], 3, Fixed(3), (0, 1), (-9, 9), Fixed(3, 1), Fixed(4, 3), 3, "none"),
    (PLAIN["gelu"], 2, Fixed(3), (1,), (-9, 9), Fixed(3, 1), Fixed(4, 3), 1, "identity"),
    (PLAIN["exp"], 3, Fixed(3), (0, 1), (-9, 9), Fixed(3, 1), Fixed(3, 0), 1, "none"),  # beyond both formats
    (PLAIN["exp"], 2, Fixed(4), (0, 1), (0.5, 2.5), Fixed(3, 0), Fixed(4, 3), 2, "none"),  # intercepts beyond
    (PLAIN["exp"], 3, Fixed(3), (1,), (-9, 9), Fixed(2, 1), Fixed(4, 2), 1, "none"),  # slopes beyond
    (PLAIN["tanh"], 2, Fixed(4), (0, 1), (-9, 9), Fixed(4, 3), Fixed(4, 3), 1, "odd"),
    (PLAIN["exp"], 2, Fixed(4), (0, 1), (-2, 2), Fixed(4, 1), Fixed(4, 1), 1, "odd"),  # which exp is not
    (PLAIN["sigmoid"], 2, Fixed(4), (0, 1), (-3, 4), Fixed(4, 3), Fixed(4, 3), 1, "complement"),
    (lambda x: x * x, 3, Fixed(4), (1,), (-9, 9), Fixed(4, 1), Fixed(5, 1), 1, "even"),
    (lambda x: math.sin(3 * x), 4, Fixed(3, signed=False), (0, 1), (-9, 9), Fixed(4, 1), Fixed(4, 2), 1, "none"),
    (lambda x: math.sin(9 * x), 5, Fixed(3), (0, 1), (-9, 9), Fixed(3, 1), Fixed(4, 1), 1, "none"),
    (PLAIN["hswish"], 5, Fixed(2), (0,), (-9, 9), Fixed(3, 1), Fixed(4, 2), 0, "none"),  # more lines than codes
    (PLAIN["gelu"], 1, Fixed(4), (0, 1), (-9, 9), Fixed(4, 2), Fixed(5, 2), 1, "none"),
]


@pytest.mark.parametrize("case", ENUMERATED, ids=map(str, range(len(ENUMERATED))))
def test_nothing_beats_the_optimal_fit(case):
    plain, segments, input, scales, domain, slope, intercept, breakpoint_frac, symmetry = case
    unit = hwlut.fit(
        Function("target", lambda x: np.vectorize(plain, otypes=[float])(x)),
        segments,
        input=input,
        scales=scales,
        domain=domain,
        slope_bits=slope.bits,
        slope_frac=slope.frac,
        intercept_bits=intercept.bits,
        intercept_frac=intercept.frac,
        breakpoint_frac=breakpoint_frac,
        symmetry=symmetry,
    )
    assert unit.meta["certified"]
    assert recomputed_mse(unit, plain, domain) == pytest.approx(enumerated_mse(*case), rel=1e-9, abs=1e-15)


def dense_mse(plain, segments, scales, slope, intercept):
    """The least error of a 7-bit table by a programme over all spans and all slopes, without any pruning."""
    codes = np.arange(-64, 64)
    thresholds, columns = [], []
    for scale in scales:
        d = scales[-1] - scale
        candidates = np.arange(-65 << d, 66 << d)
        cuts = np.rint(np.ldexp(candidates, -d)).astype(int)  # half to even
        thresholds.append(candidates[np.searchsorted(cuts, codes + 1)])
        x = codes / 2**scale
        columns.append((x, [plain(value) for value in x]))
    order = np.argsort(np.concatenate(thresholds), kind="stable")
    x, y = (np.concatenate(part)[order] for part in zip(*columns))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(np.concatenate(thresholds)[order])) + 1, [len(x)]])
    least = np.full((len(starts), len(starts)), np.inf)
    np.fill_diagonal(least, 0)
    k = np.arange(slope.min, slope.max + 1)[:, None] / 2**slope.frac
    for i, j in itertools.combinations(range(len(starts)), 2):
        if starts[j] - starts[i] > 3 * len(x) / segments and i and j < len(starts) - 1:
            continue  # a span of three times the mean length that is no tail
        there = slice(starts[i], starts[j])
        residual = y[there] - k * x[there]
        b = np.clip(np.rint(residual.mean(axis=1) * 2**intercept.frac), intercept.min, intercept.max)
        least[i, j] = ((residual - b[:, None] / 2**intercept.frac) ** 2).sum(axis=1).min()
    reach = least[0]
    for _ in range(segments - 1):
        reach = (reach[:, None] + least).min(axis=0)
    return reach[-1] / len(x)


@pytest.mark.parametrize("name", ["gelu", "tanh"])
def test_dropping_spans_loses_nothing(name):
    slope, intercept, scales = Fixed(6, 4), Fixed(10, 8), (0, 2)
    options = {"slope_bits": 6, "slope_frac": 4, "intercept_bits": 10, "intercept_frac": 8}
    unit = hwlut.fit(name, 5, input=Fixed(7), scales=scales, **options)
    assert recomputed_mse(unit, PLAIN[name]) == pytest.approx(dense_mse(PLAIN[name], 5, scales, slope, intercept))


# Optima measured by an independent evaluator: int8 slopes and intercepts (1/64), and int16 intercepts over all codes.
@pytest.mark.parametrize(
    "name, segments, domain, options, published",
    [
        ("gelu", 8, (-4, 4), SEED_STORAGE, 3.24e-5),
        ("gelu", 16, (-4, 4), SEED_STORAGE, 5.15e-6),
        ("hswish", 8, (-4, 4), SEED_STORAGE, 1.11e-4),
        ("hswish", 16, (-4, 4), SEED_STORAGE, 1.22e-5),
        ("silu", 8, (-4, 4), SEED_STORAGE, 3.60e-5),
        ("exp", 8, (-8, 0), SEED_STORAGE, 1.65e-5),
        ("gelu", 8, None, {}, 1.26e-5),
        ("gelu", 16, None, {}, 1.30e-6),
        ("hswish", 8, None, {}, 5.26e-5),
        ("hswish", 16, None, {}, 2.88e-6),
        ("silu", 8, None, {}, 5.10e-5),
        ("silu", 16, None, {}, 4.07e-6),
    ],
)
def test_optima_as_published(name, segments, domain, options, published):
    unit = hwlut.fit(name, segments, domain=domain, **options)
    error = recomputed_mse(unit, PLAIN[name], domain or (-math.inf, math.inf))
    assert error == pytest.approx(published, rel=0.005)
    assert unit.meta["mse"] == float(f"{error:.6g}")
    assert unit.meta["certified"]


@pytest.mark.parametrize("name", ["hswish", "exp"])
def test_auto_is_as_good_as_every_explicit_choice(name):
    options = {"input": Fixed(6), "scales": (0, 3), "slope_bits": 5, "intercept_bits": 7}
    auto = hwlut.fit(name, 4, **options)
    explicit = {
        (f, g): hwlut.fit(name, 4, slope_frac=f, intercept_frac=g, **options).meta["mse"]
        for f in range(9)
        for g in range(11)
    }
    assert auto.meta["mse"] == min(explicit.values())
    smallest = min(fracs for fracs, error in explicit.items() if error == auto.meta["mse"])
    assert (auto.slope.frac, auto.intercept.frac) == smallest


def test_auto_keeps_what_is_given():
    unit = hwlut.fit("gelu", 4, slope_frac=5)
    assert unit.slope.frac == 5
    assert hwlut.fit("gelu", 4, intercept_frac=9).intercept.frac == 9


@pytest.mark.parametrize(
    "name, symmetry", [("gelu", "identity"), ("tanh", "odd"), ("sigmoid", "complement"), ("exp", "none")]
)
def test_auto_symmetry(name, symmetry):
    unit = hwlut.fit(name, 8, symmetry="auto")
    assert unit.symmetry is Symmetry(symmetry)
    domain = (-math.inf, 0) if name == "exp" else (-math.inf, math.inf)
    assert unit.meta["mse"] == float(f"{recomputed_mse(unit, PLAIN[name], domain):.6g}")
    if symmetry != "none":
        assert unit.meta["mse"] < hwlut.fit(name, 8).meta["mse"] / 3


def test_the_objective_stays_on_the_accumulator_when_the_output_is_rounded():
    rounded = hwlut.fit("gelu", 8, output=Fixed(8, None), rounding="half_even")
    exact = hwlut.fit("gelu", 8)
    assert rounded.replace(output=None, rounding=exact.rounding) == exact
    assert rounded.meta == exact.meta
    assert rounded.output == Fixed(8, None)


def test_spare_segments_are_dead_and_alike():
    unit = hwlut.fit(Function("double", lambda x: 2 * x), 5)
    assert len(set(unit.breakpoints)) == 1
    assert len(set(zip(unit.slopes, unit.intercepts))) == 1
    assert unit.meta["mse"] == 0


def test_breakpoints_are_the_roundest_of_their_kind():
    unit = hwlut.fit("hswish", 4, scales=(0,), breakpoint_frac=6)
    assert all(p % 64 == 0 for p in unit.breakpoints)


def test_a_search_that_would_take_too_long_is_near_and_not_certified(monkeypatch):
    options = {"input": Fixed(9), "slope_frac": 6, "intercept_frac": 14}
    best = hwlut.fit("silu", 8, **options)
    monkeypatch.setattr(sys.modules["hwlut.fit.optimal"], "_MANY", 1 << 16)
    near = hwlut.fit("silu", 8, **options)
    assert (best.meta["certified"], near.meta["certified"]) == (True, False)
    assert best.meta["mse"] <= near.meta["mse"] < 1.1 * best.meta["mse"]


def test_wide_inputs():
    unit = hwlut.fit("tanh", 8, input=Fixed(16), scales=(12,), slope_bits=12, intercept_bits=16)
    assert unit.meta["mse"] == pytest.approx(recomputed_mse(unit, PLAIN["tanh"]), rel=1e-5)
    narrow = hwlut.fit("tanh", 8, scales=(4,), slope_bits=12, intercept_bits=16)
    assert unit.meta["mse"] == pytest.approx(narrow.meta["mse"], rel=0.05)


def test_name_meta_and_bytes():
    unit = hwlut.fit("swish", 4, seed=7)
    assert (unit.name, unit.function, unit.scales) == ("silu_4", "silu", tuple(range(7)))
    assert unit.meta | {"mse": 0} == {
        "method": "optimal",
        "seed": 7,
        "hwlut": hwlut.__version__,
        "domain": [-128.0, 127.0],
        "mse": 0,
        "certified": True,
    }
    assert json.loads(unit.dumps())["meta"] == unit.meta
    assert hwlut.fit("swish", 4, seed=7).dumps() == unit.dumps()
    assert hwlut.fit("exp", 4, scales=(2, 5), name="mine").meta["domain"] == [-32.0, 0.0]


def test_the_module_is_called():
    assert hwlut.fit("gelu", 4) == hwlut.fit.fit("gelu", 4)


def test_no_torch_is_loaded():
    code = "import sys, hwlut; hwlut.fit('gelu'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (ValueError, "function must be one of cos, elu, .*, not 'cosh'", {"function": "cosh"}),
        (ValueError, "fit method must be one of optimal, genetic, not 'magic'", {"method": "magic"}),
        (ValueError, "fit segments must be from 1 to 256, not 0", {"segments": 0}),
        (ValueError, "fit segments must be from 1 to 256, not 257", {"segments": 257}),
        (TypeError, "fit segments must be an integer, not 8.0", {"segments": 8.0}),
        (TypeError, "fit segments must be an integer, not True", {"segments": True}),
        (TypeError, "fit input must be a Fixed, not 8", {"input": 8}),
        (ValueError, "fit input bits must be from 2 to 16, not 17", {"input": Fixed(17)}),
        (ValueError, "fit input bits must be from 2 to 16, not 1", {"input": Fixed(1)}),
        (TypeError, "fit scales must be a sequence of integers, not 5", {"scales": 5}),
        (TypeError, "fit scales must be an integer, not 'a'", {"scales": "ab"}),
        (ValueError, r"fit scales must be ascending and at least one, not \(3, 2\)", {"scales": (3, 2)}),
        (ValueError, r"fit scales must be ascending and at least one, not \(\)", {"scales": ()}),
        (ValueError, "fit scales must be from 0 to 32, not -1", {"scales": (-1, 0)}),
        (ValueError, "fit scales must not exceed breakpoint_frac 5, not 6", {"breakpoint_frac": 5}),
        (ValueError, r"fit domain must be from a lower to a higher number, not \(4.0, -4.0\)", {"domain": (4, -4)}),
        (ValueError, r"fit domain must be from a lower .*, not \(nan, 4.0\)", {"domain": (math.nan, 4)}),
        (TypeError, r"fit domain must be two numbers, not \(1, 2, 3\)", {"domain": (1, 2, 3)}),
        (TypeError, "fit domain must be two numbers, not 'ab'", {"domain": "ab"}),
        (ValueError, r"fit domain must hold an input code at some scale, not \(200.0, 300.0\)", {"domain": (200, 300)}),
        (ValueError, "fit slope_bits must be from 2 to 16, not 32", {"slope_bits": 32}),
        (TypeError, "fit slope_frac must be an integer, not 'best'", {"slope_frac": "best"}),
        (ValueError, "fit intercept_frac must be from 0 to 40, not -1", {"intercept_frac": -1}),
        (ValueError, "fit symmetry must be one of auto, none, .*, not 'mirror'", {"symmetry": "mirror"}),
        (
            ValueError,
            "fit symmetry 'identity' needs a signed input",
            {"symmetry": "auto", "input": Fixed(8, signed=False)},
        ),
        (ValueError, "Pwl rounding must be one of half_up, half_even, floor, not 'up'", {"rounding": "up"}),
        (ValueError, "Pwl name must not be a Verilog keyword, not 'wire'", {"name": "wire"}),
        (
            ValueError,
            "fit log must be finite in the domain, not -inf at 0.0",
            {"function": Function("log", np.log), "domain": (0, 4)},
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        hwlut.fit(**{"function": "gelu", **arguments})
