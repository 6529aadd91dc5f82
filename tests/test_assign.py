"""The knapsack: against every assignment of small problems, on large and on hard ones, and what it refuses."""

import itertools
import re
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwlut.search import Bits, LayerShape, assign, bit_operations, knapsack, memory

INTEGERS = st.integers(-6, 9)
TENTHS = st.integers(0, 30).map(lambda number: number / 10)
REALS = st.floats(-1e3, 1e3)
SCALES = st.sampled_from([0.0, 1e-17, 1e-16, 1.0, 1 + 2.0**-52, 3.0, 1e16])


def total(numbers):
    result = 0
    for number in numbers:
        result += number
    return result


@st.composite
def problems(draw):
    """Choices by layer, two tables, and a budget that some assignment meets."""
    choices = {f"layer{n}": range(draw(st.integers(1, 4))) for n in range(draw(st.integers(0, 5)))}
    keys = [(layer, choice) for layer, given in choices.items() for choice in given]
    axes = [draw(st.sampled_from([INTEGERS, TENTHS, REALS, SCALES])) for _ in range(2)]
    costs, sensitivities = ({key: draw(axis) for key in keys} for axis in axes)
    met = total(costs[layer, draw(st.sampled_from(given))] for layer, given in choices.items())
    return choices, costs, sensitivities, met + draw(st.sampled_from([0, 0, 1, 2.5]))


def every(choices, costs, sensitivities):
    """(cost, sensitivity) of every assignment."""
    for picked in itertools.product(*choices.values()):
        keys = list(zip(choices, picked))
        yield total(costs[key] for key in keys), total(sensitivities[key] for key in keys)


@settings(max_examples=300, deadline=None)
@given(problems())
@example(({}, {}, {}, 0))
@example(({"a": range(2)}, {("a", 0): 0.0, ("a", 1): -2e-313}, {("a", 0): 0, ("a", 1): 1}, 0.0))
def test_it_is_the_best_of_all_assignments(problem):
    choices, costs, sensitivities, budget = problem
    found = assign(choices, costs, sensitivities, budget)
    sums = [(s, c) for c, s in every(choices, costs, sensitivities) if c <= budget]
    assert (found.sensitivity, found.cost) == min(sums)
    assert found.cost == total(costs[key] for key in found.choices.items()) <= found.budget == budget
    assert found.sensitivity == total(sensitivities[key] for key in found.choices.items())


@settings(max_examples=100, deadline=None)
@given(problems())
def test_the_other_limit(problem):
    choices, sensitivities, costs, budget = problem
    found = assign(choices, costs, sensitivities, budget, limit="sensitivity")
    sums = [(c, s) for c, s in every(choices, costs, sensitivities) if s <= budget]
    assert (found.cost, found.sensitivity) == min(sums)


@settings(max_examples=100, deadline=None)
@given(problems(), st.sampled_from([(1,), (2, 4), (3, 7)]))
def test_dropped_points_are_looked_at_again(problem, widths):
    """With widths that small, the passes before the last drop nearly everything."""
    choices, costs, sensitivities, budget = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "_WIDTHS", (*widths, 1 << 20))
        patch.setattr(knapsack, "_TAIL", 1)
        found = assign(choices, costs, sensitivities, budget)
    assert (found.sensitivity, found.cost) == min(
        (s, c) for c, s in every(choices, costs, sensitivities) if c <= budget
    )


@pytest.mark.parametrize("seed", range(150))
def test_a_poor_start_is_improved_by_the_smallest_step(seed, monkeypatch):
    """Small numbers make ties, and sums next to the best, frequent."""
    monkeypatch.setattr(knapsack, "_WIDTHS", (2, 1 << 20))
    monkeypatch.setattr(knapsack, "_TAIL", 1)
    rng = np.random.default_rng(seed)
    costs, sensitivities = table(rng.integers(0, 9, (5, 4))), table(rng.integers(0, 9, (5, 4)))
    choices = {layer: range(4) for layer in range(5)}
    budget = min(cost for cost, _ in every(choices, costs, sensitivities)) + int(rng.integers(3, 12))
    sums = [(s, c) for c, s in every(choices, costs, sensitivities) if c <= budget]
    found = assign(choices, costs, sensitivities, budget)
    assert (found.sensitivity, found.cost) == min(sums)


def table(array):
    return {(layer, choice): number for layer, row in enumerate(array.tolist()) for choice, number in enumerate(row)}


def by_dynamic_programming(costs, sensitivities, budget):
    """The least sensitivity for every whole cost, one array of the budget's length."""
    least = np.zeros(budget + 1)
    for row, harm in zip(costs, sensitivities):
        grown = np.full(budget + 1, np.inf)
        for cost, number in zip(row, harm):
            if cost <= budget:
                grown[cost:] = np.minimum(grown[cost:], least[: budget + 1 - cost] + number)
        least = grown
    return least[-1]


@pytest.mark.parametrize("kind", ["random", "graded", "correlated"])
def test_hundreds_of_layers(kind):
    rng = np.random.default_rng(0)
    costs = rng.integers(1, 200, (200, 16))
    sensitivities = rng.integers(1, 10**9, (200, 16))
    if kind == "graded":
        costs = rng.integers(1, 50, (200, 1)) * np.arange(1, 17)
        sensitivities = (rng.integers(1, 10**9, (200, 1)) / 4.0 ** np.arange(16)).astype(np.int64)
    if kind == "correlated":
        sensitivities = 10**4 - 40 * costs + rng.integers(0, 100, costs.shape)
    budget = int(costs.min(1).sum() + costs.mean(1).sum()) // 2
    started = time.perf_counter()
    found = assign({layer: range(16) for layer in range(200)}, table(costs), table(sensitivities), budget)
    assert time.perf_counter() - started < 10
    assert found.cost <= budget and found.sensitivity == by_dynamic_programming(costs, sensitivities, budget)
    assert isinstance(found.sensitivity, int) and isinstance(found.cost, int)


def test_a_subset_sum_of_large_numbers():
    """Every assignment lies on the relaxation's line, so bounds alone tell nothing."""
    costs = np.random.default_rng(1).integers(1, 10**6, (100, 10))
    budget = int(costs.mean(1).sum())
    found = assign({layer: range(10) for layer in range(100)}, table(costs), table(10**6 - costs), budget)
    assert (found.cost, found.sensitivity) == (budget, 100 * 10**6 - budget)


def test_more_than_can_be_told_apart(monkeypatch):
    rng = np.random.default_rng(2)
    costs = rng.random((30, 5))
    monkeypatch.setattr(knapsack, "_WIDTHS", (4, 16))
    message = "assign must have at most 16 combinations of 30 layers to tell apart, not more: round costs"
    with pytest.raises(ValueError, match=f"^{message} and sensitivities to fewer digits$"):
        harms = table(1 - costs + 0.01 * rng.random((30, 5)))
        assign({layer: range(5) for layer in range(30)}, table(costs), harms, 15.0)


def test_of_equals_the_cheapest_and_the_same_each_time():
    choices = {layer: ["a", "b", "c"] for layer in range(40)}
    found = assign(
        choices, lambda layer, choice: "cab".index(choice), lambda layer, choice: 1.0 if choice == "c" else 0.0, 60
    )
    assert set(found.choices.values()) == {"a"} and (found.cost, found.sensitivity) == (40, 0)
    halves = [assign(choices, lambda layer, choice: 1, lambda layer, choice: layer % 3, 40) for _ in range(2)]
    assert halves[0] == halves[1] and halves[0][7] == "a"


def test_layers_and_choices_are_any_hashables_and_costs_functions():
    shapes = {("block", 0): LayerShape(macs=1000, weights=100), ("block", 1): LayerShape(macs=10, weights=5000)}
    choices = {layer: [Bits(8, 8), Bits(4, 8), Bits(4, 4)] for layer in shapes}
    harm = {(layer, bits): 64 - bits.weight_bits * bits.activation_bits for layer in shapes for bits in choices[layer]}
    found = assign(choices, memory(shapes), harm, 8 * 100 + 4 * 5000)
    assert dict(found.choices) == {("block", 0): Bits(8, 8), ("block", 1): Bits(4, 8)} and found.cost == 20800
    found = assign(choices, bit_operations(shapes), harm, 16 * 1000 + 64 * 10)
    assert dict(found.choices) == {("block", 0): Bits(4, 4), ("block", 1): Bits(8, 8)}
    with pytest.raises(ValueError, match=r"^shapes must have an entry for layer 'head'$"):
        memory(shapes)("head", Bits(8, 8))


def flat(layer, choice):
    return 2


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (({"a": [1]}, flat, flat, 1), ValueError, "assign budget must be at least 2, the least cost there is, not 1"),
        (({}, flat, flat, -1), ValueError, "assign budget must be at least 0, the least cost there is, not -1"),
        (({"a": []}, flat, flat, 1), ValueError, "assign choices of layer 'a' must be at least one"),
        (
            ([("a", 1)], flat, flat, 1),
            TypeError,
            "assign choices must be a mapping of layers to their choices, not [('a', 1)]",
        ),
        (
            ({"a": [1]}, {("a", 2): 1}, flat, 1),
            ValueError,
            "assign cost must have an entry for layer 'a', choice 1",
        ),
        (
            ({"a": [1]}, flat, 3, 1),
            TypeError,
            "assign sensitivity must be a function or a mapping of (layer, choice), not 3",
        ),
        (
            ({"a": [1]}, flat, {("a", 1): float("nan")}, 2),
            ValueError,
            "assign sensitivity of layer 'a', choice 1 must be finite, not nan",
        ),
        (
            ({"a": [1]}, {("a", 1): True}, flat, 2),
            TypeError,
            "assign cost of layer 'a', choice 1 must be a number, not True",
        ),
        (({"a": [1]}, flat, flat, "2"), TypeError, "assign budget must be a number, not '2'"),
        (({"a": [1]}, flat, flat, 10**400), ValueError, f"assign budget must be finite, not 1{'0' * 59}...{'0' * 17}"),
        (
            ({"a": [1], "b": [1]}, {("a", 1): 2**53, ("b", 1): 1}, flat, 2),
            ValueError,
            f"assign cost must add up to at most 2^53, not {2**53 + 1}; or be floats",
        ),
    ],
    ids=["budget", "none", "empty", "list", "entry", "kind", "nan", "bool", "text", "huge", "sum"],
)
def test_refuses(arguments, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        assign(*arguments)


def test_refuses_another_limit():
    with pytest.raises(ValueError, match=r"^assign limit must be cost or sensitivity, not 'area'$"):
        assign({}, flat, flat, 1, limit="area")
