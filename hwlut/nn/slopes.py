"""Derivatives for the straight-through gradient of a piecewise-linear unit, code by code."""

import numpy as np

from hwlut.functions import Function, function
from hwlut.units import Pwl, Symmetry

__all__ = ["derivatives"]

_STEP = 2.0**-17  # a central difference errs by about step^2 and 2^-53 / step: both near 1e-10


def derivatives(unit: Pwl, scale: int, gradient: str) -> np.ndarray:
    """float64 dy/dx at every input code in ascending order: of the exact function, or of the segment's line.

    `gradient` is "exact" or "slope". The exact function counts as constant outside its domain, and a derivative that
    is not finite as zero. ValueError where "exact" is asked of a unit that names no function.
    """
    codes = np.arange(unit.input.min, unit.input.max + 1)
    if gradient == "slope":
        return _of_lines(unit, scale, codes)
    if unit.function is None:
        raise ValueError(f"gradient 'exact' needs a table that names its function; {unit.name!r} has none")
    return _of_function(function(unit.function), np.ldexp(codes.astype(np.float64), -scale))


def _of_function(target: Function, x: np.ndarray) -> np.ndarray:
    low, high = target.domain
    before, after = np.clip(x - _STEP, low, high), np.clip(x + _STEP, low, high)
    with np.errstate(all="ignore"):
        quotient = (target(after) - target(before)) / (after - before)
    return np.where(np.isfinite(quotient), quotient, 0.0)


def _of_lines(unit: Pwl, scale: int, codes: np.ndarray) -> np.ndarray:
    magnitude = codes if unit.symmetry is Symmetry.NONE else np.abs(codes)
    segments = np.searchsorted(unit.breakpoint_codes(scale), magnitude, side="right")
    slopes = np.ldexp(np.array(unit.slopes, dtype=np.float64), -unit.slope.frac)[segments]
    mirrored = {Symmetry.IDENTITY: 1 - slopes, Symmetry.EVEN: -slopes}.get(unit.symmetry, slopes)
    return np.where(codes < 0, mirrored, slopes)
