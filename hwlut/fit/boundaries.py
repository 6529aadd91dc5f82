"""The places at which breakpoints part the codes of all scales, and the way back to a table."""

from dataclasses import dataclass

import numpy as np

from hwlut.fit.lines import Moments
from hwlut.fit.objective import Problem, Solution
from hwlut.fixed import Fixed

__all__ = ["Boundaries", "Table"]


@dataclass(frozen=True)
class Table:
    """A table over boundaries: segment i spans those from path[i] to path[i + 1]."""

    error: float
    path: np.ndarray
    slope: Fixed
    slopes: np.ndarray
    intercept: Fixed
    intercepts: np.ndarray


@dataclass(frozen=True)
class Boundaries:
    """All breakpoints from first[k] to last[k] part the codes alike and are boundary k.

    order: the problem's points as breakpoints part them; boundary k stands before the cuts[k]-th.
    moments: of the points, cut at the boundaries.
    """

    first: np.ndarray
    last: np.ndarray
    order: np.ndarray
    cuts: np.ndarray
    moments: Moments

    @classmethod
    def of(cls, problem: Problem) -> "Boundaries":
        """Of the codes that count in `problem`."""
        points = problem.points
        shift = problem.breakpoint_frac - points.scale
        # The lowest breakpoint that rounds half to even to code + 1 at the point's scale.
        above = points.code + 1
        thresholds = np.where(shift > 0, (above << shift) - (1 << np.maximum(shift, 1) >> 1) + (above & 1), above)
        order = np.lexsort((points.x, thresholds))
        lowest, counts = np.unique(thresholds, return_counts=True)
        first = np.concatenate([[np.min(points.code << shift)], lowest])
        last = np.concatenate([lowest - 1, lowest[-1:]])
        cuts = np.concatenate([[0], np.cumsum(counts)])
        moments = Moments.of(points.x[order], points.y[order], points.weight[order], cuts)
        return cls(first, last, order, cuts, moments)

    def at(self, breakpoints: np.ndarray) -> np.ndarray:
        """The boundary of each breakpoint code."""
        return np.searchsorted(self.first[1:], breakpoints, side="right")

    def solution(self, table: Table, certified: bool) -> Solution:
        """The integers of `table`, its breakpoints as round as their boundaries allow."""
        path = table.path[1:-1]
        return Solution(
            breakpoints=tuple(map(int, _roundest(self.first[path], self.last[path]))),
            slope=table.slope,
            slopes=_over_empty(table.slopes, table.path),
            intercept=table.intercept,
            intercepts=_over_empty(table.intercepts, table.path),
            certified=certified,
        )


def _roundest(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The integer of the most trailing zeros in each range [first, last]."""
    result = last.copy()
    for zeros in range(1, 63):
        rounder = last >> zeros << zeros
        result = np.where(rounder >= first, rounder, result)
    return result


def _over_empty(codes: np.ndarray, path: np.ndarray) -> tuple[int, ...]:
    """`codes` where a segment without points takes those of the next one with points, else the last's."""
    live = np.flatnonzero(np.diff(path))
    source = live[np.minimum(np.searchsorted(live, np.arange(len(codes))), len(live) - 1)]
    return tuple(int(code) for code in codes[source])
