"""Softmax and layer normalization around units that are given, in the place of cores that are fitted."""

import math

from hwlut import __version__
from hwlut.fixed import Fixed, Rounding
from hwlut.program.draft import Draft, Fitting
from hwlut.program.formats import building, check_format, check_size
from hwlut.program.octaves import octaves
from hwlut.units import Port, Program, Pwl
from hwlut.units.operations import Add, Apply, Clamp, Equal, Multiply, Select, ShiftRight, Subtract
from hwlut.units.program import INPUT
from hwlut.units.reductions import MOST_PLACES, Maximum, Sum

__all__ = ["layer_norm_by", "softmax_by"]

_GUARD = 6
"""Bits of a mantissa below those that a unit takes, by which it is rounded."""

_ROOT = 15
"""Fraction bits of the square root of a row's length."""


def softmax_by(exp: Pwl, reciprocal: Pwl, *, input: Fixed, output: Fixed, most: int, name: str = "softmax") -> Program:
    """The program of softmax along rows of 1 to `most` places by two units, as `hwlut.nn.PwlSoftmax` has it.

    x - max(x), rounded half up to codes of `exp` and saturated, goes through that; the sum of a row is m 2^e with
    1 <= m < 2, and its reciprocal that of the unit at m, rounded half up to its codes, and a shift. The lowest input
    code counts as minus infinity, as in `hwlut.program.softmax`.

    Parameters
    ----------
    exp, reciprocal: units of one scale; `reciprocal` holds 2 at its own.
    input: 4 to 16 bits. output: 2 to 32 bits; both with a frac.

    Raises TypeError or ValueError for what cannot be built.
    """
    check_format("softmax input", input, 4, 16)
    check_format("softmax output", output, 2, 32)
    check_size("softmax most", most, MOST_PLACES)
    (scale,) = exp.scales
    with building(f"softmax from {input} to {output}"):
        draft = _draft(input)
        difference = draft(Subtract, "difference", INPUT, draft(Maximum, "highest", INPUT))
        held = draft(Clamp, "held", draft.scaled("code_of_exp", difference, scale - input.frac), exp.input.min, 0)
        power = draft(Apply, "power", held, exp)
        power = draft.clamped("positive", power, 0, max(1, draft.spans[power][1]))
        weight = draft(Select, "weight", draft(Equal, "masked", INPUT, input.min), 0, power)
        exponent, inverse = _by_octaves(draft, draft(Sum, "total", weight, most), 1, reciprocal)
        share = draft(Multiply, "exact", weight, inverse)
        rounded = draft.scaled("share", share, output.frac - _frac(reciprocal), exponent)
        draft.clamped("y", rounded, output.min, output.max)
        return Program.of(
            name=name,
            input=input,
            nodes=tuple(draft.nodes),
            output=output,
            meta={"method": "softmax by units", "hwlut": __version__, "most": most},
        )


def layer_norm_by(
    rsqrt: Pwl, *, input: Fixed, output: Fixed, size: int, eps: float, name: str = "layer_norm"
) -> Program:
    """The program of ``(x - mean(x)) / sqrt(var(x) + eps)`` along rows of `size` = n places by a unit for 1/sqrt, as
    `hwlut.nn.PwlLayerNorm` has it, without weight and bias.

    With c = n q - sum(q) and V = sum(c^2) + eps n^3 in steps of the input, it is c sqrt(n) / sqrt(V); V is m 4^e with
    1 <= m < 4, and 1/sqrt(m) that of the unit at m, rounded half up to its codes.

    Parameters
    ----------
    rsqrt: of one scale, at which it holds 4. input: 4 to 16 bits. output: 2 to 32 bits; both with a frac.
    size: up to 4096. eps: from 0.

    Raises TypeError or ValueError for what cannot be built.
    """
    check_format("layer_norm input", input, 4, 16)
    check_format("layer_norm output", output, 2, 32)
    check_size("layer_norm size", size, 1 << 12)
    with building(f"layer_norm of {size} places from {input} to {output}"):
        draft = _draft(input)
        whole = draft(Multiply, "times_size", INPUT, size)
        centred = draft(Subtract, "centred", whole, draft(Sum, "sum", INPUT, size))
        length = (size - 1).bit_length()
        drop = max(0, length - 8)
        centred = draft.scaled("narrow", centred, -drop)
        squares = draft(Sum, "squares", draft(Multiply, "square", centred, centred), size)
        added = round(math.ldexp(eps * size**3, 2 * (input.frac - drop)))
        exponent, inverse = _by_octaves(draft, draft(Add, "variance", squares, max(1, added)), 2, rsqrt)
        root = draft.scaled("root", draft(Multiply, "rooted", inverse, round(math.sqrt(size) * 2**_ROOT)), -_ROOT)
        product = draft(Multiply, "exact", centred, root)
        rounded = draft.scaled("rounded", product, output.frac - _frac(rsqrt), exponent)
        draft(Clamp, "y", rounded, output.min, output.max)
        return Program(
            name=name,
            inputs=(Port(INPUT, input, (size,)),),
            nodes=tuple(draft.nodes),
            outputs=(Port("y", output, (size,)),),
            meta={"method": "layer_norm by a unit", "hwlut": __version__, "size": size, "eps": eps},
        )


def _draft(input: Fixed) -> Draft:
    return Draft({INPUT: input}, Fitting(1, 8, 16))  # which fits no cores


def _by_octaves(draft: Draft, value: str, step: int, unit: Pwl) -> tuple[str, str]:
    """e of ``value = m * 2^(step * e)``, and the unit's result at m."""
    (scale,) = unit.scales
    exponent, mantissa = octaves(draft, value, step, scale + step + _GUARD)
    code = draft(ShiftRight, "code", mantissa, _GUARD, Rounding.HALF_UP)
    code = draft.clamped("code_held", code, unit.input.min, unit.input.max)
    return exponent, draft(Apply, "inverse", code, unit)


def _frac(unit: Pwl) -> int:
    frac = unit.output_format(unit.scales[0]).frac
    assert frac is not None
    return frac
