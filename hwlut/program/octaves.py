"""A positive integer as a mantissa and an exponent, however wide it is."""

from hwlut.fixed import Rounding
from hwlut.program.draft import Draft
from hwlut.units.operations import Bits, LeadingOne, ShiftLeft, ShiftRight, Subtract

__all__ = ["octaves"]


def octaves(draft: Draft, value: str, step: int, bits: int) -> tuple[str, str]:
    """Draft e and m of ``value = m * 2^(step * e)`` with 1 <= m < 2^step; return their names.

    m has `bits` bits, all but `step` of them fraction, and loses what is below them: less than 2^(step - bits) of
    itself. Of 0 both are 0.

    Parameters
    ----------
    value: never negative. step: 1 or 2.
    """
    frac = bits - step
    leading = draft(LeadingOne, "leading", value)
    exponent = leading if step == 1 else draft(ShiftRight, "exponent", leading, 1, Rounding.FLOOR)
    whole = leading if step == 1 else draft(ShiftLeft, "whole", exponent, 1)
    surplus = draft.spans[whole][1] - frac
    if surplus > 0:
        down = draft.clamped("down", draft(Subtract, "surplus", whole, frac), 0, surplus)
        value = draft(ShiftRight, "lowered", value, down, Rounding.FLOOR)
    up = draft.clamped("up", draft(Subtract, "lack", frac, whole), 0, frac)
    # The leading one now is at most at bit bits - 1, which no span can tell.
    raised = draft(ShiftLeft, "raised", draft(Bits, "kept", value, 0, bits), up)
    return exponent, draft(Bits, "mantissa", raised, 0, bits)
