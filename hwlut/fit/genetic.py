"""The genetic fit: breakpoints evolve, lines are chords of the function between them.

As published with GQA-LUT (Dong et al., DAC 2024, arXiv 2403.19591), or with the error of the
quantized table itself as what counts, and the result polished.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import ClassVar

import numpy as np

from hwlut.files import digest_of
from hwlut.fit.boundaries import Boundaries, Table
from hwlut.fit.evolution import Evolution
from hwlut.fit.formats import formats
from hwlut.fit.lines import Moments, step
from hwlut.fit.objective import Problem, Solution
from hwlut.fit.optimal import descend, least_squares_path
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed
from hwlut.functions import Function

__all__ = ["Chords", "Genetic"]

_GRID = 0.01
"""Distance of the points on which a published fit is judged."""

_STEPS = (1, 2, 4, 8)
"""How many boundaries apart the tables are that polishing compares, in turn."""


@dataclass(frozen=True, kw_only=True)
class Genetic(Evolution):
    """The genetic method; `hwlut.fit.evolution.Evolution` has the settings of the search itself.

    A fraction of "auto" is the finest that holds the coefficients of a good least-squares table.
    The result depends on the seed of the problem, and is never certified.

    Parameters
    ----------
    search: range of the breakpoints, by default that of the codes (of |q| under a symmetry).
    anchors: outer ends of the first and last chord, at or beyond those of `search`, the default.
    x_range: None judges by the problem's own objective: the quantized table at every scale. A range
        (low, high) judges as published: by the mean squared error over arange(low, high, 0.01), at
        breakpoints that are not rounded.
    polish: give each segment its best line, then take the best table near, until none is better.
    """

    name: ClassVar[str] = "genetic"

    search: tuple[float, float] | None = None
    anchors: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None
    polish: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for label in ("search", "anchors", "x_range"):
            if (interval := getattr(self, label)) is not None:
                _check_interval(f"genetic {label}", interval)
        if not isinstance(self.polish, bool):
            raise TypeError(f"genetic polish must be true or false, not {self.polish!r}")

    def __call__(self, problem: Problem) -> Solution:
        if problem.objective != "mse":
            raise ValueError(f"fit method genetic must have objective 'mse', not {problem.objective!r}")
        if problem.continuous:
            raise ValueError("fit continuous must go with method optimal, not genetic")
        boundaries = Boundaries.of(problem)
        moments = boundaries.moments
        near = least_squares_path(moments, problem.segments)
        lines = moments.lines(near[:-1], near[1:])
        slopes, intercepts = formats(problem, lines.slope, lines.intercept)
        points = problem.points
        search = self.search or (float(points.x.min()), float(points.x.max()))
        anchors = self.anchors or search
        if not anchors[0] <= search[0] < search[1] <= anchors[1]:
            raise ValueError(f"genetic search must lie between the anchors {anchors}, not {search}")
        # Of several formats, from coarse to fine, the last clips coefficients and the one before it does not.
        chords = Chords(problem.function, anchors, slopes[-2:][0], intercepts[-2:][0])
        if self.x_range is not None:
            errors = partial(chords.errors, *_published_grid(problem, self.x_range))
        else:
            errors = partial(chords.errors, moments, lambda genes: boundaries.at(_codes(genes, problem)))
        named = digest_of(points.x.tobytes(), points.y.tobytes(), points.weight.tobytes(), problem.function.name)
        genes = self.evolve(errors, problem.segments - 1, search, problem.seed, f"{named} {chords}")[None]

        path = np.concatenate([[0], boundaries.at(_codes(genes[0], problem)), [len(moments) - 1]])
        if self.polish:
            return boundaries.solution(descend(moments, path, slopes, intercepts, _STEPS), certified=False)
        k, b = (codes[0].astype(np.int64) for codes in chords.codes(genes))
        error = float(chords.errors(moments, lambda genes: boundaries.at(_codes(genes, problem)), genes)[0])
        return boundaries.solution(Table(error, path, chords.slopes.format, k, chords.intercept, b), certified=False)


@dataclass(frozen=True)
class Chords:
    """Lines through a function at neighbouring breakpoints, with codes of two formats."""

    function: Function
    anchors: tuple[float, float]
    slopes: Slopes
    intercept: Fixed

    def __str__(self) -> str:
        return f"{self.anchors} {self.slopes.format} {len(self.slopes.codes)} {self.intercept}"

    def codes(self, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(individuals, segments) slope and intercept codes of (individuals, genes) breakpoints."""
        low, high = (np.full((len(genes), 1), anchor) for anchor in self.anchors)
        x = np.concatenate([low, genes, high], axis=1)
        with np.errstate(all="ignore"):
            y = np.nan_to_num(self.function(x))
        run, rise = np.diff(x), np.diff(y)
        slope = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)
        intercept = y[:, :-1] - slope * x[:, :-1]
        b = np.clip(np.rint(intercept / step(self.intercept)), self.intercept.min, self.intercept.max)
        return self.slopes.codes[self.slopes.nearest(slope)], b

    def errors(self, moments: Moments, cut: Callable[[np.ndarray], np.ndarray], genes: np.ndarray) -> np.ndarray:
        """(individuals,) errors over the points of `moments`, where `cut` gives the boundary of each breakpoint."""
        ends = np.zeros((len(genes), 1), dtype=np.int64), np.full((len(genes), 1), len(moments) - 1)
        path = np.concatenate([ends[0], cut(genes), ends[1]], axis=1)
        k, b = self.codes(genes)
        lines = moments.lines(path[:, :-1].ravel(), path[:, 1:].ravel())
        return (
            lines.error(k.ravel() * step(self.slopes.format), b.ravel() * step(self.intercept))
            .reshape(k.shape)
            .sum(axis=1)
        )


def _codes(genes: np.ndarray, problem: Problem) -> np.ndarray:
    """Breakpoint codes nearest to genes."""
    return np.rint(np.ldexp(genes, problem.breakpoint_frac)).astype(np.int64)


def _published_grid(
    problem: Problem, x_range: tuple[float, float]
) -> tuple[Moments, Callable[[np.ndarray], np.ndarray]]:
    """The points of a published fit, each of them a boundary, and where a breakpoint cuts them."""
    x = np.arange(*x_range, _GRID)
    moments = Moments.of(x, problem.targets(x), np.full(len(x), 1 / len(x)), np.arange(len(x) + 1))
    return moments, lambda genes: np.searchsorted(x, genes)


def _check_interval(label: str, interval: object) -> None:
    if (
        not isinstance(interval, Sequence)
        or len(interval) != 2
        or not all(isinstance(end, Real) and math.isfinite(end) for end in interval)
    ):
        raise TypeError(f"{label} must be two numbers, not {interval!r}")
    if not interval[0] < interval[1]:
        raise ValueError(f"{label} must be from a lower to a higher number, not {interval}")
