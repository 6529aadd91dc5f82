"""Least-squares lines through spans of points."""

from dataclasses import dataclass

import numpy as np

from hwlut.fixed import Fixed

__all__ = ["Lines", "Moments", "step"]

_BLOCK = 1 << 14
"""Spans at a time whose arrays stay in the processor's cache."""


def step(format: Fixed) -> float:
    """Real value of one code of a format with a point."""
    return 2.0 ** -(format.frac or 0)


@dataclass(frozen=True)
class Lines:
    """Least-squares lines, one a span: float64 arrays of one length.

    The weighted squared error of a line slope' * x + intercept' over a span is
    ``rss + spread * (slope' - slope)^2 + weight * (slope' * x + intercept' - y)^2``.

    weight: total weight. x, y: weighted means. spread: weighted sum of (x - mean)^2. slope: of the
    best line, 0 where all points have one x. rss: the best line's error.
    """

    weight: np.ndarray
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray
    slope: np.ndarray
    rss: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "Lines":
        return Lines(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @property
    def intercept(self) -> np.ndarray:
        """Intercept of the best line."""
        return self.y - self.slope * self.x

    def error(self, slope: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """The error of one other line a span."""
        return (
            self.rss
            + self.spread * (slope - self.slope) ** 2
            + self.weight * (slope * self.x + intercept - self.y) ** 2
        )


class Moments:
    """Prefix sums of weighted points, cut at boundaries, from which every span's line follows.

    A span's error is a small difference of large sums, so the precision of the sums matters: their
    own dtype is what lines are computed in.

    Parameters
    ----------
    sums: (6, boundaries) sums of w, wx, wy, wxx, wxy, wyy over the points left of each boundary.
    spread_floor: a spread below this can only be rounding of zero.
    """

    def __init__(self, sums: np.ndarray, spread_floor: float):
        self.sums = sums
        self.spread_floor = spread_floor

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weight: np.ndarray, cuts: np.ndarray) -> "Moments":
        """Of points in order, in extended precision; boundary k stands before point cuts[k]."""
        gaps = np.diff(np.unique(x))
        spread_floor = float(weight.min() * np.min(gaps, initial=1.0) ** 2 / 4)
        x, y, w = (values.astype(np.longdouble) for values in (x, y, weight))
        terms = np.stack([w, w * x, w * y, w * x * x, w * x * y, w * y * y])
        sums = np.concatenate([np.zeros((6, 1), np.longdouble), np.cumsum(terms, axis=1)], axis=1)
        return cls(sums[:, cuts], spread_floor)

    def __len__(self) -> int:
        return self.sums.shape[1]

    @property
    def noise(self) -> float:
        """What rounding may add to or take from the error of a span."""
        return 64 * float(np.finfo(self.sums.dtype).eps * self.sums[[0, 3, 5], -1].sum())

    def at(self, boundaries: np.ndarray) -> "Moments":
        """The same points cut at fewer boundaries."""
        return Moments(self.sums[:, boundaries], self.spread_floor)

    def rough(self) -> "Moments":
        """The same sums in double precision: four times as fast, with more noise."""
        return Moments(self.sums.astype(np.float64), self.spread_floor)

    def lines(self, left: np.ndarray, right: np.ndarray) -> Lines:
        """The least-squares line of each span of points from boundary `left` to `right` >= left."""
        w, wx, wy, wxx, wxy, wyy = (column[right] - column[left] for column in self.sums)
        total = np.where(left == right, 1, w)
        x, y = wx / total, wy / total
        spread = wxx - wx * x
        flat = spread < self.spread_floor
        covariance = np.where(flat, 0, wxy - wx * y)
        slope = covariance / np.where(flat, 1, spread)
        rss = np.maximum(wyy - wy * y - slope * covariance, 0)
        return Lines(
            *(part.astype(np.float64, copy=False) for part in (w, x, y, np.where(flat, 0, spread), slope, rss))
        )

    def errors(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The least-squares error of each span: `lines(left, right).rss`, for very many spans."""
        blocks = (slice(start, start + _BLOCK) for start in range(0, len(left), _BLOCK))
        return np.concatenate([self.lines(left[block], right[block]).rss for block in blocks])
