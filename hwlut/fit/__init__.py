"""Fitting: from a function to a parameter table. The module itself is called: hwlut.fit("gelu")."""

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from hwlut import __version__
from hwlut.fit.objective import Problem, Solution
from hwlut.fit.optimal import optimal
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.functions import function as function_of
from hwlut.units.pwl import Pwl, Symmetry

__all__ = ["fit", "METHODS", "Problem", "Solution"]

_INT8 = Fixed(8)

METHODS: dict[str, Callable[[Problem], Solution]] = {"optimal": optimal}
"""Every method by its name."""


def fit(
    function: str | Function,
    segments: int = 8,
    method: str = "optimal",
    *,
    input: Fixed = _INT8,
    scales: Sequence[int] = range(7),
    domain: tuple[float, float] | None = None,
    slope_bits: int = 8,
    slope_frac: int | str = "auto",
    intercept_bits: int = 16,
    intercept_frac: int | str = "auto",
    breakpoint_frac: int | None = None,
    symmetry: str = "none",
    output: Fixed | None = None,
    rounding: str = "half_up",
    name: str | None = None,
    seed: int = 0,
) -> Pwl:
    """The parameter table of `function` with the least mean squared error.

    The error is that of the exact accumulator over all input codes of the domain, averaged over the
    scales, also where `output` then rounds it. `hwlut.fit.Problem` has the ranges.

    Parameters
    ----------
    function: a name, or a Function of your own.
    segments: number of lines. method: one of METHODS.
    input: bits and sign of the input code. scales: input code q stands for q * 2^-s, each s of these.
    domain: real interval that counts; by default the function's own.
    slope_bits, slope_frac, intercept_bits, intercept_frac: formats; "auto" finds the fraction bits.
    breakpoint_frac: fraction bits of the breakpoints, by default the largest scale.
    symmetry: keep a table of |q| only; "auto" takes the function's own symmetry.
    output, rounding, name: the unit's, by default the accumulator, and ``<function>_<segments>``.
    seed: of a method that draws random numbers; recorded in any case.

    Raises TypeError or ValueError for what cannot be fitted.
    """
    target = function if isinstance(function, Function) else function_of(function)
    if method not in METHODS:
        raise ValueError(f"fit method must be one of {', '.join(METHODS)}, not {method!r}")
    symmetries = ["auto", *(known.value for known in Symmetry)]
    if symmetry not in symmetries:
        raise ValueError(f"fit symmetry must be one of {', '.join(symmetries)}, not {symmetry!r}")
    if not isinstance(input, Fixed):
        raise TypeError(f"fit input must be a Fixed, not {input!r}")
    if not isinstance(scales, Sequence):
        raise TypeError(f"fit scales must be a sequence of integers, not {scales!r}")
    low, high = target.domain if domain is None else _interval(domain)
    scales = tuple(scales)
    if breakpoint_frac is None:
        breakpoint_frac = scales[-1] if scales else 0
    problem = Problem(
        function=target,
        segments=segments,
        input=input,
        scales=scales,
        domain=(low, high),
        slope_bits=slope_bits,
        slope_frac=slope_frac,
        intercept_bits=intercept_bits,
        intercept_frac=intercept_frac,
        breakpoint_frac=breakpoint_frac,
        symmetry=target.symmetry if symmetry == "auto" else Symmetry(symmetry),
        seed=seed,
    )
    solution = METHODS[method](problem)
    unit = Pwl(
        name=f"{target.name}_{segments}" if name is None else name,
        function=target.name,
        input=input,
        scales=scales,
        breakpoint_frac=problem.breakpoint_frac,
        breakpoints=solution.breakpoints,
        slope=solution.slope,
        slopes=solution.slopes,
        intercept=solution.intercept,
        intercepts=solution.intercepts,
        symmetry=problem.symmetry,
        output=output,
        rounding=rounding,  # type: ignore[arg-type]
    )
    meta = {
        "method": method,
        "seed": seed,
        "hwlut": __version__,
        "domain": list(problem.reach),
        "mse": float(f"{problem.mse(unit):.6g}"),
        "certified": solution.certified,
    }
    return unit.replace(meta=meta)


def _interval(domain: object) -> tuple[float, float]:
    if isinstance(domain, Sequence) and len(domain) == 2 and all(isinstance(end, (int, float)) for end in domain):
        return float(domain[0]), float(domain[1])
    raise TypeError(f"fit domain must be two numbers, not {domain!r}")


class _Callable(types.ModuleType):
    """A module that is called as the function it holds."""

    def __call__(self, *arguments: Any, **options: Any) -> Pwl:
        return fit(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
