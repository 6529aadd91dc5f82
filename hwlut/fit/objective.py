"""What a fit must reach: the codes that count, their targets, and the error of a table."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from hwlut.fields import shorten
from hwlut.fit.activations import Activations
from hwlut.fit.lines import step
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.units.pwl import Pwl, Symmetry

__all__ = ["OBJECTIVES", "Method", "Points", "Problem", "Solution", "check_integer"]


OBJECTIVES = ("mse", "max", "code")
"""What a fit can minimise; each is a sum, or the maximum, over segments."""


@dataclass(frozen=True)
class Points:
    """Every input code that counts, of every scale: arrays of one length.

    scale: the scale at which the code is read. q: the input code. code: what the table is read at, q or |q| under a
    symmetry. x: its real value, code * 2^-scale. y: what the line at x must give. weight: share of
    the code in the objective; the scales weigh the same, and all weights sum to 1.
    """

    scale: np.ndarray
    q: np.ndarray
    code: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Solution:
    """The integers that a method found: `slopes` and `intercepts` in their formats, and one fewer of `breakpoints`.

    certified: whether no other integers of these formats have a lower error. lower_bound: where
    that is open, an error that none is below, found on every bound_step-th boundary.
    """

    breakpoints: tuple[int, ...]
    slope: Fixed
    slopes: tuple[int, ...]
    intercept: Fixed
    intercepts: tuple[int, ...]
    certified: bool
    lower_bound: float | None = None
    bound_step: int = 1


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

    The input codes whose value lies in `domain` count, at every scale; a scale without such codes
    does not. The objective "mse" is the mean, over the scales, of the squared error of the exact
    accumulator, in real units, averaged over the codes; "max" its largest absolute error; "code"
    the weighted mean square of the difference between the result code and the function's value as one.

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
    slope_digits: non-zero digits that a slope may have in canonical signed-digit form; None: any.
    objective: what counts: one of OBJECTIVES. output, rounding: the unit's; those of "code".
    weights: the inputs seen in calibration, by which the codes of a scale weigh; None: alike.
    weight_floor: the part of the weights that all codes of a scale share alike, 0.001 to 1.
    continuous: neighbouring lines must meet at their breakpoint; objective "mse" and up to 64 segments.
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
    slope_digits: int | None = None
    objective: str = "mse"
    output: Fixed | None = None
    rounding: str = "half_up"
    weights: Activations | None = None
    weight_floor: float = 0.1
    continuous: bool = False

    def __post_init__(self) -> None:
        for scale in self.scales:
            check_integer("fit scales", scale, 0, 32)
        for label, value, low, high in (
            ("segments", self.segments, 1, 256),
            ("input bits", self.input.bits, 2, 16),
            ("slope_bits", self.slope_bits, 2, 16),
            ("intercept_bits", self.intercept_bits, 2, 32),
            ("breakpoint_frac", self.breakpoint_frac, 0, 32),
            ("slope_frac", 0 if self.slope_frac == "auto" else self.slope_frac, 0, 40),
            ("intercept_frac", 0 if self.intercept_frac == "auto" else self.intercept_frac, 0, 40),
            ("slope_digits", 1 if self.slope_digits is None else self.slope_digits, 1, 16),
            ("seed", self.seed, 0, (1 << 63) - 1),
        ):
            check_integer(f"fit {label}", value, low, high)
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
        if self.objective not in OBJECTIVES:
            raise ValueError(f"fit objective must be one of {', '.join(OBJECTIVES)}, not {self.objective!r}")
        if self.objective == "code" and self.output is None:
            raise ValueError("fit objective 'code' needs an output format")
        if self.weights is not None:
            if not isinstance(self.weights, Activations):
                raise TypeError(f"fit weights must be Activations, not {shorten(self.weights)}")
            if self.objective == "max":
                raise ValueError("fit weights have no meaning for objective 'max'")
        if isinstance(self.weight_floor, bool) or not isinstance(self.weight_floor, (int, float)):
            raise TypeError(f"fit weight_floor must be a number, not {self.weight_floor!r}")
        if not 0.001 <= self.weight_floor <= 1:
            raise ValueError(f"fit weight_floor must be from 0.001 to 1, not {self.weight_floor}")
        if not isinstance(self.continuous, bool):
            raise TypeError(f"fit continuous must be true or false, not {self.continuous!r}")
        if self.continuous:
            self._check_continuous()
        if not len(self.points.x):
            raise ValueError(f"fit domain must hold an input code at some scale, not {self.domain}")

    def _check_continuous(self) -> None:
        if self.objective != "mse":
            raise ValueError(f"fit continuous must go with objective 'mse', not {self.objective!r}")
        if self.segments > 64:
            raise ValueError(f"fit continuous must have at most 64 segments, not {self.segments}")
        if isinstance(self.slope_frac, int) and isinstance(self.intercept_frac, int):
            if self.intercept_frac < self.slope_frac:
                raise ValueError(
                    f"fit continuous must have intercept_frac at least slope_frac {self.slope_frac}, "
                    f"not {self.intercept_frac}"
                )

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
            parts.append((np.full(len(q), s), q, self._weight(q, s)))
        scale, q, weight = (np.concatenate(columns) for columns in zip(*parts))
        x = np.ldexp(q.astype(np.float64), -scale)
        y = self.targets(x)
        if self.symmetry is Symmetry.NONE:
            return Points(scale, q, q, x, y, weight / weight.sum())
        mirrored = {Symmetry.IDENTITY: y - x, Symmetry.ODD: -y, Symmetry.EVEN: y, Symmetry.COMPLEMENT: 1 - y}
        return Points(scale, q, abs(q), abs(x), np.where(q < 0, mirrored[self.symmetry], y), weight / weight.sum())

    def _weight(self, q: np.ndarray, scale: int) -> np.ndarray:
        """Weights of the codes of one scale, with sum 1."""
        uniform = np.full(len(q), 1 / max(1, len(q)))
        if self.weights is None or not len(q):
            return uniform
        shares = self.weights.shares(q, scale, self.input)
        if not shares.any():
            return uniform
        return self.weight_floor * uniform + (1 - self.weight_floor) * shares / shares.sum()

    def targets(self, x: np.ndarray) -> np.ndarray:
        """The function's values at `x`; ValueError where one is not finite."""
        with np.errstate(all="ignore"):
            y = self.function(x)
        if not np.isfinite(y).all():
            first = np.flatnonzero(~np.isfinite(y))[0]
            raise ValueError(f"fit {self.function.name} must be finite in the domain, not {y[first]} at {x[first]}")
        return y

    def unit(self, solution: Solution, name: str) -> Pwl:
        """The unit of a solution."""
        return Pwl(
            name=name,
            function=self.function.name,
            input=self.input,
            scales=self.scales,
            breakpoint_frac=self.breakpoint_frac,
            breakpoints=solution.breakpoints,
            slope=solution.slope,
            slopes=solution.slopes,
            intercept=solution.intercept,
            intercepts=solution.intercepts,
            symmetry=self.symmetry,
            output=self.output,
            rounding=self.rounding,  # type: ignore[arg-type]
        )

    def line(self, slope: Fixed, intercept: Fixed) -> Pwl:
        """A unit of one line in the formats given, for its arithmetic."""
        return self.unit(Solution((), slope, (0,), intercept, (0,), certified=False), "line")

    def mse(self, unit: Pwl) -> float:
        """The weighted mean squared error of `unit`, whose input, scales and symmetry are the problem's."""
        return math.fsum(self.points.weight * self._errors(unit) ** 2)

    def max_error(self, unit: Pwl) -> float:
        """The largest absolute error of its exact accumulator."""
        return float(np.max(abs(self._errors(unit))))

    def code_differences(self, unit: Pwl) -> np.ndarray:
        """Result codes minus the wanted ones, a point each."""
        segment = self._segments(unit)
        points, slopes, intercepts = self.points, np.array(unit.slopes), np.array(unit.intercepts)
        result = np.zeros(len(segment), dtype=np.int64)
        for s in self.scales:
            here = points.scale == s
            k, b = slopes[segment[here]], intercepts[segment[here]]
            result[here] = unit.rounded(unit.accumulate(k, b, points.code[here], points.q[here], s), s)
        return result - self.wanted_codes(unit)

    def wanted_codes(self, unit: Pwl) -> np.ndarray:
        """The function's values as result codes of `unit`, rounded like its results, a point each."""
        points = self.points
        y = self.targets(np.ldexp(points.q.astype(np.float64), -points.scale))
        frac = np.array([unit.output_format(s).frac for s in self.scales])[np.searchsorted(self.scales, points.scale)]
        value, format = np.ldexp(y, frac), unit.output_format(self.scales[0])
        rounded = {"half_up": np.floor(value + 0.5), "half_even": np.rint(value), "floor": np.floor(value)}
        return np.clip(rounded[self.rounding], format.min, format.max).astype(np.int64)

    def _segments(self, unit: Pwl) -> np.ndarray:
        """Segment of each point."""
        points = self.points
        segment = np.zeros(len(points.code), dtype=np.int64)
        for s in self.scales:
            here = points.scale == s
            cuts = np.array(unit.breakpoint_codes(s), dtype=np.int64)
            segment[here] = np.searchsorted(cuts, points.code[here], side="right")
        return segment

    def _errors(self, unit: Pwl) -> np.ndarray:
        """Real errors of the exact accumulator, a point each."""
        segment = self._segments(unit)
        slopes, intercepts = np.array(unit.slopes), np.array(unit.intercepts)
        value = slopes[segment] * step(unit.slope) * self.points.x + intercepts[segment] * step(unit.intercept)
        return value - self.points.y


def check_integer(label: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer from `low` to `high`: TypeError for the kind, ValueError for the value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{label} must be from {low} to {high}, not {value}")
