"""The search behind `assign`: Pareto fronts of the first layers, bounded by the linear relaxation of the others.

Fronts of partial sums are of Nemhauser and Ullmann, "Discrete dynamic programming and capital allocation" (1969);
the relaxation is of Sinha and Zoltners, "The multiple-choice knapsack problem" (1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

__all__ = ["solve"]

_WIDTHS = (1 << 9, 1 << 12, 1 << 15, 1 << 18, 1 << 21)
_TAIL = 1 << 14
_GOLDEN = (math.sqrt(5) - 1) / 2


def solve(weights: Sequence[Sequence[float]], values: Sequence[Sequence[float]], budget: float) -> list[int]:
    """The place in each row of the choice by which the values add up to the least, and the weights to `budget` at most.

    Rows are added in float64, in their order; of assignments of equal value one of least weight is taken. There must
    be one within the budget.

    Each pass keeps so many points of a front as its width says, those of the lowest bound. What it finds bounds the
    next and wider one; a pass that had to drop none of them is the proof. Raises ValueError where the widest must.
    """
    if not weights:
        return []
    problem = _Problem.of(weights, values, budget)
    best: _Point | None = None
    for width in _WIDTHS:
        best, whole = problem.run(width, best)
        if whole:
            assert best is not None
            return [int(kept[place]) for kept, place in zip(problem.kept, best.picked)]
    raise ValueError(
        f"assign must have at most {_WIDTHS[-1]} combinations of {len(weights)} layers to tell apart, not more: "
        "round costs and sensitivities to fewer digits"
    )


@dataclass(frozen=True)
class _Point:
    weight: float
    value: float
    picked: list[int]


@dataclass(frozen=True)
class _Axis:
    """The weights or the values.

    rows: float64, one array a layer. step: every sum is a multiple of it; 0 where sums are rounded. slack: more than
    the rounding errors of any sum.
    """

    rows: list[np.ndarray]
    step: float
    slack: float

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "_Axis":
        arrays = [np.array(row, dtype=np.float64) for row in rows]
        reach = math.fsum(float(np.abs(array).max()) for array in arrays)
        slack = 4 * float(np.finfo(np.float64).eps) * reach * (8 + sum(map(len, arrays)))
        exact = [number.as_integer_ratio() for row in rows for number in row]
        finest = max(denominator for _, denominator in exact)  # a power of two, as all are
        if Fraction(reach) * finest > 1 << 53:
            return cls(arrays, 0.0, slack)
        step = math.gcd(*(numerator * (finest // denominator) for numerator, denominator in exact))
        return cls(arrays, step / finest, slack)

    def total(self, picked: list[int]) -> float:
        """The sum of the numbers at these places, one a row, from left to right."""
        return float(np.cumsum([row[place] for row, place in zip(self.rows, picked)])[-1])


@dataclass(frozen=True)
class _Tail:
    """The front of the layers from `start` on; origins: of each of them, last one first, where its points are from."""

    start: int
    weights: np.ndarray
    values: np.ndarray
    origins: list[np.ndarray]
    counts: list[int]

    @classmethod
    def of(cls, weights: list[np.ndarray], values: list[np.ndarray]) -> "_Tail":
        weight, value = np.zeros(1), np.zeros(1)
        origins: list[np.ndarray] = []
        start = len(weights)
        while start and len(weight) * len(weights[start - 1]) <= _TAIL:
            start -= 1
            weight = np.add.outer(weight, weights[start]).ravel()
            value = np.add.outer(value, values[start]).ravel()
            origins.append(_front(weight, value))
            weight, value = weight[origins[-1]], value[origins[-1]]
        return cls(start, weight, value, origins, [len(row) for row in reversed(weights[start:])])

    def picked(self, end: int) -> list[int]:
        """The choices that lead to point `end`, from layer `start` on."""
        picked = []
        for origin, count in zip(reversed(self.origins), reversed(self.counts)):
            end, choice = divmod(int(origin[end]), count)
            picked.append(choice)
        return picked


@dataclass(frozen=True)
class _Problem:
    """Both axes, without dominated choices.

    kept: the places in the rows given. relaxed: for the layers from each on, the linear relaxation. tail: the front
    of the last layers, with which assignments are completed early.
    """

    weights: _Axis
    values: _Axis
    kept: list[np.ndarray]
    relaxed: list[tuple[np.ndarray, np.ndarray]]
    tail: _Tail
    budget: float

    @classmethod
    def of(cls, weights: Sequence[Sequence[float]], values: Sequence[Sequence[float]], budget: float) -> "_Problem":
        kept = [_front(np.array(w, dtype=np.float64), np.array(v, dtype=np.float64)) for w, v in zip(weights, values)]
        by_weight = _Axis.of([[row[place] for place in places] for row, places in zip(weights, kept)])
        by_value = _Axis.of([[row[place] for place in places] for row, places in zip(values, kept)])
        relaxed, tail = _relaxations(by_weight.rows, by_value.rows), _Tail.of(by_weight.rows, by_value.rows)
        return cls(by_weight, by_value, kept, relaxed, tail, budget)

    def run(self, width: int, best: _Point | None) -> tuple[_Point | None, bool]:
        """The best assignment found, `best` included, and whether there can be no better."""
        weight, value = np.zeros(1), np.zeros(1)
        origins: list[np.ndarray] = []
        whole = True
        for layer, (own_weights, own_values) in enumerate(zip(self.weights.rows, self.values.rows)):
            if layer == self.tail.start:
                best = self._better(best, self._completed(weight, value, origins))
            weight = np.add.outer(weight, own_weights).ravel()
            value = np.add.outer(value, own_values).ravel()
            bound = self._bound(layer + 1, weight, value, self.budget)
            chosen = np.flatnonzero(self._promising(layer + 1, weight, value, bound, best))
            chosen = chosen[_front(weight[chosen], value[chosen])]
            if len(chosen) > width:
                whole = False
                chosen = chosen[self._sampled(bound[chosen], width)]
            if not len(chosen):
                return best, whole
            weight, value = weight[chosen], value[chosen]
            origins.append(chosen)
        for last in np.flatnonzero(weight <= self.budget)[-1:]:  # a front's values descend
            best = self._better(best, self._picked(origins, int(last)))
        return best, whole

    def _completed(self, weight: np.ndarray, value: np.ndarray, origins: list[np.ndarray]) -> list[int]:
        """The choices of the best pair of a point before the tail and an end of it."""
        ends = np.searchsorted(self.tail.weights, self.budget - weight, side="right") - 1
        sums = np.where(ends >= 0, value + self.tail.values[ends], math.inf)
        point = int(sums.argmin())
        return self._picked(origins, point) + self.tail.picked(int(ends[point]))

    def _better(self, best: _Point | None, picked: list[int]) -> _Point | None:
        """`best`, or the assignment `picked` if that is better and within the budget."""
        weight, value = self.weights.total(picked), self.values.total(picked)
        if weight > self.budget or (best is not None and (value, weight) >= (best.value, best.weight)):
            return best
        return _Point(weight, value, picked)

    def _bound(self, layer: int, weight: np.ndarray, value: np.ndarray, budget: float) -> np.ndarray:
        """At most what each point can come to within `budget`; infinite where the lightest choices exceed it."""
        weights, values = self.relaxed[layer]
        return value + np.interp(budget - weight + self.weights.slack, weights, values, left=math.inf)

    def _promising(
        self, layer: int, weight: np.ndarray, value: np.ndarray, bound: np.ndarray, best: _Point | None
    ) -> np.ndarray:
        """Which points may lead to less value than `best`, or to as much with less weight."""
        if best is None:
            return np.isfinite(bound)
        less = bound <= best.value - self.values.step + self.values.slack
        lighter = self._bound(layer, weight, value, best.weight - self.weights.step) <= best.value + self.values.slack
        return less | lighter

    def _sampled(self, bound: np.ndarray, width: int) -> np.ndarray:
        """The places of the `width` lowest bounds, ascending; of those that rounding may have told apart, a spread."""
        place = np.arange(len(bound))
        level = np.floor((bound - bound.min()) / (self.values.slack or 1))
        lowest = np.lexsort((place * _GOLDEN % 1, level))[:width]
        if 0 not in lowest:
            lowest[-1] = 0  # the lightest leads to an assignment in any case
        return np.sort(lowest)

    def _picked(self, origins: list[np.ndarray], last: int) -> list[int]:
        """The choices that lead to point `last` of the last front."""
        picked = []
        for origin, row in zip(reversed(origins), self.weights.rows[len(origins) - 1 :: -1]):
            last, choice = divmod(int(origin[last]), len(row))
            picked.append(choice)
        return picked[::-1]


def _front(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The places of the points that no other is at most as heavy and as dear as: ascending weights, descending values.

    Of equal points the first counts.
    """
    order = np.lexsort((values, weights))
    least = np.minimum.accumulate(values[order])
    return order[np.concatenate([[True], least[1:] < least[:-1]])] if len(order) else order


def _relaxations(weights: list[np.ndarray], values: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the layers from each on, and for none: the least sum of values as a function of the sum of weights, where
    choices may be mixed in any proportion: a convex polygon's corners.

    It is made of the edges of each layer's lower convex hull, the steepest first.
    """
    edges = [
        (layer, weight, value) for layer, row in enumerate(zip(weights, values)) for weight, value in _hull_edges(*row)
    ]
    table = np.array(edges, dtype=np.float64).reshape(-1, 3)
    with np.errstate(over="ignore"):  # a slope beyond all numbers is steeper than they are
        slopes = table[:, 2] / table[:, 1]
    table = table[np.argsort(slopes, kind="stable")]
    relaxed = []
    for layer in range(len(weights) + 1):
        later = table[table[:, 0] >= layer]
        start = math.fsum(row[0] for row in weights[layer:]), math.fsum(row[0] for row in values[layer:])
        relaxed.append((np.cumsum([start[0], *later[:, 1]]), np.cumsum([start[1], *later[:, 2]])))
    return relaxed


def _hull_edges(weights: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """Width and (negative) height of the edges of a front's lower convex hull."""
    hull: list[tuple[float, float]] = []
    for point in zip(weights.tolist(), values.tolist()):
        while len(hull) > 1 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(right[0] - left[0], right[1] - left[1]) for left, right in zip(hull, hull[1:])]


def _above(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or above the line from `left` to `right`."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise >= (right[1] - left[1]) * (middle[0] - left[0])
