"""The smallest table that reaches an error: searches over fits, each of which is one call of `attempt`."""

from collections.abc import Callable
from dataclasses import dataclass

from hwlut.units.pwl import Pwl

__all__ = ["Bound", "fewest_bits", "fewest_segments"]

_MOST = 64
_SLOPE_BITS = (2, 8, 12, 16)
"""The fewest, and then those tried first: wide ones take long."""

_INTERCEPT_BITS = (2, 32)
_WIDER = 3
"""Bits that slopes get beyond those of the best table before the search ends."""


@dataclass(frozen=True)
class Bound:
    """What the figure of a table, such as its "mse" in meta, may be at most; messages name it by its label."""

    label: str
    most: float
    figure: str

    def holds(self, unit: Pwl) -> bool:
        """Whether `unit` reaches it."""
        return unit.meta[self.figure] <= self.most

    def narrowest(self, attempt: Callable[[int], Pwl], low: int, high: int) -> int:
        """The least number from `low` to `high`, which reaches it, whose table does; bisected."""
        while low < high:
            middle = (low + high) // 2
            if self.holds(attempt(middle)):
                high = middle
            else:
                low = middle + 1
        return high

    def refusal(self, what: str, unit: Pwl) -> ValueError:
        """That even the largest table, `unit`, is too coarse."""
        return ValueError(f"fit {self.label} must be reached by {what}, which come to {unit.meta[self.figure]}")


def fewest_segments(attempt: Callable[[int], Pwl], bound: Bound) -> Pwl:
    """The table of fewest segments: doubled until they reach the bound, then bisected."""
    high = 1
    while not bound.holds(unit := attempt(high)):
        if high == _MOST:
            raise bound.refusal(f"{_MOST} segments", unit)
        high *= 2
    return attempt(bound.narrowest(attempt, high // 2 + 1, high))


def fewest_bits(attempt: Callable[[int, int], Pwl], bound: Bound) -> Pwl:
    """A table of least slope plus intercept bits, of equal ones that of fewest slope bits.

    Another bit of either adds nothing to the least error, as a format holds every code of the one a
    bit narrower. So the search starts at the narrowest slopes that do beside the widest intercepts,
    and goes on to wider slopes while these save more bits of the intercepts.
    """
    most = _INTERCEPT_BITS[1]
    low = _SLOPE_BITS[0]
    for high in _SLOPE_BITS[1:]:
        if bound.holds(unit := attempt(high, most)):
            break
        low = high + 1
    else:
        raise bound.refusal(f"slopes of {high} and intercepts of {most} bits", unit)
    best = slope = bound.narrowest(lambda k: attempt(k, most), low, high)
    intercept = bound.narrowest(lambda b: attempt(slope, b), _INTERCEPT_BITS[0], most)
    unit = attempt(slope, intercept)
    while slope < min(_SLOPE_BITS[-1], best + _WIDER):
        slope, intercept = slope + 1, intercept - 1
        while intercept > _INTERCEPT_BITS[0] and bound.holds(tried := attempt(slope, intercept - 1)):
            unit, best, intercept = tried, slope, intercept - 1
    return unit
