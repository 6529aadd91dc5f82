"""Which steps there are, and which of them serves a range of values."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hwlut.fixed import Fixed, power_of_two

__all__ = ["PowerOfTwoSteps", "RealSteps", "SMALLEST_STEP"]

SMALLEST_STEP = torch.finfo(torch.float32).tiny
"""2^-126: no smaller one is a normal float32."""

_CANDIDATES = 100
_LARGEST = torch.finfo(torch.float32).max * (1 - 2.0**-20)  # a value, with room for the rounding of a step


@dataclass(frozen=True)
class _Steps:
    """Steps of codes of a format, with zero point 0 (`symmetric`) or one that follows the range.

    A range is (low, high), float32 tensors of one shape with low <= 0 <= high; all results have that shape.
    """

    format: Fixed
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
            yield (whole * (part / _CANDIDATES)).clamp(min=SMALLEST_STEP)


@dataclass(frozen=True)
class PowerOfTwoSteps(_Steps):
    """2^-s for each s of `scales`, which ascend."""

    scales: tuple[int, ...]

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
