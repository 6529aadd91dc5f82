"""Real values and codes of a format, at a step and a zero point."""

from typing import NamedTuple

import torch

from hwlut.ops.fake_quantize import Held, fake_quantize, real
from hwlut.ops.fake_quantize import hold as held
from hwlut.quant.formats import Format, integers_of, significant_bits

__all__ = ["Quantized", "fake_quantized", "held_codes", "hold"]


class Quantized(NamedTuple):
    """Codes and what they stand for: ``(codes - zero_point) * step``.

    codes: int32, of the shape of the values. step: float32, finite and positive; zero_point: int32, the code of zero;
    both broadcast against the codes.
    """

    codes: torch.Tensor
    step: torch.Tensor
    zero_point: torch.Tensor

    def values(self) -> torch.Tensor:
        """The float32 values of the codes."""
        return (self.codes - self.zero_point).float() * self.step


def hold(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Format) -> Held:
    """Real values in steps from zero, held by the codes of a format."""
    return held(x, step, zero_point, format.min, format.max, significant_bits(format))


def held_codes(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Format) -> torch.Tensor:
    """int32 codes of real values; NaN gets that of zero. ValueError where int32 does not hold the format."""
    integers_of(format)
    codes = hold(x.detach(), step.detach(), zero_point, format).rounded.nan_to_num(0.0).to(torch.int32)
    return codes if zero_point is None else codes + zero_point


def fake_quantized(
    x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Format, margin: bool
) -> torch.Tensor:
    """The values of the codes of `x`, in its type, with the gradients of `hwlut.ops.fake_quantize`; NaN stays NaN."""
    values = fake_quantize(
        real(x),
        step,
        zero_point,
        low=format.min,
        high=format.max,
        significant=significant_bits(format),
        margin=margin,
    )
    return values.to(x.dtype)
