"""The genetic fit: its operators, its errors against plain loops, published settings, checkpoints."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import hwlut
from hwlut import Fixed
from hwlut.fit import Genetic, Optimal, published
from hwlut.fit.evolution import Evolution
from hwlut.fit.genetic import Chords
from hwlut.fit.lines import Moments
from hwlut.fit.presets import PUBLISHED
from hwlut.fit.slopes import Slopes
from hwlut.functions import FUNCTIONS

SMALL = {"input": Fixed(5), "scales": (0, 2), "domain": (-4, 4), "slope_frac": 6, "intercept_frac": 8}


def silu(x):
    return x / (1 + math.exp(-x))


def distance_to(goal):
    return lambda individuals: ((individuals - goal) ** 2).sum(axis=1)


def children(individuals, **settings):
    """One generation of individuals that are all as good, so that none is preferred."""
    chances = {"crossover": 0.0, "mutation": 0.0, "elite": 0, "generations": 1, "tournament": 1}
    seen = []
    method = Evolution(population=individuals, **chances | settings)
    method.evolve(lambda rows: seen.append(rows.copy()) or np.zeros(len(rows)), 400, (0.0, 400.0), seed=1)
    return seen


def test_rounding_mutation():
    first, second = children(200, mutation=1.0, decimal_bits=(1, 1))
    halves = np.mean(second * 2 == np.rint(second * 2))
    assert halves == pytest.approx(0.05, abs=0.005)
    kept = np.mean(np.isin(second, first))
    assert kept == pytest.approx(1 - 0.05 - 0.1, abs=0.005)


def test_rounding_mutation_goes_through_every_fraction():
    _, second = children(200, mutation=1.0, decimal_bits=(2, 3))
    quarters, eighths = (np.mean(second * unit == np.rint(second * unit)) for unit in (4, 8))
    # Rounded to a quarter and not moved then or after; the other half of the eighths come from j = 3.
    assert quarters == pytest.approx(0.05 * 0.9 + 0.05 / 2, abs=0.008)
    assert eighths == pytest.approx(0.05 * 0.9 + 0.05, abs=0.008)


def test_gaussian_mutation():
    first, second = children(200, mutation=1.0, mutation_mode="gaussian")
    assert np.mean(np.isin(second, first)) == pytest.approx(0.9, abs=0.005)
    assert np.mean(second == np.rint(second)) < 1e-3  # those clipped to an end of the range


def test_mutants_stay_in_the_range_of_the_search():
    found = []
    method = Evolution(mutation=1.0, mutation_mode="gaussian", generations=20, elite=0)
    method.evolve(lambda rows: found.append((rows.min(), rows.max())) or rows.sum(axis=1), 3, (1.0, 1.5), seed=0)
    assert min(low for low, _ in found) == 1.0 and max(high for _, high in found) <= 1.5


def test_crossover_swaps_genes_between_two_cuts():
    first, second = children(60, crossover=1.0)
    assert set(second.ravel()) <= set(first.ravel())
    changed = [row for row in second if not (first == row).all(axis=1).any()]
    assert len(changed) > 30
    for row in changed:
        sources = {int(np.flatnonzero((first == gene).any(axis=1))[0]) for gene in row}
        assert len(sources) <= 2


def test_chances_are_kept():
    _, second = children(1000, crossover=0.0, mutation=0.3)
    assert len(second) == pytest.approx(300, abs=45)
    _, second = children(1000, crossover=0.4)
    assert len(second) == pytest.approx(400, abs=70)


def test_tournaments_prefer_the_better():
    def best_share(tournament):
        method = Evolution(
            population=2000,
            tournament=tournament,
            generations=1,
            crossover=0.0,
            mutation=1.0,
            mutation_mode="gaussian",
            elite=0,
        )
        seen = []
        method.evolve(lambda rows: seen.append(rows.mean()) or rows[:, 0], 1, (0.0, 1.0), seed=0)
        return seen[1]

    # The least of n uniform numbers is 1 / (n + 1) in the mean; a tenth of the genes move and are clipped.
    assert best_share(1) == pytest.approx(1 / 2, abs=0.03)
    assert best_share(3) == pytest.approx(1 / 4, abs=0.03)


def test_elite_never_worsens_and_the_best_ever_is_returned():
    goal = np.array([0.3, 1.7, 2.9])
    course = []
    for elite in (0, 2):
        method = Evolution(generations=60, elite=elite, mutation=1.0, progress=lambda *step: course.append(step))
        best = method.evolve(distance_to(goal), 3, (0.0, 4.0), seed=5)
        assert distance_to(goal)(best[None])[0] < 0.05
    assert [step[:2] for step in course] == 2 * [(done, 60) for done in range(12, 61, 12)]


def plain_error(x, targets, breakpoints, slopes, intercepts):
    total = 0.0
    for point, target in zip(x, targets):
        segment = sum(point >= p for p in breakpoints)
        total += (slopes[segment] * point + intercepts[segment] - target) ** 2
    return total / len(x)


def test_published_errors_are_those_of_a_loop_over_points():
    x = np.arange(-4, 4, 0.01)
    y = FUNCTIONS["silu"](x)
    moments = Moments.of(x, y, np.full(len(x), 1 / len(x)), np.arange(len(x) + 1))
    chords = Chords(FUNCTIONS["silu"], (-4.0, 4.0), Slopes.of(Fixed(8, 6)), Fixed(8, 6))
    genes = np.sort(np.random.default_rng(0).uniform(-4, 4, (20, 7)), axis=1)
    genes[0] = [-3, -1, 0.3, 1.5, 1.5, 1.5, 3.7]  # breakpoints that coincide
    errors = chords.errors(moments, lambda genes: np.searchsorted(x, genes), genes)
    for row, error in zip(genes.tolist(), errors):
        ends = [-4.0, *row, 4.0]
        slopes, intercepts = [], []
        for a, b in zip(ends, ends[1:]):
            slope = (silu(b) - silu(a)) / (b - a) if b > a else 0.0
            slopes.append(round(slope * 64) / 64)
            intercepts.append(round((silu(a) - slope * a) * 64) / 64)
        assert error == pytest.approx(plain_error(x, y, row, slopes, intercepts), rel=1e-9)


def chord_table_error(p, scales, codes):
    """Error of the two-segment chord table of silu on [-4, 3.75] with breakpoint p / 4, formats of SMALL."""
    ends = [-4.0, p / 4, 4.0]
    slopes = [(silu(b) - silu(a)) / (b - a) for a, b in zip(ends, ends[1:])]
    intercepts = [round((silu(a) - k * a) * 256) / 256 for a, k in zip(ends, slopes)]
    slopes = [round(k * 64) / 64 for k in slopes]
    total = 0.0
    for scale in scales:
        cut = round(p / 4 * 2**scale)  # half to even
        inside = [q for q in codes if -4 <= q / 2**scale <= 4]
        for q in inside:
            segment = q >= cut
            error = slopes[segment] * q / 2**scale + intercepts[segment] - silu(q / 2**scale)
            total += error**2 / len(inside) / len(scales)
    return total


def test_the_best_chord_table_of_two_segments_is_found():
    """Over breakpoints that are codes, by trying each; between codes a gene may do still better."""
    unit = hwlut.fit("silu", 2, Genetic(search=(-3.9, 3.7), anchors=(-4.0, 4.0)), **SMALL)
    tried = [chord_table_error(p, (0, 2), range(-16, 16)) for p in range(-15, 15)]
    assert 0.8 * min(tried) < unit.meta["mse"] <= min(tried) * (1 + 1e-5)


def test_the_objective_is_that_of_the_table():
    for polish in (False, True):
        unit = hwlut.fit("silu", 4, Genetic(generations=50, polish=polish), scales=(2, 5))
        errors = []
        for scale in (2, 5):
            q = torch.arange(-128, 128)
            got = unit(q, scale=scale).double() / 2 ** unit.output_format(scale).frac
            want = torch.tensor([silu(code / 2**scale) for code in q.tolist()], dtype=torch.float64)
            errors.append(float(((got - want) ** 2).mean()))
        assert unit.meta["mse"] == pytest.approx(sum(errors) / 2, rel=1e-5)
        assert unit.meta["certified"] is False


def test_breakpoints_are_the_nearest_codes():
    method = Genetic(generations=0, search=(0.9, 0.95), anchors=(-4.0, 4.0))
    assert hwlut.fit("gelu", 2, method, scales=(0,)).breakpoints == (1,)


def test_polish_comes_to_the_optimum():
    for name in ("gelu", "silu", "hswish"):
        unit = hwlut.fit(name, 8, Genetic(generations=100, polish=True))
        optimum = hwlut.fit(name, 8).meta["mse"]
        assert unit.meta["optimum_mse"] == optimum
        assert 0 <= unit.meta["above_optimum"] < 0.05
        assert unit.meta["mse"] == pytest.approx(optimum * (1 + unit.meta["above_optimum"]), rel=1e-4)


def test_symmetry():
    unit = hwlut.fit("tanh", 4, Genetic(generations=100), symmetry="odd", scales=(4,))
    assert unit.meta["above_optimum"] < 10 and min(unit.breakpoints) >= 0


def test_one_segment_has_nothing_to_search():
    unit = hwlut.fit("hswish", 1, "genetic", domain=(-4, 4))
    assert unit.breakpoints == () and unit.slopes[0] * 2.0**-unit.slope.frac == pytest.approx(0.5, abs=0.01)


def test_wide_inputs_have_no_optimum_beside_them():
    unit = hwlut.fit("tanh", 4, Genetic(generations=20), input=Fixed(12), scales=(8,))
    assert "optimum_mse" not in unit.meta and unit.meta["mse"] < 0.01


def test_seeds():
    method = Genetic(generations=20)
    one, same, other = (hwlut.fit("gelu", 4, method, seed=seed) for seed in (1, 1, 2))
    assert one.dumps() == same.dumps() and one != other
    assert one.meta["seed"] == 1 and one.meta["method"] == "genetic"


def test_settings_are_recorded():
    unit = hwlut.fit("gelu", 4, Genetic(generations=20, search=(-3, 3), progress=print, polish=True))
    assert unit.meta["settings"] == {
        "population": 50,
        "generations": 20,
        "crossover": 0.7,
        "mutation": 0.2,
        "tournament": 3,
        "mutation_mode": "rounding",
        "decimal_bits": [0, 6],
        "elite": 1,
        "search": [-3, 3],
        "anchors": None,
        "x_range": None,
        "polish": True,
    }
    assert "settings" not in hwlut.fit("gelu", 4).meta


def test_methods_by_name_are_their_defaults():
    assert hwlut.fit.METHODS == {"optimal": Optimal(), "genetic": Genetic()}
    assert hwlut.fit("gelu", 4, Optimal()).dumps() == hwlut.fit("gelu", 4).dumps()


# Mean squared error of the published tables, measured by an independent evaluator on the same codes.
BY_HAND = {"gelu": 9.97e-5, "hswish": 3.08e-4, "exp": 1.22e-4, "silu": 3.09e-4, "reciprocal": 4.08e-5, "rsqrt": 3.40e-4}


@pytest.mark.parametrize("name, segments", PUBLISHED)
def test_published_settings(name, segments):
    given = published(name, segments)
    unit = hwlut.fit(**given | {"method": replace(given["method"], generations=150)})
    assert unit.name == f"{name}_{segments}"
    assert (unit.slope.frac, unit.intercept.frac) == (6, 6)
    assert unit.scales == {"reciprocal": (5,), "rsqrt": tuple(range(6))}.get(name, tuple(range(7)))
    assert unit.meta["mse"] < 8 * BY_HAND[name]
    assert unit.meta["above_optimum"] > 0


def test_published_runs_reach_the_published_tables():
    """Single runs scatter: the best of a few is as good as what was published."""
    best = min(hwlut.fit(**published("exp"), seed=seed).meta["mse"] for seed in range(3))
    assert best < BY_HAND["exp"]


def test_other_names_and_unpublished_tables():
    assert published("reci", 8)["function"] == "reciprocal"
    assert published("sqrt_reci", 16)["function"] == "rsqrt"
    with pytest.raises(ValueError, match="^published function must be one of gelu, hswish, .*, not 'tanh'$"):
        published("tanh")
    with pytest.raises(ValueError, match="^published segments must be one of 8, 16, not 4$"):
        published("gelu", 4)


class Interrupted(Exception):
    pass


def interrupt_at(generation):
    def progress(done, total, text):
        if done == generation:
            raise Interrupted

    return progress


def test_a_checkpoint_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "state.json"
    method = Genetic(generations=60)
    whole = hwlut.fit("gelu", 6, method, seed=3)
    with pytest.raises(Interrupted):
        hwlut.fit("gelu", 6, replace(method, checkpoint=path, progress=interrupt_at(24)), seed=3)
    assert json.loads(path.read_text())["generation"] == 24
    assert hwlut.fit("gelu", 6, replace(method, checkpoint=path), seed=3).dumps() == whole.dumps()
    assert json.loads(path.read_text())["generation"] == 60
    longer = hwlut.fit("gelu", 6, replace(method, generations=80, checkpoint=path), seed=3)
    assert longer.dumps() == hwlut.fit("gelu", 6, replace(method, generations=80), seed=3).dumps()
    with pytest.raises(ValueError, match="state.json: is at generation 80, beyond the 60 asked for$"):
        hwlut.fit("gelu", 6, replace(method, checkpoint=path), seed=3)


@pytest.mark.parametrize(
    "changes", [{"seed": 4}, {"segments": 7}, {"function": "silu"}, {"scales": (3,)}, {"intercept_frac": 9}]
)
def test_a_checkpoint_of_another_fit_is_refused(tmp_path, changes):
    given = {"function": "gelu", "segments": 6, "method": Genetic(generations=5, checkpoint=tmp_path / "state.json")}
    hwlut.fit(**given)
    with pytest.raises(ValueError, match="state.json: a checkpoint of another fit$"):
        hwlut.fit(**given | changes)
    with pytest.raises(ValueError, match="state.json: a checkpoint of another fit$"):
        hwlut.fit(**given | {"method": replace(given["method"], mutation=0.3)})


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"schema": "hwlut.genetic/1"}', "\xff"])
def test_what_is_no_checkpoint_is_refused(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="state.json: not a checkpoint of a genetic fit$"):
        hwlut.fit("gelu", 6, Genetic(generations=5, checkpoint=path))
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize(
    "key, value",
    [("random", {}), ("scores", [1.0]), ("individuals", "no"), ("generation", None), ("best", [10**400] * 5)],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, key, value):
    path = tmp_path / "state.json"
    method = Genetic(generations=5, checkpoint=path)
    hwlut.fit("gelu", 6, method)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match="state.json: not a checkpoint of a genetic fit$"):
        hwlut.fit("gelu", 6, method)


@pytest.mark.parametrize(
    "key, change",
    [
        ("generation", lambda value: -1),
        ("generation", lambda value: str(value)),
        ("generation", lambda value: True),
        ("generation", lambda value: value + 0.5),
        ("individuals", lambda value: [row[::-1] for row in value]),
        ("individuals", lambda value: [[gene + 100 for gene in row] for row in value]),
        ("individuals", lambda value: [[str(gene) for gene in row] for row in value]),
        ("individuals", lambda value: [[float("nan")] * 5, *value[1:]]),
        ("scores", lambda value: [float("inf"), *value[1:]]),
        ("scores", lambda value: [value[0] * 2, *value[1:]]),
        ("scores", lambda value: [str(score) for score in value]),
        ("best", lambda value: value[::-1]),
        ("best", lambda value: [gene - 100 for gene in value]),
        ("best_score", lambda value: value / 2),
        ("best_score", lambda value: 0.0),
        ("best_score", lambda value: float("nan")),
        ("best_score", lambda value: str(value)),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_checkpoint_that_contradicts_itself_is_refused(tmp_path, key, change):
    path = tmp_path / "state.json"
    method = Genetic(generations=5, checkpoint=path)
    hwlut.fit("gelu", 6, method)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {key: change(content[key])}))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a checkpoint of a genetic fit$"):
        hwlut.fit("gelu", 6, method)


@pytest.mark.parametrize(
    "error, message, settings",
    [
        (ValueError, "genetic population must be from 2 to 100000, not 1", {"population": 1}),
        (TypeError, "genetic population must be an integer, not 5.0", {"population": 5.0}),
        (ValueError, "genetic generations must be from 0 to 10000000, not -1", {"generations": -1}),
        (ValueError, "genetic tournament must be from 1 to 100000, not 0", {"tournament": 0}),
        (ValueError, "genetic elite must be from 0 to 49, not 50", {"elite": 50}),
        (ValueError, "genetic crossover must be from 0 to 1, not 1.5", {"crossover": 1.5}),
        (ValueError, "genetic mutation must be from 0 to 1, not nan", {"mutation": math.nan}),
        (TypeError, "genetic mutation must be a number, not 'often'", {"mutation": "often"}),
        (ValueError, "genetic mutation_mode must be one of rounding, gaussian, not 'wild'", {"mutation_mode": "wild"}),
        (TypeError, "genetic decimal_bits must be two integers, not 6", {"decimal_bits": 6}),
        (ValueError, "genetic decimal_bits must be from 0 to 17, not 18", {"decimal_bits": (0, 18)}),
        (ValueError, r"genetic decimal_bits must be ascending, not \(6, 0\)", {"decimal_bits": (6, 0)}),
        (TypeError, "genetic search must be two numbers, not 4", {"search": 4}),
        (TypeError, r"genetic anchors must be two numbers, not \(0, inf\)", {"anchors": (0, math.inf)}),
        (ValueError, r"genetic x_range must be from a lower to a higher number, not \(4, -4\)", {"x_range": (4, -4)}),
        (TypeError, "genetic polish must be true or false, not 1", {"polish": 1}),
    ],
)
def test_bad_settings_are_refused(error, message, settings):
    with pytest.raises(error, match=f"^{message}$"):
        Genetic(**settings)


def test_bad_methods_and_ranges_are_refused():
    with pytest.raises(TypeError, match=r"^fit method must be a name or a method such as Genetic\(\), not 5$"):
        hwlut.fit("gelu", 4, 5)
    message = r"^genetic search must lie between the anchors \(-2, 2\), not \(-3, 3\)$"
    with pytest.raises(ValueError, match=message):
        hwlut.fit("gelu", 4, Genetic(search=(-3, 3), anchors=(-2, 2)))
    with pytest.raises(ValueError, match="^fit log2 must be finite in the domain, not nan at -1.0$"):
        hwlut.fit("log2", 4, Genetic(x_range=(-1, 2)))
