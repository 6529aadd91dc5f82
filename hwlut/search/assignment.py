"""The multiple-choice knapsack: one choice for each layer, the best under a budget, exactly."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from hwlut.fields import shorten
from hwlut.search.cost import Cost
from hwlut.search.knapsack import solve

__all__ = ["Assignment", "assign", "costs_within", "numbers_of"]

_Numbers = Cost | Mapping[tuple[Any, Any], float]
_REACH = 1 << 53


@dataclass(frozen=True)
class Assignment:
    """Result of `assign`.

    choices: the choice of every layer. cost, sensitivity: their sums. budget: the most that `limit`, "cost" or
    "sensitivity", could be.
    """

    choices: Mapping[Hashable, Any]
    cost: float
    sensitivity: float
    budget: float
    limit: str

    def __getitem__(self, layer: Hashable) -> Any:
        return self.choices[layer]


def assign(
    choices: Mapping[Any, Iterable[Any]],
    costs: _Numbers,
    sensitivities: _Numbers,
    budget: float,
    *,
    limit: str = "cost",
) -> Assignment:
    """One choice for each layer, of least total sensitivity with a total cost of at most `budget`.

    Parameters
    ----------
    choices: of every layer, any hashable, the choices it has, any hashables.
    costs, sensitivities: the number, int or finite float of either sign, of each layer and choice: a `Cost`, or a
        mapping of (layer, choice).
    budget: the most that the sum of what `limit` names may be, itself included.
    limit: "cost"; or "sensitivity", for the least total cost with a total sensitivity of at most `budget`.

    The optimum is exact. Sums of integers are; floats are added in float64 in the order of the layers, and no other
    choice has less by that sum. Of equal optima it is one with the least of what is limited, the same each time.

    The Pareto front of the first layers grows by a layer at a time (Nemhauser and Ullmann, 1969, "Discrete dynamic
    programming and capital allocation"). A point is left out where the linear relaxation of the layers to come
    (Sinha and Zoltners, 1979, "The multiple-choice knapsack problem") shows that it leads to nothing better than an
    assignment known already.

    Raises ValueError where no assignment meets the budget, with the least that one needs.
    """
    bound, options = _bound(budget, limit), _options(choices)
    held, sought = (costs, sensitivities) if limit == "cost" else (sensitivities, costs)
    other = "sensitivity" if limit == "cost" else "cost"
    weights = numbers_of(f"assign {limit}", options, held)
    values = numbers_of(f"assign {other}", options, sought)
    _check_least(weights, bound, limit)
    picked = solve(weights, values, float(bound))
    chosen = {layer: options[layer][index] for layer, index in zip(options, picked)}
    spent = _total(row[index] for row, index in zip(weights, picked))
    reached = _total(row[index] for row, index in zip(values, picked))
    assert spent <= float(bound)
    cost, sensitivity = (spent, reached) if limit == "cost" else (reached, spent)
    return Assignment(MappingProxyType(chosen), cost, sensitivity, bound, limit)


def costs_within(
    choices: Mapping[Any, Iterable[Any]], costs: _Numbers, budget: float, limit: str
) -> dict[tuple[Any, Any], float]:
    """The costs that `assign` takes, by (layer, choice); raises what it raises whatever the sensitivities are."""
    bound, options = _bound(budget, limit), _options(choices)
    rows = numbers_of("assign cost", options, costs)
    if limit == "cost":
        _check_least(rows, bound, limit)
    return {(layer, choice): number for layer, row in zip(options, rows) for choice, number in zip(options[layer], row)}


def _bound(budget: float, limit: str) -> float:
    if limit not in ("cost", "sensitivity"):
        raise ValueError(f"assign limit must be cost or sensitivity, not {shorten(limit)}")
    return _number("assign budget", budget)


def _check_least(weights: list[list[float]], bound: float, limit: str) -> None:
    least = _total(min(row) for row in weights)
    if least > float(bound):
        raise ValueError(f"assign budget must be at least {least}, the least {limit} there is, not {bound}")


def _options(choices: Mapping[Any, Iterable[Any]]) -> dict[Any, list[Any]]:
    if not isinstance(choices, Mapping):
        raise TypeError(f"assign choices must be a mapping of layers to their choices, not {shorten(choices)}")
    options = {layer: list(given) for layer, given in choices.items()}
    for layer, given in options.items():
        if not given:
            raise ValueError(f"assign choices of layer {shorten(layer)} must be at least one")
    return options


def numbers_of(label: str, options: Mapping[Any, Sequence[Any]], table: _Numbers) -> list[list[float]]:
    """What `table` says of each layer's choices: all ints, or all floats. Raises as `assign`, of `label`."""
    rows = [
        [_number(label, _entry(label, table, (layer, choice)), layer, choice) for choice in choices]
        for layer, choices in options.items()
    ]
    if not all(isinstance(number, int) for row in rows for number in row):
        rows = [[float(number) for number in row] for row in rows]
    reach = _total(max(map(abs, row)) for row in rows)
    if isinstance(reach, int) and reach > _REACH:
        raise ValueError(f"{label} must add up to at most 2^53, not {reach}; or be floats")
    return rows


def _entry(label: str, table: _Numbers, key: tuple[Any, Any]) -> Any:
    if callable(table):
        return table(*key)
    if not isinstance(table, Mapping):
        raise TypeError(f"{label} must be a function or a mapping of (layer, choice), not {shorten(table)}")
    if key not in table:
        raise ValueError(f"{label} must have an entry for layer {shorten(key[0])}, choice {shorten(key[1])}")
    return table[key]


def _number(label: str, value: Any, *of: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{_told(label, *of)} must be a number, not {shorten(value)}")
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise ValueError(f"{_told(label, *of)} must be finite, not {shorten(value)}")
    return int(value) if isinstance(value, Integral) else real


def _told(label: str, *of: Any) -> str:
    """The label, and the layer and choice that it is of, where given: in words only where they are to be read."""
    return "{} of layer {}, choice {}".format(label, *map(shorten, of)) if of else label


def _total(numbers: Iterable[float]) -> float:
    """Their sum from left to right, as the search adds them; `sum` compensates in newer Pythons."""
    total: float = 0
    for number in numbers:
        total += number
    return total
