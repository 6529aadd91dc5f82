"""Softmax as a program of rows."""

import math

import numpy as np

from hwlut import __version__
from hwlut.fixed import Fixed, Rounding
from hwlut.functions import Function
from hwlut.program.draft import CORE, Draft, Fitting
from hwlut.program.formats import building, check_format, check_size
from hwlut.program.octaves import octaves
from hwlut.units import Direct, Program
from hwlut.units.operations import Apply, Bits, Equal, Multiply, Select, ShiftRight, Subtract
from hwlut.units.program import INPUT
from hwlut.units.reductions import MOST_PLACES, Maximum, Sum

__all__ = ["softmax"]

_LOG2E_FRAC = 14
"""log2(e) is off by 2^-15, which changes exp(-x) by less than x * 2.2e-5 of itself."""

_LOG2E = round(math.log2(math.e) * 2**_LOG2E_FRAC)

_PART = 12
"""Fraction bits of the logarithm: half a step is 8.5e-5 of a power."""

_TAIL = 8
"""Powers have a fraction bit more for each octave of places beyond 2^8, so that a row loses at most 2^-9 of its sum."""

_MANTISSA = 16

_TABLE_BITS = 10
"""Input bits up to which a truth table of powers is smaller than 4 segments and a shift."""

_SEGMENTS = 4

_EXP = Function("exp", lambda x: np.exp(-x))
_POWER = Function("exp2", lambda x: np.exp2(-x), (0.0, 1.0))
_RECIPROCAL = Function("reciprocal", np.reciprocal, (1.0, 2.0))


def softmax(
    *,
    input: Fixed,
    output: Fixed,
    most: int,
    segments: int | None = None,
    slope_bits: int = 8,
    intercept_bits: int = 16,
    name: str = "softmax",
) -> Program:
    """The program of softmax along rows of 1 to `most` places.

    With d = max(x) - x, exp(-d) is a truth table of up to 10 input bits, or 2^-i 2^-f where d log2(e) = i + f: a table
    of 2^-f and a shift. The sum of a row is m 2^e with 1 <= m < 2, hence its reciprocal a table of 1/m and a shift.
    Powers have 16 fraction bits, and one more for each doubling of `most` beyond 256; their sum is exact. Products of a
    power and the reciprocal are rounded once, half up, to the output, and saturate.

    The lowest input code counts as minus infinity: its place is exactly 0, whatever the others are, and in a row of
    nothing else every place is. So a mask saturates the codes it hides.

    Parameters
    ----------
    input: format of the input codes, 4 to 16 bits, with a frac.
    output: format of the result, 2 to 32 bits, with a frac; what it cannot hold, as a u15.15 cannot 1, saturates.
    most: places of the longest row, up to 2^20.
    segments: of the table of 2^-f; that of reciprocals, whose error the whole row has, has twice as many. None is a
        truth table of the powers where the input has up to 10 bits, which is exact and the smaller hardware, and 4
        segments elsewhere, and 8 of the reciprocal.
    slope_bits, intercept_bits: of the tables of segments, as for `hwlut.fit`.
    name: of the program.

    Raises TypeError or ValueError for what cannot be built.
    """
    check_format("softmax input", input, 4, 16)
    check_format("softmax output", output, 2, 32)
    check_size("softmax most", most, MOST_PLACES)
    tabled = segments is None and input.bits <= _TABLE_BITS
    segments = _SEGMENTS if segments is None else segments
    with building(f"softmax from {input} to {output}"):
        draft = Draft({INPUT: input}, Fitting(segments, slope_bits, intercept_bits))
        highest = draft(Maximum, "highest", INPUT)
        # Never negative, which no span can tell.
        distance = draft(Bits, "distance", draft(Subtract, "difference", highest, INPUT), 0, input.bits)
        finer = max(0, (most - 1).bit_length() - _TAIL)
        power = (_looked_up if tabled else _shifted)(draft, distance, input, finer)
        weight = draft(Select, "weight", draft(Equal, "masked", INPUT, input.min), 0, power)
        total = draft(Sum, "total", weight, most)
        exponent, mantissa = octaves(draft, total, 1, _MANTISSA)
        reciprocal = draft.core("reciprocal", _RECIPROCAL, _MANTISSA - 1, mantissa, 2 * segments)
        exact = draft(Multiply, "exact", weight, reciprocal)
        share = draft.scaled("share", exact, output.frac - CORE.frac, exponent)
        draft.clamped("y", share, output.min, output.max)
        powers = "truth table" if tabled else f"{segments} segments"
        return Program.of(
            name=name,
            input=input,
            nodes=tuple(draft.nodes),
            output=output,
            meta={"method": "softmax", "hwlut": __version__, "most": most, "powers": powers},
        )


def _looked_up(draft: Draft, distance: str, input: Fixed, finer: int) -> str:
    """exp(-distance) with `finer` more fraction bits than a core, from one table."""
    table = Direct.sample(
        _EXP,
        input=Fixed(input.bits, input.frac, signed=False),
        output=Fixed(CORE.bits + finer, CORE.frac + finer, False),
    )
    return draft(Apply, "power", distance, table)


def _shifted(draft: Draft, distance: str, input: Fixed, finer: int) -> str:
    """exp(-distance) with `finer` more fraction bits than a core, as a shift of it."""
    product = draft(Multiply, "product", distance, _LOG2E)
    octave = draft.scaled("octave", product, _PART - _LOG2E_FRAC - input.frac)
    core = draft.core("core", _POWER, _PART, draft(Bits, "part", octave, 0, _PART))
    # Two octaves below its last bit a power is 0.
    whole = draft(ShiftRight, "octaves", octave, _PART, Rounding.FLOOR)
    by = draft.clamped("by", whole, 0, CORE.frac + finer + 2)
    return draft.scaled("power", core, finer, by)
