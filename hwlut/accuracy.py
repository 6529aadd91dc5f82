"""How far a unit is from the function it approximates, over every input code."""

from dataclasses import dataclass

import numpy as np

from hwlut.functions import function
from hwlut.unit import Unit
from hwlut.units.pwl import Pwl

__all__ = ["Accuracy", "Samples", "accuracy", "approximating", "fitted_domain", "samples"]

_BITS_LIMIT = 24


@dataclass(frozen=True)
class Accuracy:
    """Errors at one scale.

    codes: input codes in the domain. mse: mean squared error over them. max_error: the largest
    absolute error, which is at input `code`, the real value `x`.
    """

    scale: int
    codes: int
    mse: float
    max_error: float
    code: int
    x: float


@dataclass(frozen=True)
class Samples:
    """Input codes with their real values, the function's values and the unit's results there."""

    codes: np.ndarray
    x: np.ndarray
    target: np.ndarray
    result: np.ndarray


def approximating(unit: Unit) -> Pwl:
    """`unit` itself when it is piecewise linear and names its function, else ValueError."""
    if not isinstance(unit, Pwl):
        raise ValueError(f"accuracy needs a Pwl table, not {type(unit).__name__} {unit.name!r}")
    if unit.function is None:
        raise ValueError(f"accuracy needs a table that names its function; {unit.name!r} has none")
    return unit


def fitted_domain(unit: Unit) -> tuple[float, float]:
    """Domain of the function that `unit` approximates."""
    return function(approximating(unit).function or "").domain


def samples(unit: Unit, scale: int, domain: tuple[float, float] | None = None) -> Samples:
    """Every input code of `unit` whose value at `scale` lies in `domain` (the function's by default)."""
    import torch

    pwl = approximating(unit)
    target = function(pwl.function or "")
    low, high = target.domain if domain is None else domain
    if not low < high:
        raise ValueError(f"domain must be from a lower to a higher number, not {low:g} to {high:g}")
    if pwl.input.bits > _BITS_LIMIT:
        raise ValueError(f"every code is evaluated: input bits must be at most {_BITS_LIMIT}, not {pwl.input.bits}")
    codes = np.arange(pwl.input.min, pwl.input.max + 1)
    codes = codes[(low <= np.ldexp(codes, -scale)) & (np.ldexp(codes, -scale) <= high)]
    x = np.ldexp(codes, -scale)
    result = pwl(torch.from_numpy(codes), scale=scale).numpy()
    return Samples(codes, x, target(x), np.ldexp(result.astype(np.float64), -pwl.output_format(scale).frac))


def accuracy(unit: Unit, domain: tuple[float, float] | None = None) -> list[Accuracy]:
    """Errors of `unit` at each of its scales, by the torch definition against the float64 function.

    Raises ValueError for a domain without a code at some scale.
    """
    rows = []
    for scale in approximating(unit).scales:
        points = samples(unit, scale, domain)
        if not len(points.codes):
            raise ValueError(f"domain must hold an input code at every scale; at scale {scale} it holds none")
        error = np.abs(points.result - points.target)
        worst = int(error.argmax())
        rows.append(
            Accuracy(
                scale=scale,
                codes=len(error),
                mse=float(np.mean(error**2)),
                max_error=float(error[worst]),
                code=int(points.codes[worst]),
                x=float(points.x[worst]),
            )
        )
    return rows
