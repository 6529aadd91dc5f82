"""The exact fit: a dynamic programme over breakpoints with the best quantized line of each segment.

Breakpoints that part the codes alike at every scale are one boundary. A path of N spans from the
first boundary to the last is a table; its error is the sum of its spans' errors (Bellman, "On the
approximation of curves by line segments using dynamic programming", CACM 4(6), 1961). Least-squares
lines bound the quantized ones from below, so only spans that some path under a known error can use
get the search for quantized coefficients.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hwlut.fit.boundaries import Boundaries, Table
from hwlut.fit.coded import coded
from hwlut.fit.continuous import continuous
from hwlut.fit.formats import formats
from hwlut.fit.lines import Moments
from hwlut.fit.minimax import minimax
from hwlut.fit.objective import Problem, Solution
from hwlut.fit.slopes import Slopes, closest
from hwlut.fit.spans import Spans
from hwlut.fixed import Fixed

__all__ = ["Optimal", "descend", "least_squares_path"]

_TOLERANCE = 1e-10
"""Paths whose errors differ by less than this part are equal; the one of lowest breakpoints is taken."""

_FEW = 128
"""Boundaries that are searched at a time before pairs of them are dropped."""

_MANY = 1 << 22
"""Spans beyond which a search takes seconds and gigabytes."""


@dataclass(frozen=True)
class Optimal:
    """The table of least error, or of the least of another objective.

    First a good table, the best of all near it, whose error then drops nearly all spans from the
    search of everything. Where more than some four million spans are left (wide inputs with coarse
    slopes), the good table is returned, and not certified.

    A fraction of "auto" is the finest that holds the coefficients of a good least-squares table,
    or one bit more or less, whichever has the lowest error; of equal ones the smaller. For objective
    "code" it is the first of these.
    """

    name: ClassVar[str] = "optimal"
    settings: ClassVar[dict[str, Any]] = {}

    def __call__(self, problem: Problem) -> Solution:
        if problem.continuous:
            return continuous(problem, self(replace(problem, continuous=False)))
        boundaries = Boundaries.of(problem)
        moments = boundaries.moments
        path = least_squares_path(moments, problem.segments)
        lines = moments.lines(path[:-1], path[1:])
        slopes, intercepts = formats(problem, lines.slope, lines.intercept)
        if problem.objective == "max":
            return boundaries.solution(minimax(problem, boundaries, slopes, intercepts), certified=True)
        if problem.objective == "code":
            return boundaries.solution(*coded(problem, boundaries, slopes[-2:][0], intercepts[-2:][0]))
        table = descend(moments, path, slopes, intercepts)
        if table.error <= moments.noise:
            return boundaries.solution(table, certified=True)
        limit = table.error * (1 + _TOLERANCE)
        useful = _useful_spans(moments.rough(), problem.segments, limit)
        if useful.step == 1:
            best = _best_table(moments, useful.spans, problem.segments, slopes, intercepts, table.error)
            return boundaries.solution(best, certified=True)
        solution = boundaries.solution(table, certified=False)
        return replace(solution, lower_bound=max(0.0, useful.bound), bound_step=useful.step)


def _near(path: np.ndarray, count: int, step: int) -> np.ndarray:
    """Some of `count` boundaries, `step` apart, around those of `path`; all where they are few."""
    few = min(max(_FEW, 16 * len(path)), 8 * _FEW)
    if count <= few:
        return np.arange(count)
    around = step * np.arange(-few // (2 * len(path)), few // (2 * len(path)) + 1)
    return np.unique(np.concatenate([[0, count - 1], np.clip(path[:, None] + around, 0, count - 1).ravel()]))


def least_squares_path(moments: Moments, segments: int) -> np.ndarray:
    """Boundaries, first and last included, of a good unquantized table, found from coarse to fine."""
    count = len(moments)
    step = math.ceil(count / max(_FEW, 4 * segments))
    kept = np.unique(np.append(np.arange(0, count, step), count - 1))
    while True:
        spans = Spans(len(kept), *np.triu_indices(len(kept)))
        costs = moments.errors(kept[spans.left], kept[spans.right])
        path = kept[spans.path(costs, spans.forward(costs, segments), 0.0)]
        if step == 1:
            return path
        step = max(1, step // 8)
        kept = _near(path, count, step)


def descend(
    moments: Moments, path: np.ndarray, slopes: list[Slopes], intercepts: list[Fixed], steps: tuple[int, ...] = (1,)
) -> Table:
    """A table that is the best of those whose boundaries lie near its own, so many steps apart, reached from `path`."""
    lines, no_limit = moments.lines(path[:-1], path[1:]), np.full(len(path) - 1, np.inf)
    error = min(float(closest(lines, *pair, no_limit)[0].sum()) for pair in itertools.product(slopes, intercepts))
    while True:
        before = error
        for step in steps:
            kept = np.union1d(_near(path, len(moments), step), path)
            near = moments.at(kept)
            useful = _useful_spans(near.rough(), len(path) - 1, error * (1 + _TOLERANCE))
            assert useful.step == 1, "few boundaries are kept"
            found = _best_table(near, useful.spans, len(path) - 1, slopes, intercepts, error)
            table = replace(found, path=kept[found.path])
            path, error = table.path, table.error
        if error >= before * (1 - _TOLERANCE):
            return table


def _best_table(
    moments: Moments, spans: Spans, segments: int, slopes: list[Slopes], intercepts: list[Fixed], bound: float
) -> Table:
    """The best table in any of the formats, of those `spans`, among which one of error `bound` is."""
    lines = moments.lines(spans.left, spans.right)
    best = None
    for slope in slopes:
        costs = lines.rss + lines.spread * slope.gap(lines.slope) ** 2
        useful, slack = spans.useful(costs, segments, bound * (1 + _TOLERANCE) + moments.noise)
        part = Spans(len(moments), spans.left[useful], spans.right[useful])
        for intercept in intercepts:
            errors, k, b = closest(lines[useful], slope, intercept, slack[useful])
            errors[part.left == part.right] = 0
            forward = part.forward(errors, segments)
            error = float(forward[-1, -1])
            if error < (np.inf if best is None else best.error * (1 - _TOLERANCE)):
                path = part.path(errors, forward, _TOLERANCE * bound)
                chosen = part.find(path)
                best = Table(error, path, slope.format, k[chosen], intercept, b[chosen])
                bound = min(bound, error)
    assert best is not None
    return best


@dataclass(frozen=True)
class _Useful:
    """Spans from one to another `step`-th boundary that a good table can use; no table is below `bound`."""

    spans: Spans
    step: int
    bound: float


def _useful_spans(moments: Moments, segments: int, limit: float) -> _Useful:
    """The spans that a table of at most error `limit` can use, in steps of 1 unless they are very many.

    First every `step`-th boundary stands for those since the one before, so that a span from one to
    another surely holds the points from the first to the one before the second; pairs which even
    so cost too much are dropped, the others split in steps a quarter as wide.
    """
    last = len(moments) - 1
    step = 4 ** max(0, math.ceil(math.log(last / _FEW, 4)))
    left, right = np.triu_indices(-(-last // step) + 1)
    while True:
        nodes = np.minimum(step * np.arange(-(-last // step) + 1), last)
        costs = moments.errors(nodes[left], nodes[np.maximum(right - (step > 1), left)])
        spans = Spans(len(nodes), left, right)
        useful, _ = spans.useful(costs, segments, limit + moments.noise)
        left, right = left[useful], right[useful]
        if step == 1 or 16 * len(left) > _MANY:
            bound = float(spans.forward(costs, segments)[-1, -1]) - moments.noise
            return _Useful(Spans(len(nodes), left, right), step, bound)
        left, right = _split(left, right, -(-last // (step // 4)))
        step //= 4


def _split(left: np.ndarray, right: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of nodes up to `last` of which four and four make a pair of `left` and `right`, in order."""
    lefts = (4 * left[:, None, None] - np.arange(4)[:, None]).repeat(4, axis=2)
    rights = (4 * right[:, None, None] - np.arange(4)).repeat(4, axis=1)
    real = (lefts >= 0) & (lefts <= rights) & (rights <= last)
    keys = np.sort(lefts[real] * (last + 1) + rights[real])
    return keys // (last + 1), keys % (last + 1)
