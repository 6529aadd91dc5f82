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
    """Real values in steps from zero: as they are, saturated, and rounded too."""

    scaled: torch.Tensor
    clipped: torch.Tensor
    rounded: torch.Tensor


def real(x: torch.Tensor) -> torch.Tensor:
    """`x` in the type that it is quantized in: float64 for float64, float32 for all others."""
    return x if x.dtype == torch.float64 else x.float()


def hold(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed) -> Held:
    """``x / step``, divided in the type of `real`, saturated to the codes, rounded half to even; NaN stays NaN."""
    scaled = real(x) / step
    if zero_point is None:
        clipped = scaled.clamp(format.min, format.max)
    else:
        zero = zero_point.to(scaled.dtype)
        clipped = scaled.clamp(format.min - zero, format.max - zero)
    return Held(scaled, clipped, torch.round(clipped))


def held_codes(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed) -> torch.Tensor:
    """int32 codes of real values; NaN gets that of zero."""
    codes = hold(x.detach(), step.detach(), zero_point, format).rounded.nan_to_num(0.0).to(torch.int32)
    return codes if zero_point is None else codes + zero_point


def fake_quantized(
    x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, format: Fixed, margin: bool
) -> torch.Tensor:
    """The values of the codes of `x`, in its type; NaN stays NaN.

    The gradient of x is 1 where it rounds to a code of the format, else 0. That of the step, where it has one, is
    code - x / step in the range and the end code outside it, both counted from zero. For it, the range ends half a step
    beyond the end codes (`margin`; Jain et al., "Trained Quantization Thresholds", MLSys 2020) or at them
    (Esser et al., "Learned Step Size Quantization", ICLR 2020, equation 3).
    """
    size = step.detach()
    scaled, clipped, rounded = hold(x.detach(), size, zero_point, format)
    result = rounded * size + 0.0  # no negative zero, which has no code
    if x.requires_grad:
        wide = real(x)
        result = result + torch.where(torch.round(scaled) == rounded, wide - wide.detach(), 0.0)  # zero is added
    if step.requires_grad:
        inside = torch.round(scaled) == rounded if margin else scaled == clipped
        result = result + torch.where(inside, rounded - scaled, rounded) * (step - size)
    return result.to(x.dtype)
