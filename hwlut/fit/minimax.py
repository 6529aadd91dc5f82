"""The table of least maximum error.

Whether a line stays within a limit on a span is inherited by every part of the span. So the table of
fewest segments within a limit takes the longest possible span each time (Tomek, "Two algorithms for
piecewise-linear continuous approximation of functions of one variable", IEEE Trans. Computers, 1974,
here without continuity and with quantized lines), and the least limit that needs no more segments
than there are is bisected.
"""

from dataclasses import dataclass

import numpy as np

from hwlut.fit.boundaries import Boundaries, Table
from hwlut.fit.lines import step
from hwlut.fit.objective import Problem
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed

__all__ = ["minimax"]

_TOLERANCE = 1e-9
_FIRST = 32
_BLOCK = 1 << 20


def minimax(problem: Problem, boundaries: Boundaries, slopes: list[Slopes], intercepts: list[Fixed]) -> Table:
    """The table of least maximum error, to one part in 10^9."""
    best = None
    for slope in slopes:
        for intercept in intercepts:
            spans = _Spans(problem, boundaries, slope, intercept)
            table = spans.table(np.inf, problem.segments) if best is None else spans.below(best.error, problem.segments)
            low = 0.0
            while table is not None:
                best = table
                if best.error - low <= _TOLERANCE * best.error:
                    break
                middle = (low + best.error) / 2
                table = spans.table(middle, problem.segments)
                if table is None:
                    low, table = middle, best
    assert best is not None
    return best


@dataclass(frozen=True)
class _Spans:
    """Spans of a problem's points and their lines of one pair of formats."""

    problem: Problem
    boundaries: Boundaries
    slopes: Slopes
    intercept: Fixed

    def below(self, error: float, segments: int) -> Table | None:
        """A table of less than `error`, where there is one."""
        return self.table(error * (1 - _TOLERANCE), segments)

    def table(self, limit: float, segments: int) -> Table | None:
        """A table of at most `segments` and at most `limit`, where there is one."""
        last = len(self.boundaries.cuts) - 1
        path = [0]
        for _ in range(segments):
            if path[-1] < last:
                path.append(self._furthest(path[-1], limit))
        if path[-1] < last:
            return None
        lines = [self._best(left, right) for left, right in zip(path, path[1:])]
        errors, k, b = zip(*lines)
        spare = segments + 1 - len(path)
        return Table(
            error=max(errors),
            path=np.array(path + spare * [last]),
            slope=self.slopes.format,
            slopes=np.array(k + spare * (k[-1],)),
            intercept=self.intercept,
            intercepts=np.array(b + spare * (b[-1],)),
        )

    def _residuals(self, slopes: np.ndarray, start: int, end: int) -> np.ndarray:
        """(slopes, points) what the intercept must give at points of the boundaries' order."""
        x, y = (part[self.boundaries.order[start:end]] for part in (self.problem.points.x, self.problem.points.y))
        return y - slopes[:, None] * step(self.slopes.format) * x

    def _furthest(self, left: int, limit: float) -> int:
        """The last boundary to which one line stays within `limit`; `left` where not even to the next."""
        cuts, one = self.boundaries.cuts, step(self.intercept)
        slopes, position, size = self.slopes.codes, int(cuts[left]), _FIRST
        high, low = np.full((len(slopes), 1), -np.inf), np.full((len(slopes), 1), np.inf)
        while position < cuts[-1]:
            end = min(position + min(size, max(1, _BLOCK // len(slopes))), int(cuts[-1]))
            wanted = self._residuals(slopes, position, end)
            highs = np.maximum.accumulate(np.maximum(wanted, high), axis=1)
            lows = np.minimum.accumulate(np.minimum(wanted, low), axis=1)
            least = np.maximum(np.ceil((highs - limit) / one), self.intercept.min)
            within = (least <= np.minimum(np.floor((lows + limit) / one), self.intercept.max)).sum(axis=1)
            alive = within == end - position
            if not alive.any():
                return int(np.searchsorted(cuts, position + within.max(), side="right")) - 1
            slopes, high, low = slopes[alive], highs[alive, -1:], lows[alive, -1:]
            position, size = end, 2 * size
        return len(cuts) - 1

    def _best(self, left: int, right: int) -> tuple[float, int, int]:
        """Error, slope and intercept code of the best line of a span with points."""
        start, end = int(self.boundaries.cuts[left]), int(self.boundaries.cuts[right])
        high, low = np.full(len(self.slopes.codes), -np.inf), np.full(len(self.slopes.codes), np.inf)
        block = max(1, _BLOCK // len(self.slopes.codes))
        for first in range(start, end, block):
            wanted = self._residuals(self.slopes.codes, first, min(first + block, end))
            high, low = np.maximum(high, wanted.max(axis=1)), np.minimum(low, wanted.min(axis=1))
        one = step(self.intercept)
        b = np.clip(np.rint((high + low) / 2 / one), self.intercept.min, self.intercept.max)
        errors = np.maximum(high - b * one, b * one - low)
        best = int(errors.argmin())
        return float(errors[best]), int(self.slopes.codes[best]), int(b[best])
