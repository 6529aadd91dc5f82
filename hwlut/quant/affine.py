"""The arithmetic of quantization, once: real values to codes at a step and a zero point, and the gradient."""

from typing import NamedTuple

import torch

from hwlut.fixed import Fixed

__all__ = ["Quantized", "fake_quantized", "held_codes"]


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


class Held(NamedTuple):
    """Real values in steps from zero, before and after they are rounded and saturated."""

    scaled: torch.Tensor
    rounded: torch.Tensor
    held: torch.Tensor


def real(x: torch.Tensor) -> torch.Tensor:
    """`x` in the type that it is quantized in: float64 for float64, float32 for all others."""
    return x if x.dtype == torch.float64 else x.float()


def hold(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed) -> Held:
    """``round_half_even(x / step)``, the division in the type of `real`, saturated to the codes; NaN stays NaN."""
    scaled = real(x) / step
    rounded = torch.round(scaled)
    if zero_point is None:
        return Held(scaled, rounded, rounded.clamp(format.min, format.max))
    zero = zero_point.to(rounded.dtype)
    return Held(scaled, rounded, rounded.clamp(format.min - zero, format.max - zero))


def held_codes(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed) -> torch.Tensor:
    """int32 codes of real values; NaN gets that of zero."""
    codes = hold(x.detach(), step.detach(), zero_point, format).held.nan_to_num(0.0).to(torch.int32)
    return codes if zero_point is None else codes + zero_point


def fake_quantized(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed) -> torch.Tensor:
    """The values of the codes of `x`, in its type; NaN stays NaN.

    The gradient of x is 1 where its code lies in the range before it is saturated, else 0. That of the step, where it
    has one, is code - x / step in the range, both counted from zero, and the end code outside it (Esser et al.,
    "Learned Step Size Quantization", ICLR 2020, equation 3).
    """
    size = step.detach()
    scaled, rounded, held = hold(x.detach(), size, zero_point, format)
    inside = rounded == held
    wide = real(x)
    result = held * size + torch.where(inside, wide - wide.detach(), 0.0)  # zero, and with it the gradient of x
    if step.requires_grad:
        result = result + torch.where(inside, held - scaled, held) * (step - size)
    return result.to(x.dtype)
