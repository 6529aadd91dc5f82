"""Derivatives for the straight-through gradient of a unit of one input, code by code."""

import math
from functools import singledispatch

import numpy as np

from hwlut.functions import function
from hwlut.ops import table
from hwlut.unit import Unit
from hwlut.units import Direct, Program, Pwl, Symmetry

__all__ = ["derivatives"]

_STEP = 2.0**-17  # a central difference errs by about step^2 and 2^-53 / step: both near 1e-10


def derivatives(unit: Pwl | Direct | Program, scale: int, gradient: str) -> np.ndarray:
    """float64 dy/dx at every input code in ascending order: of the exact function, or of the unit itself.

    `gradient` is "exact" or "slope". An exact derivative that is not finite counts as zero. The function counts as
    constant beyond the domain that a Pwl is fitted on, and where another unit's output saturates. The slope of a Pwl is
    that of the segment's line, of another unit the difference of the results of both neighbouring codes, or at the ends
    of the one there is. ValueError where "exact" is asked of a unit that names no function.
    """
    codes = np.arange(unit.input.min, unit.input.max + 1)
    if gradient == "slope":
        return _of_unit(unit, scale, codes)
    if unit.function is None:
        raise ValueError(f"gradient 'exact' needs a table that names its function; {unit.name!r} has none")
    target = function(unit.function)
    x = np.ldexp(codes.astype(np.float64), -scale)
    low, high = target.domain if isinstance(unit, Pwl) else (-math.inf, math.inf)
    before, after = np.clip(x - _STEP, low, high), np.clip(x + _STEP, low, high)
    with np.errstate(all="ignore"):
        quotient = (target(after) - target(before)) / (after - before)
    held = np.isfinite(quotient)
    if not isinstance(unit, Pwl):
        result = np.ldexp(target(x), unit.output.frac)
        held &= (result >= unit.output.min - 0.5) & (result < unit.output.max + 0.5)
    return np.where(held, quotient, 0.0)


@singledispatch
def _of_unit(unit: Unit, scale: int, codes: np.ndarray) -> np.ndarray:
    """The "slope" of a Direct or a Program."""
    assert isinstance(unit, (Direct, Program)) and unit.output.frac is not None
    results = np.ldexp(table(unit, scale).numpy().astype(np.float64), -unit.output.frac)
    return np.gradient(results, 2.0**-scale)


@_of_unit.register
def _(unit: Pwl, scale: int, codes: np.ndarray) -> np.ndarray:
    magnitude = codes if unit.symmetry is Symmetry.NONE else np.abs(codes)
    segments = np.searchsorted(unit.breakpoint_codes(scale), magnitude, side="right")
    slopes = np.ldexp(np.array(unit.slopes, dtype=np.float64), -unit.slope.frac)[segments]
    mirrored = {Symmetry.IDENTITY: 1 - slopes, Symmetry.EVEN: -slopes}.get(unit.symmetry, slopes)
    return np.where(codes < 0, mirrored, slopes)
