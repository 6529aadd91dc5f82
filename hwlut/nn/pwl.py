"""The activation that a piecewise-linear unit computes."""

from hwlut.nn.activation import UnitActivation
from hwlut.quant import Quantizer
from hwlut.units import Pwl

__all__ = ["PwlActivation"]


class PwlActivation(UnitActivation):
    """Real numbers through a Pwl: quantized to its input codes, its result for each, back to real numbers.

    The forward is ``unit(q, scale) * 2^-frac`` bit for bit at ``q = quantizer.codes(x)``, in training too, and runs as
    one operator on a table of the unit's results, on the device of its buffers and without waiting for it. NaN stays
    NaN. The backward passes the derivative at q straight through the rounding, and zero where q is saturated.

    Parameters
    ----------
    unit: of at most 16 input bits.
    quantizer: of the unit's input format, with scales of the unit. By default one that chooses among the unit's
        scales and is to be calibrated (`hwlut.quant.calibrate`); a unit with one scale needs none.
    gradient: "exact", the derivative of the function that the unit names, or "slope", that of the unit's line.

    The result has the dtype of x, float32 under autocast. Buffers: `table` [scales, codes], the result codes;
    `exponents` [scales, 3] (scale, frac of the results, frac of the slopes); `slopes` [scales, codes + 2], not in the
    state. All are integers, which no `.half()` rounds. A state with another table is refused.
    """

    label = "PwlActivation"
    kinds = (Pwl,)

    def __init__(self, unit: Pwl, quantizer: Quantizer | None = None, gradient: str = "exact"):
        super().__init__(unit, quantizer, gradient)
