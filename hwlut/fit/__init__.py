"""Fitting: from a function to a parameter table. The module itself is called: hwlut.fit("gelu")."""

import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwlut import __version__
from hwlut.fit.activations import Activations
from hwlut.fit.genetic import Genetic
from hwlut.fit.objective import Method, Problem, Solution
from hwlut.fit.optimal import Optimal
from hwlut.fit.presets import published
from hwlut.fit.smallest import Bound, fewest_bits, fewest_segments
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.functions import function as function_of
from hwlut.units.pwl import Pwl, Symmetry

__all__ = [
    "fit",
    "fewest",
    "published",
    "METHODS",
    "Activations",
    "Genetic",
    "Method",
    "Optimal",
    "Problem",
    "Solution",
]

_INT8 = Fixed(8)

METHODS: dict[str, Method] = {method.name: method for method in (Optimal(), Genetic())}
"""Every method, with its defaults, by its name."""

_COMPARED_BITS = 10
"""Inputs up to which the optimum is found beside another method's table, in well under a second."""


def fit(
    function: str | Function,
    segments: int = 8,
    method: str | Method = "optimal",
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
    objective: str = "mse",
    weights: Activations | None = None,
    weight_floor: float = 0.1,
    slope_digits: int | None = None,
    continuous: bool = False,
) -> Pwl:
    """The parameter table of `function` with the least mean squared error, or of another objective.

    The error is that of the exact accumulator over all input codes of the domain, averaged over the
    scales, also where `output` then rounds it. `hwlut.fit.Problem` has the ranges.

    Parameters
    ----------
    function: a name, or a Function of your own.
    segments: number of lines. method: the name of one of METHODS, or a configured one.
    input: bits and sign of the input code. scales: input code q stands for q * 2^-s, each s of these.
    domain: real interval that counts; by default the function's own.
    slope_bits, slope_frac, intercept_bits, intercept_frac: formats; "auto" finds the fraction bits.
    breakpoint_frac: fraction bits of the breakpoints, by default the largest scale.
    symmetry: keep a table of |q| only; "auto" takes the function's own symmetry.
    output, rounding, name: the unit's, by default the accumulator, and ``<function>_<segments>``.
    seed: of a method that draws random numbers; recorded in any case.
    objective: "mse"; "max", the largest absolute error of the accumulator; "code", the mean squared
        difference of the codes of `output`.
    weights, weight_floor: weigh the codes by calibration, mixed with that part of equal weights.
    slope_digits: the most non-zero signed digits of a slope.
    continuous: neighbouring lines meet exactly at their breakpoint.

    Raises TypeError or ValueError for what cannot be fitted.
    """
    target = function if isinstance(function, Function) else function_of(function)
    chosen = _method(method)
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
        slope_digits=slope_digits,
        objective=objective,
        output=output,
        rounding=rounding,
        weights=weights,
        weight_floor=weight_floor,
        continuous=continuous,
    )
    solution = chosen(problem)
    unit = problem.unit(solution, f"{target.name}_{segments}" if name is None else name)
    mse = problem.mse(unit)
    meta = {
        "method": chosen.name,
        **({"settings": chosen.settings} if chosen.settings else {}),
        "seed": seed,
        "hwlut": __version__,
        "domain": list(problem.reach),
        **_demands(problem, unit),
        "mse": float(f"{mse:.6g}"),
        "certified": solution.certified,
    }
    if solution.lower_bound is not None:
        meta |= {"mse_lower_bound": float(f"{solution.lower_bound:.6g}"), "bound_step": solution.bound_step}
    if continuous or not isinstance(chosen, Optimal):
        meta |= _distance(problem, mse)
    return unit.replace(meta=meta)


def fewest(
    function: str | Function,
    of: str = "segments",
    *,
    max_mse: float | None = None,
    max_error: float | None = None,
    **options: Any,
) -> Pwl:
    """The smallest table of `function` whose error is at most the one of the two bounds given.

    of "segments": the fewest, up to 64. of "bits": the fewest bits of a slope and an intercept, up to
    16 and 32, with the number of `segments` given. max_mse bounds the objective "mse", max_error the
    objective "max", which the table is fitted for. The other options are those of `fit`.

    Raises ValueError where the largest table does not reach the bound.
    """
    if of not in ("segments", "bits"):
        raise ValueError(f"fewest must be of segments or bits, not {of!r}")
    if (max_mse is None) == (max_error is None):
        raise ValueError(f"fewest {of} need one bound: max_mse or max_error")
    label, most, figure = ("max_mse", max_mse, "mse") if max_error is None else ("max_error", max_error, "max_error")
    if isinstance(most, bool) or not isinstance(most, (int, float)):
        raise TypeError(f"fit {label} must be a number, not {most!r}")
    if not most >= 0:
        raise ValueError(f"fit {label} must be at least 0, not {most}")
    objective = "mse" if max_error is None else "max"
    if options.setdefault("objective", objective) != objective:
        raise ValueError(f"fit {label} must go with objective {objective!r}, not {options['objective']!r}")
    found = {"slope_bits", "intercept_bits", "continuous"} if of == "bits" else {"segments"}
    if clash := sorted(found & {key for key, value in options.items() if value is not False}):
        raise ValueError(f"fewest {of} must be found without {clash[0]}")

    bound = Bound(label, most, figure)
    if of == "segments":
        unit = fewest_segments(lambda n: fit(function, n, **options), bound)
    else:
        unit = fewest_bits(lambda k, b: fit(function, slope_bits=k, intercept_bits=b, **options), bound)
    return unit.replace(meta={**unit.meta, "bound": {label: most}, "fewest": of})


def _method(method: str | Method) -> Method:
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"fit method must be one of {', '.join(METHODS)}, not {method!r}")
        return METHODS[method]
    if not callable(method) or not hasattr(method, "settings"):
        raise TypeError(f"fit method must be a name or a method such as Genetic(), not {method!r}")
    return method


def _demands(problem: Problem, unit: Pwl) -> dict[str, Any]:
    """What a table was fitted for beyond the mean squared error, and how far it came."""
    demands: dict[str, Any] = {}
    if problem.slope_digits is not None:
        demands["slope_digits"] = problem.slope_digits
    if problem.continuous:
        demands["continuous"] = True
    if problem.weights is not None:
        demands["weight_floor"] = problem.weight_floor
    if problem.objective != "mse":
        demands["objective"] = problem.objective
    if problem.objective == "max":
        demands["max_error"] = float(f"{problem.max_error(unit):.6g}")
    if problem.objective == "code":
        difference = problem.code_differences(unit)
        demands["code_mse"] = float(f"{(problem.points.weight * difference**2).sum():.6g}")
        demands["wrong_codes"] = float(f"{np.mean(difference != 0):.6g}")
    return demands


def _distance(problem: Problem, mse: float) -> dict[str, float]:
    """How far an error is above that of the certified optimum, where that is found quickly."""
    if problem.input.bits > _COMPARED_BITS and not problem.continuous:
        return {}
    best = Optimal()(replace(problem, continuous=False))
    least = problem.mse(problem.unit(best, "optimum"))
    if not best.certified or least == 0:
        return {}
    return {"optimum_mse": float(f"{least:.6g}"), "above_optimum": float(f"{mse / least - 1:.4g}")}


def _interval(domain: object) -> tuple[float, float]:
    if isinstance(domain, Sequence) and len(domain) == 2 and all(isinstance(end, (int, float)) for end in domain):
        return float(domain[0]), float(domain[1])
    raise TypeError(f"fit domain must be two numbers, not {domain!r}")


class _Callable(types.ModuleType):
    """A module that is called as the function it holds."""

    def __call__(self, *arguments: Any, **options: Any) -> Pwl:
        return fit(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
