"""The slopes that a table may have, and the best line of such a slope."""

from dataclasses import dataclass

import numpy as np

from hwlut.fit.lines import Lines, step
from hwlut.fixed import Fixed, canonical_digits

__all__ = ["Slopes", "closest"]


@dataclass(frozen=True, eq=False)
class Slopes:
    """A format and those of its codes that are allowed, ascending."""

    format: Fixed
    codes: np.ndarray

    @classmethod
    def of(cls, format: Fixed, digits: int | None = None) -> "Slopes":
        """All codes of a format, or those of at most so many signed digits."""
        codes = np.arange(format.min, format.max + 1)
        if digits is not None:
            codes = codes[[len(canonical_digits(code)) <= digits for code in codes.tolist()]]
        return cls(format, codes)

    def nearest(self, slopes: np.ndarray) -> np.ndarray:
        """Index of the code nearest to each real slope."""
        wanted = slopes / step(self.format)
        above = np.clip(np.searchsorted(self.codes, wanted), 1, len(self.codes) - 1)
        return above - (wanted - self.codes[above - 1] <= self.codes[above] - wanted)

    def gap(self, slopes: np.ndarray) -> np.ndarray:
        """How far each real slope lies from the nearest one allowed, in real units."""
        return abs(self.codes[self.nearest(slopes)] * step(self.format) - slopes)


def closest(
    lines: Lines, slopes: Slopes, intercept: Fixed, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best (error, slope code, intercept code) of each span with an allowed slope and a code of the intercept.

    A closest-vector search: for a given slope the best intercept is the nearest code, and slopes
    are walked outwards from the least-squares one until the slope alone costs more than the best
    pair found. A span whose error is not below its `limit` gets an error of infinity.
    """
    slope_step, intercept_step = step(slopes.format), step(intercept)
    last = len(slopes.codes) - 1
    first = slopes.nearest(lines.slope)
    bound, error = limit.copy(), np.full(len(limit), np.inf)
    codes = np.zeros((2, len(limit)), dtype=np.int64)

    alive = np.flatnonzero(lines.rss < limit)
    distance = 0
    while len(alive):
        here = lines[alive]
        tried = (first[alive] + distance, first[alive] - distance) if distance else (first[alive],)
        for index in tried:
            k = slopes.codes[np.clip(index, 0, last)]
            level = here.y - k * slope_step * here.x
            b = np.clip(np.rint(level / intercept_step), intercept.min, intercept.max)
            cost = here.error(k * slope_step, b * intercept_step)
            better = (index >= 0) & (index <= last) & (cost < bound[alive])
            found = alive[better]
            bound[found] = error[found] = cost[better]
            codes[:, found] = k[better], b[better]
        distance += 1
        gaps = (
            np.where(
                (index >= 0) & (index <= last),
                abs(slopes.codes[np.clip(index, 0, last)] * slope_step - here.slope),
                np.inf,
            )
            for index in (first[alive] + distance, first[alive] - distance)
        )
        with np.errstate(invalid="ignore"):  # no spread, no slope left: nan, which is not below the bound
            alive = alive[here.rss + here.spread * np.minimum(*gaps) ** 2 < bound[alive]]
    return error, codes[0], codes[1]
