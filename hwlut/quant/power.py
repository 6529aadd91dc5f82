"""Values of a learned range, raised to a learned power, with their gradients."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from hwlut.ops.ranged_quantize import ranged_gradients
from hwlut.ops.registry import standing_alone

__all__ = ["raised"]


def raised(x: torch.Tensor, top: torch.Tensor, power: torch.Tensor, signed: bool = True) -> torch.Tensor:
    """sgn(x) min(abs(x), top)^power, without a sign 0 for negative values; NaN stays NaN.

    Gradients as in `RangedQuantizer`: that of x straight through the power, 1 in the range. There is no second one.

    Parameters
    ----------
    x: float32 or float64, of any shape.
    top, power: float32 [], positive.
    """
    if standing_alone():
        return _raised(x, top.detach(), power.detach(), signed)
    made = _Raised.apply(x, top, power, signed)
    assert isinstance(made, torch.Tensor)
    return made


def _held(x: torch.Tensor, top: torch.Tensor, signed: bool) -> torch.Tensor:
    return torch.minimum(x.abs() if signed else x.clamp(min=0), top)


def _raised(x: torch.Tensor, top: torch.Tensor, power: torch.Tensor, signed: bool) -> torch.Tensor:
    made = _held(x, top, signed).pow_(power)
    return made.copysign_(x) if signed else made


class _Raised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, top: torch.Tensor, power: torch.Tensor, signed: bool) -> torch.Tensor:
        made = _raised(x, top, power, signed)
        ctx.save_for_backward(x, top, power, made)
        ctx.signed = signed
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, top, power, made = ctx.saved_tensors
        of_x, _, beyond = ranged_gradients(grad, x, top, top, ctx.signed)
        logarithms = _held(x, top, ctx.signed).clamp_(min=torch.finfo(x.dtype).tiny).log_()
        parts = logarithms.mul_(made).mul_(grad)
        of_power = parts.sum(dtype=torch.float64).to(power.dtype) + 0.0  # zero has one sign
        return of_x, beyond * power * top.pow(power - 1), of_power, None
