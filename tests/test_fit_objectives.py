"""Fits for other ends than the plain mean squared error, against enumeration of every table."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import hwlut
from hwlut import Fixed
from hwlut.fit import Activations, Genetic
from hwlut.fixed import canonical_digits
from hwlut.functions import Function


def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def wave(x):
    return math.sin(3 * x)


def fewest_digits(value):
    """Least number of terms +-2^k with sum `value`, by search."""
    reached, terms = {0}, 0
    steps = [sign * 2**k for sign in (1, -1) for k in range(9)]
    while value not in reached:
        reached = {a + b for a in reached for b in steps}
        terms += 1
    return terms


def test_signed_digits_are_the_fewest():
    for value in range(-128, 129):
        assert len(canonical_digits(value)) == fewest_digits(value)


def rounded(value, rule):
    if rule == "half_even":
        return round(value)
    return math.floor(value + (Fraction(1, 2) if rule == "half_up" else 0))


def best_by_enumeration(
    plain,
    segments,
    input,
    scales,
    slope,
    intercept,
    objective,
    output=None,
    rule="half_up",
    digits=None,
    weigh=None,
    symmetry="none",
):
    """The least objective over all breakpoints at the finest scale, and all lines."""
    rows = []
    for s in scales:
        codes = range(input.min, input.max + 1)
        weights = weigh(s) if weigh else [1 / len(codes)] * len(codes)
        rows += [(s, q, Fraction(q, 2**s), w / len(scales)) for q, w in zip(codes, weights)]
    slopes = [k for k in range(slope.min, slope.max + 1) if digits is None or fewest_digits(k) <= digits]
    lines = [
        (Fraction(k, 2**slope.frac), Fraction(b, 2**intercept.frac))
        for k in slopes
        for b in range(intercept.min, intercept.max + 1)
    ]

    def cost(row, line):
        s, q, x, weight = row
        want = plain(float(x))
        if objective != "code":
            at = abs(x) if symmetry != "none" else x
            if symmetry == "odd" and x < 0:
                want = -want
            error = float(line[0] * at + line[1]) - want
            return abs(error) if objective == "max" else weight * error**2
        value = line[0] * abs(x) + line[1] if symmetry == "odd" else line[0] * x + line[1]
        if symmetry == "odd" and x < 0:
            value = -value
        frac = s if output.frac is None else output.frac
        got, wanted = (min(max(rounded(v * 2**frac, rule), output.min), output.max) for v in (value, Fraction(want)))
        return weight * (got - wanted) ** 2

    table = np.array([[cost(row, line) for row in rows] for line in lines])
    gather = (lambda part: part.max(axis=1)) if objective == "max" else (lambda part: part.sum(axis=1))
    finest = scales[-1]
    position = [row[1] if symmetry == "none" else abs(row[1]) for row in rows]
    lefts = set()
    for p in range(input.min * 2**finest, (-input.min + 2) * 2**finest):
        lefts.add(
            frozenset(i for i, row in enumerate(rows) if position[i] < round(Fraction(p, 2 ** (finest - row[0]))))
        )
    known = {frozenset(): 0.0}

    def least(members):
        if members not in known:
            known[members] = gather(table[:, sorted(members)]).min()
        return known[members]

    everything = frozenset(range(len(rows)))
    best = math.inf
    for path in itertools.combinations_with_replacement(sorted(lefts, key=len), segments - 1):
        edges = (frozenset(), *path, everything)
        parts = [least(b - a) for a, b in zip(edges, edges[1:])]
        best = min(best, max(parts) if objective == "max" else sum(parts))
    return best


CASES = {
    "max": {"plain": gelu, "objective": "max"},
    "max_wave": {"plain": wave, "objective": "max", "segments": 4},
    "max_digits": {"plain": wave, "objective": "max", "digits": 1},
    "max_odd": {"plain": wave, "objective": "max", "symmetry": "odd", "segments": 2},
    "mse_digits": {"plain": wave, "objective": "mse", "digits": 1},
    "mse_two_digits": {"plain": gelu, "objective": "mse", "digits": 2, "slope": Fixed(5, 3)},
    "code": {"plain": gelu, "objective": "code", "output": Fixed(4, 1)},
    "code_wave": {"plain": wave, "objective": "code", "output": Fixed(3, 1), "segments": 2},
    "code_floor": {"plain": wave, "objective": "code", "output": Fixed(4, 2), "rule": "floor", "segments": 2},
    "code_half_even": {"plain": gelu, "objective": "code", "output": Fixed(4, None), "rule": "half_even"},
    "code_odd": {"plain": wave, "objective": "code", "output": Fixed(3, 1), "symmetry": "odd", "segments": 2},
    "code_digits": {"plain": wave, "objective": "code", "output": Fixed(4, 2), "digits": 1, "segments": 2},
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_better(name):
    given = {
        "segments": 3,
        "input": Fixed(3),
        "scales": (0, 1),
        "slope": Fixed(4, 2),
        "intercept": Fixed(4, 2),
    } | CASES[name]
    plain = given["plain"]
    unit = hwlut.fit(
        Function("target", lambda x: np.vectorize(plain, otypes=[float])(x)),
        given["segments"],
        input=given["input"],
        scales=given["scales"],
        slope_bits=given["slope"].bits,
        slope_frac=given["slope"].frac,
        intercept_bits=given["intercept"].bits,
        intercept_frac=given["intercept"].frac,
        symmetry=given.get("symmetry", "none"),
        objective=given["objective"],
        output=given.get("output"),
        rounding=given.get("rule", "half_up"),
        slope_digits=given.get("digits"),
    )
    reached = unit.meta[{"max": "max_error", "mse": "mse", "code": "code_mse"}[given["objective"]]]
    assert reached == pytest.approx(best_by_enumeration(**given), rel=1e-5, abs=1e-12)
    assert unit.meta["certified"]
    if "digits" in given:
        assert max(map(fewest_digits, unit.slopes)) <= given["digits"] == unit.meta["slope_digits"]


def results(unit, scale, plain):
    """The unit's real results and those wanted, at every code."""
    q = torch.arange(unit.input.min, unit.input.max + 1)
    frac = unit.output_format(scale).frac
    return unit(q, scale=scale).numpy() / 2.0**frac, np.array([plain(code / 2**scale) for code in q.tolist()])


def test_figures_of_a_minimax_table():
    unit = hwlut.fit("gelu", 8, objective="max")
    worst = max(np.max(abs(got - want)) for got, want in (results(unit, s, gelu) for s in unit.scales))
    assert unit.meta["max_error"] == pytest.approx(worst, rel=1e-5)
    plain = hwlut.fit("gelu", 8)
    assert worst < max(np.max(abs(got - want)) for got, want in (results(plain, s, gelu) for s in plain.scales))


def test_figures_of_a_table_for_codes():
    given = {
        "input": Fixed(7),
        "output": Fixed(7, 4),
        "scales": (3, 4),
        "slope_frac": 6,
        "intercept_bits": 8,
        "intercept_frac": 6,
    }
    differences = {}
    for objective in ("mse", "code"):
        unit = hwlut.fit("gelu", 4, objective=objective, **given)
        parts = [[16 * value for value in results(unit, s, gelu)] for s in unit.scales]
        parts = [(got, np.clip(np.floor(want + 0.5), -64, 63)) for got, want in parts]
        differences[objective] = np.mean([(got - want) ** 2 for got, want in parts])
        wrong = np.mean([got != want for got, want in parts])
    assert unit.meta["code_mse"] == pytest.approx(differences["code"], rel=1e-5)
    assert unit.meta["wrong_codes"] == pytest.approx(wrong, rel=1e-5)
    assert unit.meta["certified"] and differences["code"] < differences["mse"]


def test_too_many_lines_leave_a_good_table(monkeypatch):
    given = {"objective": "code", "output": Fixed(8, 5), "input": Fixed(7), "scales": (4,), "slope_frac": 6}
    coarse = hwlut.fit("gelu", 4, intercept_bits=8, intercept_frac=6, **given)
    monkeypatch.setattr("hwlut.fit.coded._RESULTS", 1 << 25)
    fine = hwlut.fit("gelu", 4, intercept_frac=12, **given)
    assert (fine.meta["certified"], coarse.meta["certified"]) == (False, True)
    assert fine.meta["code_mse"] <= coarse.meta["code_mse"]
    with pytest.raises(ValueError, match="^fit objective 'code' must have fewer than 128 inputs over all scales$"):
        monkeypatch.setattr("hwlut.fit.coded._RESULTS", 1 << 4)
        hwlut.fit("gelu", 4, intercept_frac=12, **given)


def test_weights_are_the_shares_of_quantized_samples(tmp_path):
    samples = np.random.default_rng(0).normal(0, 1.3, (40, 50)).astype(np.float32)
    np.save(tmp_path / "seen.npy", samples)
    seen = Activations.load(tmp_path / "seen.npy")
    unit = hwlut.fit("gelu", 4, scales=(3, 6), weights=seen, weight_floor=0.25)
    errors = []
    for scale in unit.scales:
        codes = np.clip(np.floor(samples.astype(np.float64) * 2**scale + 0.5), -128, 127).astype(int)
        weights = 0.25 / 256 + 0.75 * np.bincount(codes.ravel() + 128, minlength=256) / samples.size
        got, want = results(unit, scale, gelu)
        errors.append(np.sum(weights * (got - want) ** 2))
    assert unit.meta["mse"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert unit.meta["weight_floor"] == 0.25 and unit.meta["certified"]
    plain = hwlut.fit("gelu", 4, scales=(3, 6))
    assert hwlut.fit("gelu", 4, scales=(3, 6), weights=seen, weight_floor=1.0) == plain
    assert unit != plain


def test_weights_of_a_histogram():
    """One bin from 0 to 1 and one of thrice its height to 3: at scale 0, code 1 stands for 0.5 to 1.5."""
    seen = Activations.histogram([0, 1, 3], [1, 6])
    shares = seen.shares(np.arange(-4, 4), 0, Fixed(3))
    assert shares == pytest.approx([0, 0, 0, 0, 0.5 / 7, 2 / 7, 3 / 7, 1.5 / 7])
    assert seen.shares(np.arange(-2, 2), 0, Fixed(2)) == pytest.approx([0, 0, 0.5 / 7, 6.5 / 7])


def test_activations_outside_the_domain_leave_equal_weights():
    unit = hwlut.fit("exp", 4, weights=Activations.of([5.0, 6.0]))
    assert unit == hwlut.fit("exp", 4)


BAD_FILES = {
    "text.npy": (b"1 2 3", "its header must be as numpy writes it"),
    "empty.npy": (b"", "its header must be as numpy writes it"),
    "list.json": (b"[1, 2]", r"a histogram must be an object of edges and counts, not \[1, 2\]"),
    "keys.json": (b'{"edges": [0, 1]}', "a histogram must be an object of edges and counts, not {'edges'"),
    "broken.json": (b"{", "Expecting property name"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "words.json": (b'{"edges": ["a"], "counts": []}', "histogram edges and counts must be arrays of real numbers"),
    "short.json": (b'{"edges": [0, 1], "counts": [1, 2]}', "histogram edges must be one more than counts"),
    "order.json": (b'{"edges": [1, 0], "counts": [1]}', "histogram edges must be finite and ascending"),
    "below.json": (b'{"edges": [0, 1], "counts": [-1]}', "histogram counts must be finite, none below 0 and one above"),
    "nothing.json": (b'{"edges": [0, 1], "counts": [0]}', "histogram counts must be finite, none below 0 and one abo"),
    "nan.json": (b'{"edges": [0, NaN], "counts": [1]}', "NaN is no JSON number"),
    "huge.json": (b'{"edges": [0, 1' + b"0" * 400 + b'], "counts": [1]}', "histogram edges and counts must be arrays"),
    "vast.npy": (
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,), }".ljust(80),
        "",
    ),
    "zip.npy": (b"PK\x03\x04 and no more", "its header must be as numpy writes it"),
    "open.npy": (b"\x93NUMPY\x01\x00\x46\x00{'descr': (".ljust(80), "its header must be as numpy writes it$"),
    "text.json": (
        b'{"edges": ["0", "1"], "counts": [1]}',
        "histogram edges and counts must be arrays of real numbers$",
    ),
    "mixed.json": (b'{"edges": [0, 1], "counts": ["1"]}', "histogram edges and counts must be arrays of real numbers$"),
    "bool.json": (b'{"edges": [0, 1, 2], "counts": [1, true]}', "histogram edges and counts must be arrays of real"),
    "bools.json": (b'{"edges": [false, true], "counts": [1]}', "histogram edges and counts must be arrays of real"),
    "act.txt": (b"", "weights must be a .npy or .json file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_weights_are_refused(tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        Activations.load(path)


@pytest.mark.parametrize("count", [5e-324, 1e-300, 1e308], ids=str)
def test_counts_of_any_size(count):
    seen = Activations.histogram([-1e308, 0, 1e308], [count, count])
    assert seen.below.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    "array, message",
    [
        (np.array(["a"]), "the array must be of real numbers, not of '<U1'"),
        (np.array([]), "activations must be finite and at least one"),
        (np.array([0.0, np.inf]), "activations must be finite and at least one"),
        (np.array([1j]), "the array must be of real numbers, not of '<c16'"),
    ],
    ids=["text", "empty", "infinite", "complex"],
)
def test_bad_samples_are_refused(tmp_path, array, message):
    path = tmp_path / "seen.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=f"seen.npy: {message}"):
        Activations.load(path)


def test_a_histogram_file(tmp_path):
    path = tmp_path / "h.json"
    path.write_text(json.dumps({"edges": [-2, 0, 2], "counts": [1, 3]}))
    seen = Activations.load(path)
    assert (seen.values.tolist(), seen.below.tolist()) == ([-2, 0, 2], [0, 0.25, 1])


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (ValueError, "fit objective must be one of mse, max, code, not 'area'", {"objective": "area"}),
        (ValueError, "fit objective 'code' needs an output format", {"objective": "code"}),
        (ValueError, "fit slope_digits must be from 1 to 16, not 0", {"slope_digits": 0}),
        (TypeError, "fit slope_digits must be an integer, not 2.0", {"slope_digits": 2.0}),
        (TypeError, r"fit weights must be Activations, not \[1, 2\]", {"weights": [1, 2]}),
        (ValueError, "fit weight_floor must be from 0.001 to 1, not 0", {"weight_floor": 0}),
        (TypeError, "fit weight_floor must be a number, not 'low'", {"weight_floor": "low"}),
        (
            ValueError,
            "fit weights have no meaning for objective 'max'",
            {"objective": "max", "weights": Activations.of([1.0])},
        ),
        (
            ValueError,
            "fit method genetic must have objective 'mse', not 'max'",
            {"objective": "max", "method": Genetic()},
        ),
    ],
)
def test_bad_arguments_are_refused(error, message, arguments):
    with pytest.raises(error, match=f"^{message}$"):
        hwlut.fit("gelu", 4, **arguments)


@pytest.mark.parametrize("bound", [{"max_mse": 3e-4}, {"max_error": 0.04}, {"max_error": 1.0}], ids=str)
def test_fewest_segments(bound):
    (label, most), figure = *bound.items(), "mse" if "max_mse" in bound else "max_error"
    objective = "mse" if figure == "mse" else "max"
    unit = hwlut.fit.fewest("silu", scales=(4,), slope_digits=2, **bound)
    errors = [hwlut.fit("silu", n, scales=(4,), slope_digits=2, objective=objective).meta[figure] for n in range(1, 13)]
    assert unit.segments == 1 + next(i for i, error in enumerate(errors) if error <= most)
    assert unit.meta[figure] == errors[unit.segments - 1] and unit.meta["bound"] == {label: most}
    assert unit.name == f"silu_{unit.segments}"


@pytest.mark.parametrize(
    "error, message, bounds",
    [
        (ValueError, "fewest segments need one bound: max_mse or max_error", {}),
        (ValueError, "fewest segments need one bound: max_mse or max_error", {"max_mse": 1, "max_error": 1}),
        (TypeError, "fit max_mse must be a number, not 'low'", {"max_mse": "low"}),
        (ValueError, "fit max_mse must be at least 0, not -1", {"max_mse": -1}),
        (ValueError, "fit max_error must be at least 0, not nan", {"max_error": math.nan}),
        (ValueError, "fit max_mse must go with objective 'mse', not 'max'", {"max_mse": 1, "objective": "max"}),
        (ValueError, "fit max_mse must be reached by 64 segments, which come to 5.*e-07", {"max_mse": 1e-9}),
    ],
)
def test_bad_bounds_are_refused(error, message, bounds):
    with pytest.raises(error, match=f"^{message}$"):
        hwlut.fit.fewest("gelu", scales=(4,), slope_bits=4, **bounds)


def test_a_lower_bound_is_one(monkeypatch):
    """The bound of a search cut short, against the optimum of the whole one."""
    given = {"input": Fixed(12), "scales": (8,), "slope_frac": 4, "intercept_frac": 10, "slope_bits": 6}
    best = hwlut.fit("silu", 5, **given)
    assert best.meta["certified"] and "mse_lower_bound" not in best.meta
    monkeypatch.setattr("hwlut.fit.optimal._MANY", 1 << 15)
    cut = hwlut.fit("silu", 5, **given)
    assert not cut.meta["certified"] and cut.meta["bound_step"] in (4, 16)
    assert 0.2 * best.meta["mse"] < cut.meta["mse_lower_bound"] <= best.meta["mse"] <= cut.meta["mse"]


def test_a_lower_bound_is_below_every_table_of_a_wide_input():
    unit = hwlut.fit("gelu", 8, input=Fixed(16), scales=(12,))
    finer = hwlut.fit("gelu", 8, input=Fixed(16), scales=(12,), slope_bits=12)
    assert finer.meta["certified"] and not unit.meta["certified"]
    assert unit.meta["mse_lower_bound"] < finer.meta["mse"] < unit.meta["mse"]
