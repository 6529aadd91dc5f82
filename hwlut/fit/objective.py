"""What a fit must reach: the codes that count, their targets, and the error of a table."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from hwlut.fit.lines import step
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.units.pwl import Pwl, Symmetry

__all__ = ["Method", "Points", "Problem", "Solution"]


@dataclass(frozen=True)
class Points:
    """Every input code that counts, of every scale: arrays of one length.

    scale: the scale at which the code is read. code: what the table is read at, q or |q| under a
    symmetry. x: its real value, code * 2^-scale. y: what the line at x must give. weight: share of
    the code in the objective; the scales weigh the same, and all weights sum to 1.
    """

    scale: np.ndarray
    code: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Solution:
    """The integers that a method found: one breakpoint fewer than slopes and intercepts.

    certified: whether no other integers of these formats have a lower error.
    """

    breakpoints: tuple[int, ...]
    slope: Fixed
    slopes: tuple[int, ...]
    intercept: Fixed
    intercepts: tuple[int, ...]
    certified: bool


class Method(Protocol):
    """How a table is found: an immutable configuration that is called with a problem."""

    @property
    def name(self) -> str:
        """As `METHODS` and a table's meta have it."""

    @property
    def settings(self) -> dict[str, Any]:
        """What was configured, as plain JSON."""

    def __call__(self, problem: "Problem") -> Solution: ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A function and the table that shall approximate it; every method takes one.

    The objective is the mean, over the scales, of the squared error of the exact accumulator, in
    real units, averaged over the input codes whose value lies in `domain`. A scale without such
    codes does not count.

    Parameters
    ----------
    function: the target.
    segments: 1 to 256.
    input: bits (2 to 16) and sign of the input code.
    scales: the scales, ascending. domain: real interval (low, high), infinite ends allowed.
    slope_bits, intercept_bits: 2 to 16 and 2 to 32. slope_frac, intercept_frac: fraction bits, or
        "auto" for those of the lowest error.
    breakpoint_frac: fraction bits of the breakpoints, at least max(scales).
    symmetry: with any but none the table is on |q|.
    seed: for methods that draw random numbers.
    """

    function: Function
    segments: int
    input: Fixed
    scales: tuple[int, ...]
    domain: tuple[float, float]
    slope_bits: int
    slope_frac: int | str
    intercept_bits: int
    intercept_frac: int | str
    breakpoint_frac: int
    symmetry: Symmetry
    seed: int

    def __post_init__(self) -> None:
        for scale in self.scales:
            _check_integer("fit scales", scale, 0, 32)
        for label, value, low, high in (
            ("segments", self.segments, 1, 256),
            ("input bits", self.input.bits, 2, 16),
            ("slope_bits", self.slope_bits, 2, 16),
            ("intercept_bits", self.intercept_bits, 2, 32),
            ("breakpoint_frac", self.breakpoint_frac, 0, 32),
            ("slope_frac", 0 if self.slope_frac == "auto" else self.slope_frac, 0, 40),
            ("intercept_frac", 0 if self.intercept_frac == "auto" else self.intercept_frac, 0, 40),
            ("seed", self.seed, 0, (1 << 63) - 1),
        ):
            _check_integer(f"fit {label}", value, low, high)
        if not self.scales or any(a >= b for a, b in zip(self.scales, self.scales[1:])):
            raise ValueError(f"fit scales must be ascending and at least one, not {self.scales}")
        if self.scales[-1] > self.breakpoint_frac:
            raise ValueError(
                f"fit scales must not exceed breakpoint_frac {self.breakpoint_frac}, not {self.scales[-1]}"
            )
        if not self.domain[0] < self.domain[1]:
            raise ValueError(f"fit domain must be from a lower to a higher number, not {self.domain}")
        if self.symmetry is not Symmetry.NONE and not self.input.signed:
            raise ValueError(f"fit symmetry {self.symmetry.value!r} needs a signed input")
        if not len(self.points.x):
            raise ValueError(f"fit domain must hold an input code at some scale, not {self.domain}")

    @property
    def reach(self) -> tuple[float, float]:
        """The domain as far as input codes reach at any scale."""
        coarsest = 2.0 ** -self.scales[0]
        return max(self.domain[0], self.input.min * coarsest), min(self.domain[1], self.input.max * coarsest)

    @cached_property
    def points(self) -> Points:
        """The codes of the domain, scale by scale, ascending in q."""
        every = np.arange(self.input.min, self.input.max + 1)
        parts = []
        for s in self.scales:
            q = every[(every * 2.0**-s >= self.domain[0]) & (every * 2.0**-s <= self.domain[1])]
            parts.append((np.full(len(q), s), q, np.full(len(q), 1 / max(1, len(q)))))
        scale, q, weight = (np.concatenate(columns) for columns in zip(*parts))
        x = np.ldexp(q.astype(np.float64), -scale)
        y = self.targets(x)
        if self.symmetry is Symmetry.NONE:
            return Points(scale, q, x, y, weight / weight.sum())
        mirrored = {Symmetry.IDENTITY: y - x, Symmetry.ODD: -y, Symmetry.EVEN: y, Symmetry.COMPLEMENT: 1 - y}
        return Points(scale, abs(q), abs(x), np.where(q < 0, mirrored[self.symmetry], y), weight / weight.sum())

    def targets(self, x: np.ndarray) -> np.ndarray:
        """The function's values at `x`; ValueError where one is not finite."""
        with np.errstate(all="ignore"):
            y = self.function(x)
        if not np.isfinite(y).all():
            first = np.flatnonzero(~np.isfinite(y))[0]
            raise ValueError(f"fit {self.function.name} must be finite in the domain, not {y[first]} at {x[first]}")
        return y

    def mse(self, unit: Pwl) -> float:
        """The objective for `unit`, whose input, scales and symmetry are the problem's."""
        points = self.points
        slopes, intercepts = np.array(unit.slopes), np.array(unit.intercepts)
        terms: list[float] = []
        for s in self.scales:
            here = points.scale == s
            code = points.code[here]
            segment = np.searchsorted(np.array(unit.breakpoint_codes(s), dtype=np.int64), code, side="right")
            slope, intercept = slopes[segment] * step(unit.slope), intercepts[segment] * step(unit.intercept)
            value = slope * points.x[here] + intercept
            terms.extend(points.weight[here] * (value - points.y[here]) ** 2)
        return math.fsum(terms)


def _check_integer(label: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{label} must be from {low} to {high}, not {value}")
