"""Which steps there are, and which of them serves a range of values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch

from hwlut.fixed import power_of_two
from hwlut.quant.formats import Format

__all__ = [
    "MicroscalingSteps",
    "MultiplierSteps",
    "PowerOfTwoSteps",
    "RealSteps",
    "SMALLEST_STEP",
    "Steps",
    "multiplier_and_shift",
]

SMALLEST_STEP = torch.finfo(torch.float32).tiny
"""2^-126: no smaller one is a normal float32."""

_CANDIDATES = 100
_FLOAT_BITS = 24  # significant ones
_LARGEST = torch.finfo(torch.float32).max * (1 - 2.0**-20)  # a value, with room for the rounding of a step


@dataclass(frozen=True)
class _Steps:
    """Steps of codes of a format, with zero point 0 (`symmetric`) or one that follows the range.

    A range is (low, high), float32 tensors of one shape with low <= 0 <= high; all results have that shape.
    """

    kind: ClassVar[str]
    format: Format
    symmetric: bool

    def zero_point(self, low: torch.Tensor, high: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """int32 codes of zero: `low` gets the lowest code; of a range too wide, each end loses its share."""
        if self.symmetric:
            return torch.zeros_like(step, dtype=torch.int32)
        codes = self.format.max - self.format.min
        share = (codes / (high / step - low / step)).clamp(max=1.0)
        below = torch.round(share * (low / step)).nan_to_num(0.0)
        return (self.format.min - below).clamp(self.format.min, self.format.max).to(torch.int32)


@dataclass(frozen=True)
class RealSteps(_Steps):
    """Any positive float32 from 2^-126."""

    kind = "real"

    def words(self) -> str:
        return "real steps"

    def allowed(self, step: torch.Tensor) -> torch.Tensor:
        """The step nearest to a positive number."""
        return step.clamp(min=SMALLEST_STEP)

    def holding(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """The finest step at which the codes reach over the range, but for rounding; 1 for a range of zero alone.

        Of ranges that come within a step of the largest float32, they may not, as their own values are finite.
        """
        low, high = low.clamp(min=-_LARGEST), high.clamp(max=_LARGEST)
        if not self.symmetric:
            codes = self.format.max - self.format.min
            step = high / codes - low / codes
            # As zero is a code, an end may come to lie half a step beyond the range.
            step = step / (torch.maximum(high, -low) / _LARGEST + step / _LARGEST / 2).clamp(min=1)
        elif self.format.signed:
            step = torch.maximum(high / self.format.max, low / self.format.min).clamp(max=-_LARGEST / self.format.min)
        else:
            step = high / self.format.max
        return torch.where(step > 0, step.clamp(min=SMALLEST_STEP), 1.0)

    def candidates(self, low: torch.Tensor, high: torch.Tensor) -> Iterator[torch.Tensor]:
        """Hundredths of the step that holds the range, coarsest first."""
        whole = self.holding(low, high)
        for part in range(_CANDIDATES, 0, -1):
            yield self.allowed(whole * (part / _CANDIDATES))


@dataclass(frozen=True)
class MultiplierSteps(RealSteps):
    """m * 2^-k of integers, with 0 < m < 2^bits: a multiplier and a shift in hardware, as in `Requantize`."""

    bits: int

    kind = "multiplier"

    def words(self) -> str:
        return f"steps of {self.bits} bits"

    def allowed(self, step: torch.Tensor) -> torch.Tensor:
        highest = ((1 << self.bits) - 1) * 2.0 ** (128 - self.bits)
        patterns = super().allowed(step).clamp(max=highest).view(torch.int32)
        odd = (patterns >> self._dropped) & 1
        return self._cut(patterns + ((1 << (self._dropped - 1)) - 1 + odd))

    def holding(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        patterns = super().holding(low, high).view(torch.int32)
        coarser = self._cut(patterns + ((1 << self._dropped) - 1))
        return torch.where(torch.maximum(high, -low) < _LARGEST / 4, coarser, self._cut(patterns))

    @property
    def _dropped(self) -> int:
        """Lowest bits of a float32 that a step has not."""
        return _FLOAT_BITS - self.bits

    def _cut(self, patterns: torch.Tensor) -> torch.Tensor:
        return (patterns >> self._dropped << self._dropped).view(torch.float32)


def multiplier_and_shift(step: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Integers m (from 1, below 2^31, as small as they can be) and shifts (0 to 62) with step = m * 2^-shift, exactly.

    `step` holds positive float32 numbers; their order is that of the results, as `Requantize` takes them. ValueError
    for one that has no such form.
    """
    multipliers, shifts = [], []
    for each in step.detach().flatten().tolist():
        numerator, denominator = each.as_integer_ratio() if math.isfinite(each) else (0, 1)
        if not (0 < numerator < 1 << 31 and denominator.bit_length() <= 63):
            raise ValueError(f"step must be m * 2^-shift with m from 1 to 2^31 - 1 and shift from 0 to 62, not {each}")
        multipliers.append(numerator)
        shifts.append(denominator.bit_length() - 1)
    return tuple(multipliers), tuple(shifts)


@dataclass(frozen=True)
class PowerOfTwoSteps(_Steps):
    """2^-s for each s of `scales`, which ascend."""

    scales: tuple[int, ...]

    kind = "power_of_two"

    def words(self) -> str:
        return "power-of-two steps"

    def holding(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """The finest step at which the range rounds to codes of the format; where there is none, the coarsest."""
        exponents = self._exponents(low.device)
        factors = power_of_two(exponents)
        first, last = (torch.round(end.unsqueeze(-1) * factors) for end in (low, high))
        if not self.symmetric:
            fits = last - first <= self.format.max - self.format.min
        else:
            fits = last <= self.format.max
            if self.format.signed:
                fits = fits & (first >= self.format.min)
        return power_of_two(-torch.where(fits, exponents, self.scales[0]).amax(-1))

    def _exponents(self, device: torch.device) -> torch.Tensor:
        """The scales, int32, made on the device itself, which no copy has to wait for."""
        first, last = self.scales[0], self.scales[-1]
        if last - first + 1 == len(self.scales):
            return torch.arange(first, last + 1, dtype=torch.int32, device=device)
        return torch.stack([torch.full((), scale, dtype=torch.int32, device=device) for scale in self.scales])

    def candidates(self, low: torch.Tensor, high: torch.Tensor) -> Iterator[torch.Tensor]:
        """Every step, coarsest first."""
        for scale in self.scales:
            yield torch.full_like(low, 2.0**-scale)


@dataclass(frozen=True)
class MicroscalingSteps(PowerOfTwoSteps):
    """2^(floor(log2 of the greatest magnitude) - that of the highest code), the nearest of `scales`, which have no gap.

    Values of the highest binade may saturate. Open Compute Project, "Microscaling Formats (MX) Specification" 1.0,
    section 6.3, whose scale X this is times the value of code 1: 2^-1 for E2M1, 2^-6 for the integers of MXINT8.
    """

    def words(self) -> str:
        return "power-of-two steps of mx"

    def holding(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """The step of a range; the smallest for a range of zero alone."""
        exponent = (torch.maximum(high, -low).abs().view(torch.int32) >> 23) - 127
        return power_of_two((exponent - (self.format.max.bit_length() - 1)).clamp(-self.scales[-1], -self.scales[0]))


Steps: TypeAlias = RealSteps | PowerOfTwoSteps
