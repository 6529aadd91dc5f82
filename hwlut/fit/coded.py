"""The table whose result codes are nearest to those of the function.

The cost of a code is the squared difference of its result code, which is no polynomial of the line's
coefficients; so every line is tried. The prefix sums of each line's costs at the boundaries turn the
best path into a dynamic programme over lines: D[n, j] is the least, over lines, of the line's sum at j
and the least, over i <= j, of D[n - 1, i] minus its sum at i.
"""

import numpy as np

from hwlut.fit.boundaries import Boundaries, Table
from hwlut.fit.lines import step
from hwlut.fit.objective import Problem
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed
from hwlut.units.pwl import Pwl

__all__ = ["coded"]

_SUMS = 40_000_000
_RESULTS = 1 << 28
_BLOCK = 1 << 20


def coded(problem: Problem, boundaries: Boundaries, slopes: Slopes, intercept: Fixed) -> tuple[Table, bool]:
    """The table of least cost, and whether every line was tried.

    Where the lines are too many, only every 2nd, 4th, ... intercept is, and the best one between
    them is then taken for each segment.
    """
    unit = problem.line(slopes.format, intercept)
    costs = _Costs(problem, boundaries, unit)
    k, low, high = _lines(problem, slopes, intercept, unit)
    stride = 1
    while True:
        counts = high // stride - -(-low // stride) + 1
        total = int(counts.clip(0).sum())
        if total * len(boundaries.cuts) <= _SUMS and total * len(problem.points.x) <= _RESULTS:
            break
        stride *= 2
        if stride > intercept.max:
            raise ValueError(
                f"fit objective 'code' must have fewer than {len(problem.points.x)} inputs over all scales"
            )
    kept = [np.arange(-(-a // stride), b // stride + 1) * stride for a, b in zip(low, high)]
    lines = np.stack([np.repeat(k, list(map(len, kept))), np.concatenate(kept)])
    sums = costs.sums(*lines)
    path, chosen = _cheapest(sums, problem.segments)
    k, b = lines[:, chosen]
    if stride > 1:
        b = np.array([costs.refined(*part, stride, intercept) for part in zip(k, b, path, path[1:])])
    error = sum(float(np.diff(costs.sums(*part)[0, list(ends)])[0]) for *part, ends in _segments(k, b, path))
    return Table(error, path, slopes.format, k, intercept, b), stride == 1


def _segments(k: np.ndarray, b: np.ndarray, path: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, tuple[int, int]]]:
    return [(k[i : i + 1], b[i : i + 1], (path[i], path[i + 1])) for i in range(len(k))]


def _lines(problem: Problem, slopes: Slopes, intercept: Fixed, unit: Pwl) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope codes, and the lowest and highest intercept of each that can be of use.

    A line one output step above (below) the function at every code gains from going down (up).
    """
    points, one = problem.points, step(intercept)
    wanted = [points.y - k * step(slopes.format) * points.x for k in slopes.codes]
    margin = 2 * max(2.0 ** -unit.output_format(s).frac for s in problem.scales)
    low = np.array([np.floor((level.min() - margin) / one) for level in wanted])
    high = np.array([np.ceil((level.max() + margin) / one) for level in wanted])
    return slopes.codes, *(np.clip(end, intercept.min, intercept.max).astype(np.int64) for end in (low, high))


class _Costs:
    """Costs of lines over a problem's points, in the boundaries' order."""

    def __init__(self, problem: Problem, boundaries: Boundaries, unit: Pwl):
        self.unit = unit
        self.cuts = boundaries.cuts
        order, points = boundaries.order, problem.points
        self.wanted = problem.wanted_codes(unit)[order]
        self.code, self.q, self.weight = points.code[order], points.q[order], points.weight[order]
        self.scales = [(s, np.flatnonzero(points.scale[order] == s)) for s in problem.scales]

    def sums(self, k: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(lines, boundaries) sums of the costs of the points left of each boundary."""
        result = np.zeros((len(k), len(self.cuts)))
        rows = max(1, _BLOCK // len(self.wanted))
        for start in range(0, len(k), rows):
            block = slice(start, start + rows)
            costs = np.empty((len(k[block]), len(self.wanted)))
            for s, here in self.scales:
                acc = self.unit.accumulate(k[block, None], b[block, None], self.code[here], self.q[here], s)
                difference = self.unit.rounded(acc, s) - self.wanted[here]
                costs[:, here] = difference * difference * self.weight[here]
            result[block, 1:] = np.add.reduceat(costs, self.cuts[:-1], axis=1).cumsum(axis=1)
        return result

    def refined(self, k: int, b: int, left: int, right: int, stride: int, intercept: Fixed) -> int:
        """The best intercept of a segment less than `stride` from `b`, the nearest of equal ones."""
        tried = np.arange(max(intercept.min, b - stride + 1), min(intercept.max, b + stride - 1) + 1)
        tried = tried[np.argsort(abs(tried - b), kind="stable")]
        sums = self.sums(np.full(len(tried), k), tried)
        return int(tried[np.argmin(sums[:, right] - sums[:, left])])


def _cheapest(sums: np.ndarray, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest path of so many segments, and the line of each."""
    count, last = sums.shape[0], sums.shape[1] - 1
    rows = max(1, _BLOCK // sums.shape[1])
    least = [np.where(np.arange(last + 1) == 0, 0.0, np.inf)]
    lines = []
    for _ in range(segments):
        best, line = np.full(last + 1, np.inf), np.zeros(last + 1, dtype=np.int64)
        for start in range(0, count, rows):
            part = sums[start : start + rows]
            totals = np.minimum.accumulate(least[-1] - part, axis=1) + part
            winner = totals.argmin(axis=0)
            cost = totals[winner, np.arange(last + 1)]
            better = cost < best
            best[better], line[better] = cost[better], winner[better] + start
        least.append(best)
        lines.append(line)
    path, chosen = [last], []
    for before, line in zip(least[-2::-1], lines[::-1]):
        at = path[-1]
        chosen.append(line[at])
        path.append(int(np.argmin(before[: at + 1] - sums[line[at], : at + 1])))
    return np.array(path[::-1]), np.array(chosen[::-1])
