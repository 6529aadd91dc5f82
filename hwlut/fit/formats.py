"""The formats of coefficients that a fit tries."""

import math

import numpy as np

from hwlut.fit.objective import Problem
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed

__all__ = ["formats"]


def formats(problem: Problem, slopes: np.ndarray, intercepts: np.ndarray) -> tuple[list[Slopes], list[Fixed]]:
    """The slopes and intercept formats to try: those given, or such as may suit these lines best."""
    slope_formats = _formats(problem.slope_bits, problem.slope_frac, slopes, problem.input.bits)
    intercept_formats = _formats(problem.intercept_bits, problem.intercept_frac, intercepts, problem.input.bits)
    return [Slopes.of(slope, problem.slope_digits) for slope in slope_formats], intercept_formats


def _formats(bits: int, frac: int | str, values: np.ndarray, input_bits: int) -> list[Fixed]:
    if isinstance(frac, int):
        return [Fixed(bits, frac)]
    largest = float(np.max(abs(values)))
    room = math.floor(math.log2(Fixed(bits).max / largest)) if largest > 2.0 ** -(bits + input_bits) else 0
    finest = min(max(room, 0), bits + input_bits)
    return [Fixed(bits, tried) for tried in range(max(0, finest - 1), finest + 2)]
