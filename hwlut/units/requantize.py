"""Requantization: from an accumulator to an output code by a multiplier and a shift."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwlut.fields import choice, fixed, integer, integers
from hwlut.fixed import Fixed, Rounding, round_shift, saturate
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes, result_dtype

if TYPE_CHECKING:
    import torch

__all__ = ["Requantize", "MULTIPLIER_BITS", "STAGES"]

MULTIPLIER_BITS = 31
STAGES = 2
"""Pipeline registers of the component's default form."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantize(Unit, schema="hwlut.requantize/1"):
    """``y = saturate(round(acc * m * 2^-shift) + zero_point)`` with one rounding.

    The integer form of multiplying by a real ratio (Jacob et al., CVPR 2018, section 2.2).

    Parameters
    ----------
    input: bits (2 to 32) and sign of the accumulator.
    multipliers, shifts: one m (0 to 2^31 - 1) and one shift (0 to 62) a tensor, or one a channel.
    zero_point: output code that stands for zero.
    output: bits and sign of the output code.
    rounding: "half_up", "half_even" or "floor".
    """

    input: Fixed = fixed("bits", "signed")
    multipliers: tuple[int, ...] = integers(0, (1 << MULTIPLIER_BITS) - 1)
    shifts: tuple[int, ...] = integers(0, 62)
    zero_point: int = integer(-(1 << 63), (1 << 63) - 1, default=0)
    output: Fixed = fixed("bits", "signed")
    rounding: Rounding = choice(Rounding, default=Rounding.HALF_UP)

    def validate(self) -> None:
        if not 2 <= self.input.bits <= 32:
            raise ValueError(f"Requantize input bits must be from 2 to 32, not {self.input.bits}")
        if self.output.bits > 32:
            raise ValueError(f"Requantize output bits must be from 1 to 32, not {self.output.bits}")
        if not self.multipliers:
            raise ValueError("Requantize multipliers must be at least one, not ()")
        if len(self.shifts) != len(self.multipliers):
            raise ValueError(
                f"Requantize shifts must be {len(self.multipliers)}, one a multiplier, not {len(self.shifts)}"
            )
        if not self.output.min <= self.zero_point <= self.output.max:
            raise ValueError(
                f"Requantize zero_point must be from {self.output.min} to {self.output.max}, not {self.zero_point}"
            )

    @classmethod
    def from_ratios(
        cls, ratios: "list[float] | float", factor_bits: int = MULTIPLIER_BITS, **fields: object
    ) -> "Requantize":
        """The unit that multiplies by real `ratios` (> 0, one a channel): m of `factor_bits` significant bits, nearest.

        A ratio below 2^(factor_bits - 63) loses bits of m, since the shift ends at 62; one of 2^31 - 1 or more is
        refused.
        """
        multipliers, shifts = [], []
        for ratio in [ratios] if isinstance(ratios, (int, float)) else ratios:
            if not (math.isfinite(ratio) and 0 < ratio < 2.0**MULTIPLIER_BITS - 1):
                raise ValueError(f"Requantize ratio must be above 0 and below 2^31 - 1, not {ratio}")
            shift = min(62, factor_bits - math.frexp(ratio)[1])
            if round(math.ldexp(ratio, shift)) >> factor_bits:
                shift -= 1
            multipliers.append(round(math.ldexp(ratio, shift)) << max(0, -shift))
            shifts.append(max(0, shift))
        return cls(multipliers=tuple(multipliers), shifts=tuple(shifts), **fields)  # type: ignore[arg-type]

    @property
    def channels(self) -> int:
        """Number of channels; 1 is per tensor."""
        return len(self.multipliers)

    def __call__(self, codes: "torch.Tensor", axis: int = -1) -> "torch.Tensor":
        """Output codes (int32) of accumulators; per channel, `axis` is the channel dimension.

        (int64 for an unsigned 32-bit output.) Raises ValueError for a code outside the input format
        or an axis of another size than the channels.
        """
        import torch

        acc = checked_codes(codes, self.input, "Requantize")
        if self.channels == 1:
            scaled = round_shift(acc * self.multipliers[0], self.shifts[0], self.rounding)
        else:
            if not -acc.dim() <= axis < acc.dim() or acc.shape[axis] != self.channels:
                raise ValueError(
                    f"Requantize axis {axis} must have {self.channels} channels, not shape {tuple(acc.shape)}"
                )
            pairs = zip(acc.unbind(axis), self.multipliers, self.shifts)
            scaled = torch.stack([round_shift(a * m, shift, self.rounding) for a, m, shift in pairs], axis)
        result = saturate(scaled + self.zero_point, self.output)
        return result.to(result_dtype(self.output))

    def cost(self) -> Resources:
        storage = self.channels * (MULTIPLIER_BITS + 6) + self.output.bits
        return Resources(
            storage_bits=storage,
            multiplier_bits=self.input.bits * MULTIPLIER_BITS,
            adder_bits=self.input.bits + MULTIPLIER_BITS + self.output.bits,
            latency=STAGES,
        )
