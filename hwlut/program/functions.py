"""Range reduction: a function of a wide input as a program around a table of a short interval.

Muller, Elementary Functions (3rd edition, 2016), chapter 11, has the reductions; all are exact but
for the constant factors log2(e) and 2/pi, which have 31 bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwlut import __version__
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.functions import function as function_of
from hwlut.program.draft import CORE, Draft, Fitting
from hwlut.units import Program
from hwlut.units.operations import Add, Bits, Equal, LeadingOne, Less, Select, ShiftLeft, ShiftRight, Subtract
from hwlut.units.program import INPUT

__all__ = ["FUNCTIONS", "range_reduced"]

_TURN_FRAC = 16
"""Fraction bits of what exp, sin and cos multiply their input to."""

_RSQRT = Function("rsqrt", lambda x: 1 / np.sqrt(x), (1.0, 4.0))
_SINE = Function("sin", lambda x: np.sin(math.pi / 2 * x), (0.0, 1.0))

_Recipe = Callable[[Draft, Fixed, Fixed], str]
"""Drafts the nodes for an input and an output format, the result last, and returns its name."""


def _positive(draft: Draft, input: Fixed) -> str:
    """The input, 0 where it is negative."""
    return draft.clamped("positive", INPUT, 0, input.max)


def _reciprocal(draft: Draft, input: Fixed, output: Fixed) -> str:
    """1 / x = 2^-e / m, where |x| = m 2^e and 1 <= m < 2."""
    magnitude = INPUT
    if input.signed:
        negative = draft(Less, "negative", INPUT, 0)
        minus = draft(Subtract, "minus", 0, INPUT)
        magnitude = draft(Bits, "magnitude", draft(Select, "either", negative, minus, INPUT), 0, input.bits)
    power, mantissa = _octave(draft, magnitude, input)
    core = draft.core("core", Function("reciprocal", np.reciprocal, (1.0, 2.0)), input.bits - 1, mantissa)
    size = draft.scaled("size", core, output.frac - CORE.frac + input.frac, power)
    if input.signed:
        size = draft(Select, "directed", negative, draft(Subtract, "opposite", 0, size), size)
    return _unless_zero(draft, magnitude, output.max, size, output)


def _rsqrt(draft: Draft, input: Fixed, output: Fixed) -> str:
    """1 / sqrt(x) = 2^-e / sqrt(m), where x = m 4^e and 1 <= m < 4."""
    positive = _positive(draft, input)
    half, mantissa = _two_octaves(draft, positive, input)
    core = draft.core("core", _RSQRT, input.bits - 1, mantissa)
    root = draft.scaled("root", core, output.frac - CORE.frac + (input.frac + 1) // 2, half)
    return _unless_zero(draft, positive, output.max, root, output)


def _sqrt(draft: Draft, input: Fixed, output: Fixed) -> str:
    """sqrt(x) = 2^e sqrt(m), where x = m 4^e and 1 <= m < 4."""
    positive = _positive(draft, input)
    half, mantissa = _two_octaves(draft, positive, input)
    core = draft.core("core", Function("sqrt", np.sqrt, (1.0, 4.0)), input.bits - 1, mantissa)
    most = draft.spans[half][1]
    below = draft(Subtract, "below", most, half)
    root = draft.scaled("root", core, output.frac - CORE.frac - (input.frac + 1) // 2 + most, below)
    return _unless_zero(draft, positive, 0, root, output)


def _log2(draft: Draft, input: Fixed, output: Fixed) -> str:
    """log2(x) = e + log2(m), where x = m 2^e and 1 <= m < 2."""
    positive = _positive(draft, input)
    power, mantissa = _octave(draft, positive, input)
    core = draft.core("core", Function("log2", np.log2, (1.0, 2.0)), input.bits - 1, mantissa)
    exponent = draft(ShiftLeft, "exponent", draft(Subtract, "octave", power, input.frac), CORE.frac)
    logarithm = draft.scaled("logarithm", draft(Add, "sum", exponent, core), output.frac - CORE.frac)
    return _unless_zero(draft, positive, output.min, logarithm, output)


def _exp(draft: Draft, input: Fixed, output: Fixed) -> str:
    """exp(x) = 2^i 2^f, where x log2(e) = i + f and 0 <= f < 1."""
    turns = draft.times("octaves", INPUT, math.log2(math.e) * 2.0 ** (_TURN_FRAC - input.frac))
    whole = draft(ShiftRight, "whole", turns, _TURN_FRAC, "floor")
    part = draft(Bits, "part", turns, 0, _TURN_FRAC)
    core = draft.core("core", Function("exp2", np.exp2, (0.0, 1.0)), _TURN_FRAC, part)
    # From 2^top on the result saturates, also by a core a little below 1; 40 octaves below it is 0.
    top = output.bits - output.signed - output.frac + 1
    below = draft.clamped("below", draft(Subtract, "distance", top, whole), 0, 40)
    power = draft.scaled("power", core, output.frac - CORE.frac + top, below)
    return draft.clamped("y", power, output.min, output.max)


def _wave(quarter: int) -> _Recipe:
    """sin(x), or cos(x) a quarter turn earlier: 2x / pi = 4n + k + f tells quadrant k and the angle f pi / 2."""

    def recipe(draft: Draft, input: Fixed, output: Fixed) -> str:
        turns = draft.times("quarters", INPUT, 2 / math.pi * 2.0 ** (_TURN_FRAC - input.frac))
        quadrant = draft(Bits, "quadrant", turns, _TURN_FRAC, 2)
        if quarter:
            quadrant = draft(Add, "ahead", quadrant, quarter)
        part = draft(Bits, "part", turns, 0, _TURN_FRAC)
        falls = draft(Bits, "falls", quadrant, 0, 1)
        angle = draft(Select, "angle", falls, draft(Subtract, "mirrored", 1 << _TURN_FRAC, part), part)
        size = draft.scaled("size", draft.core("core", _SINE, _TURN_FRAC, angle), output.frac - CORE.frac)
        below = draft(Bits, "below", quadrant, 1, 1)
        directed = draft(Select, "directed", below, draft(Subtract, "opposite", 0, size), size)
        return draft.clamped("y", directed, output.min, output.max)

    return recipe


def _octave(draft: Draft, value: str, input: Fixed) -> tuple[str, str]:
    """The position of the leading one, and the value with that one at the top: from 1 to 2, 0 for 0."""
    power = draft(LeadingOne, "power", value)
    raised = draft(ShiftLeft, "raised", value, draft(Subtract, "up", input.bits - 1, power))
    return power, draft(Bits, "mantissa", raised, 0, input.bits)


def _two_octaves(draft: Draft, value: str, input: Fixed) -> tuple[str, str]:
    """e + ceil(input.frac / 2) >= 0 and m of ``x = m 4^e``, 1 <= m < 4 with input.bits - 1 fraction bits."""
    odd = input.frac & 1
    power = draft(LeadingOne, "power", value)
    half = draft(ShiftRight, "half", draft(Add, "even", power, 1) if odd else power, 1, "floor")
    double = draft(ShiftLeft, "double", half, 1)
    raised = draft(ShiftLeft, "raised", value, draft(Subtract, "up", input.bits - 1 + odd, double))
    return half, draft(Bits, "mantissa", raised, 0, input.bits + 1)


def _unless_zero(draft: Draft, value: str, at_zero: int, result: str, output: Fixed) -> str:
    """`result` held in the output's range, or `at_zero` where the value is zero."""
    held = draft.clamped("held", result, output.min, output.max)
    return draft(Select, "y", draft(Equal, "zero", value, 0), at_zero, held)


@dataclass(frozen=True)
class _Reduction:
    """relative: whether the error is relative to the result; else it is absolute.

    frac: fewest fraction bits of the default output, even where its largest results then saturate.
    """

    recipe: _Recipe
    relative: bool
    frac: int = 0


_REDUCTIONS = {
    "exp": _Reduction(_exp, True, CORE.frac),
    "reciprocal": _Reduction(_reciprocal, True),
    "rsqrt": _Reduction(_rsqrt, True),
    "sqrt": _Reduction(_sqrt, True),
    "log2": _Reduction(_log2, False),
    "sin": _Reduction(_wave(0), False),
    "cos": _Reduction(_wave(1), False),
}

FUNCTIONS = tuple(_REDUCTIONS)
"""Names of the functions that range reduction knows."""


def range_reduced(
    function: str,
    *,
    input: Fixed,
    output: Fixed | None = None,
    segments: int = 8,
    slope_bits: int = 8,
    intercept_bits: int = 16,
    name: str | None = None,
) -> Program:
    """The program of `function` for every input code, with one table of `segments` lines.

    Where the function has no finite value, the result is the end of the output's range next to it:
    reciprocal and rsqrt of 0 give output.max, log2 of 0 output.min. A negative input of rsqrt, sqrt
    and log2 counts as 0; reciprocal keeps its sign. What leaves the output's range saturates.

    Parameters
    ----------
    function: one of FUNCTIONS, or another of its names.
    input: format of the input code, 4 to 16 bits, with a frac.
    output: format of the result, at most 32 bits, with a frac. By default as many fraction bits as
        keep 16 significant ones in the smallest result (of log2, sin and cos: 16 fraction bits)
        and as 32 bits in all allow; of exp at least 16, where the largest results saturate.
    segments, slope_bits, intercept_bits: of the table, as for `hwlut.fit`.
    name: of the program, by default ``<function>_reduced_<segments>``.

    Raises TypeError or ValueError for what cannot be built.
    """
    target = function_of(function)
    if target.name not in _REDUCTIONS:
        raise ValueError(f"range reduction must be of one of {', '.join(FUNCTIONS)}, not {function!r}")
    for label, format, low, high in (("input", input, 4, 16), ("output", output, 2, 32)):
        if format is None:
            continue
        if not isinstance(format, Fixed) or format.frac is None:
            raise TypeError(f"range reduction {label} must be a Fixed with a frac, not {format!r}")
        if not low <= format.bits <= high:
            raise ValueError(f"range reduction {label} bits must be from {low} to {high}, not {format.bits}")
    reduction = _REDUCTIONS[target.name]
    if output is None:
        output = _finest(target, input, reduction)
    draft = Draft({INPUT: input}, Fitting(segments, slope_bits, intercept_bits))
    try:
        reduction.recipe(draft, input, output)
        return Program.of(
            name=f"{target.name}_reduced_{segments}" if name is None else name,
            function=target.name,
            input=input,
            nodes=tuple(draft.nodes),
            output=output,
            meta={"method": "range reduction", "hwlut": __version__, "segments": segments},
        )
    except ValueError as error:
        raise ValueError(f"{target.name} from {input} to {output} cannot be range-reduced: {error}") from None


def _finest(target: Function, input: Fixed, reduction: _Reduction) -> Fixed:
    """The default output format."""
    values = target(np.ldexp(np.arange(input.min, input.max + 1, dtype=np.float64), -input.frac))
    values = values[np.isfinite(values)]
    signed = bool((values < 0).any())
    sizes = np.abs(values[values != 0])
    # A number from 2^(k-1) to 2^k takes k bits before the point.
    before = math.frexp(sizes.max())[1]
    smallest = math.frexp(sizes.min())[1] if reduction.relative else 0
    frac = min(max(CORE.frac - smallest, 0), 62, max(32 - signed - before, reduction.frac))
    return Fixed(min(32, max(2, before + frac + signed)), frac, signed)
