"""How far a unit is from the function it approximates, over every input code, or from what else it stands for."""

import math
from dataclasses import asdict, dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from hwlut.functions import function
from hwlut.unit import Unit
from hwlut.units.direct import Direct
from hwlut.units.multiplier import Multiplier
from hwlut.units.program import Program
from hwlut.units.pwl import Pwl

__all__ = ["Accuracy", "Samples", "accuracy", "approximating", "fitted_domain", "metrics", "held", "samples"]

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
    """Input codes (int64) with their real values `x`, the function's values there (`target`) and the unit's results
    (`result`) as real numbers, float64; all of one length."""

    codes: np.ndarray
    x: np.ndarray
    target: np.ndarray
    result: np.ndarray


def approximating(unit: Unit) -> Pwl | Direct | Program:
    """`unit` itself when it is a Pwl, a Direct or a program and names its function, else ValueError."""
    if not isinstance(unit, (Pwl, Direct, Program)):
        raise ValueError(f"accuracy needs a Pwl or Direct table, not {type(unit).__name__} {unit.name!r}")
    if unit.function is None:
        raise ValueError(f"accuracy needs a table that names its function; {unit.name!r} has none")
    return unit


def fitted_domain(unit: Unit) -> tuple[float, float]:
    """Domain of the function that `unit` approximates; all reals for a program, which reduces its input to that."""
    target = function(approximating(unit).function or "")
    return (-math.inf, math.inf) if isinstance(unit, Program) else target.domain


def held(unit: Unit, values: np.ndarray) -> np.ndarray:
    """Where the function's `values` are finite and, if `unit` is a program, in the range of its output."""
    if not isinstance(unit, Program):
        return np.isfinite(values)
    low, high = (np.ldexp(float(end), -unit.output.frac) for end in (unit.output.min, unit.output.max))
    return (low <= values) & (values <= high)


def samples(unit: Unit, scale: int, domain: tuple[float, float] | None = None) -> Samples:
    """Every input code of `unit` whose value at `scale` lies in `domain` (`fitted_domain` by default), if `held`."""
    import torch

    table = approximating(unit)
    target = function(table.function or "")
    low, high = fitted_domain(unit) if domain is None else domain
    if not low < high:
        raise ValueError(f"domain must be from a lower to a higher number, not {low:g} to {high:g}")
    if table.input.bits > _BITS_LIMIT:
        raise ValueError(f"every code is evaluated: input bits must be at most {_BITS_LIMIT}, not {table.input.bits}")
    codes = np.arange(table.input.min, table.input.max + 1)
    codes = codes[(low <= np.ldexp(codes, -scale)) & (np.ldexp(codes, -scale) <= high)]
    codes = codes[held(unit, target(np.ldexp(codes, -scale)))]
    x = np.ldexp(codes, -scale)
    result = table(torch.from_numpy(codes), scale=scale).numpy()
    return Samples(codes, x, target(x), np.ldexp(result.astype(np.float64), -table.output_format(scale).frac))


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


@singledispatch
def metrics(unit: Unit) -> dict[str, Any]:
    """Errors by name of a unit that says itself what is exact: `hwlut.units.metrics.Metrics` of a Multiplier.

    Empty for a unit of another kind.
    """
    return {}


@metrics.register
def _(unit: Multiplier) -> dict[str, Any]:
    return asdict(unit.metrics())
