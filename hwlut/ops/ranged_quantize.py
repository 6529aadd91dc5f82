"""Real numbers to multiples of a step in a range, in one pass, and all their gradients in another."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops.launch import kernels
from hwlut.ops.registry import register, standing_alone

__all__ = ["clipped", "ranged_gradients", "ranged_quantize"]

_PIECE = 8192  # as in kernels/ranged_quantize.h
_RANGE: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]  # x, step, top, signed
_ARGUMENTS: list[Any] = [*_RANGE, ctypes.c_void_p, ctypes.c_int64]  # ..., out, count
_BACKWARD_ARGUMENTS: list[Any] = [ctypes.c_void_p, *_RANGE, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

_Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _empty(x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"ranged_quantize x must be torch.float32 or torch.float64, not {x.dtype}")
    for label, tensor in (("step", step), ("top", top)):
        if tensor.dtype != torch.float32:
            raise TypeError(f"ranged_quantize {label} must be torch.float32, not {tensor.dtype}")
        if tensor.dim():
            raise ValueError(f"ranged_quantize {label} must be one number, not of shape {tuple(tensor.shape)}")
        if tensor.device != x.device:
            raise ValueError(f"ranged_quantize {label} must be on {x.device} like x, not {tensor.device}")
    return torch.empty_like(x)


def clipped(x: torch.Tensor, top: torch.Tensor, signed: bool) -> torch.Tensor:
    """`x` from -top, or without a sign from 0, to top; NaN stays NaN."""
    return torch.minimum(torch.maximum(x, -top) if signed else x.clamp(min=0), top)


def _definition(x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool) -> torch.Tensor:
    out = _empty(x, step, top, signed)
    return out.copy_(torch.round(clipped(x, top, signed) / step) * step + 0.0)  # no negative zero, which has no code


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    def run(x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool) -> torch.Tensor:
        if x.dtype != torch.float32:
            return _definition(x, step, top, signed)
        out = _empty(x, step, top, signed)
        if x.stride() != out.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            x = x.clone()
        launch(x.device, x.data_ptr(), step.data_ptr(), top.data_ptr(), signed, out.data_ptr(), x.numel())
        return out

    return run


def _empty_gradients(
    grad: torch.Tensor, x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool
) -> _Gradients:
    return torch.empty_like(x), torch.empty_like(step), torch.empty_like(top)


def _backward_definition(
    grad: torch.Tensor, x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool
) -> _Gradients:
    of_x, of_step, of_top = _empty_gradients(grad, x, step, top, signed)
    inside = clipped(x, top, signed)
    scaled = inside / step
    of_x.copy_(torch.where(inside == x, grad, 0.0))
    of_step.copy_((grad * (torch.round(scaled) - scaled)).double().sum() + 0.0)  # zero has one sign
    beyond = (x > top).to(grad.dtype) - ((x < -top) & signed).to(grad.dtype)
    of_top.copy_((grad * beyond).double().sum() + 0.0)
    return of_x, of_step, of_top


def _backward_on(launch: Callable[..., None]) -> Callable[..., _Gradients]:
    def run(grad: torch.Tensor, x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool) -> _Gradients:
        if x.dtype != torch.float32:
            return _backward_definition(grad, x, step, top, signed)
        of_x = torch.empty_like(x)
        if x.stride() != of_x.stride():
            x = x.clone()
        if grad.stride() != x.stride():
            grad = torch.empty_like(x).copy_(grad)
        sums = torch.empty(-(-x.numel() // _PIECE), 2, dtype=torch.float64, device=x.device)
        numbers = step.data_ptr(), top.data_ptr(), signed
        launch(x.device, grad.data_ptr(), x.data_ptr(), *numbers, of_x.data_ptr(), sums.data_ptr(), x.numel())
        of_step, of_top = sums.sum(0).to(step.dtype).unbind()
        return of_x, of_step.clone(), of_top.clone()  # outputs of an operator share no memory

    return run


def _no_second(ctx: Any, *gradients: torch.Tensor) -> None:
    raise RuntimeError("ranged_quantize has a first gradient only")


ranged_gradients = register(
    "ranged_quantize_backward(Tensor grad, Tensor x, Tensor step, Tensor top, bool signed) -> (Tensor, Tensor, Tensor)",
    _backward_definition,
    _empty_gradients,
    kernels("ranged_quantize_backward", _BACKWARD_ARGUMENTS, _backward_on),
    (lambda ctx, inputs, output: None, _no_second),
)
"""Of `ranged_quantize`: from the gradient of its result, and what it was given, those of x, step and top."""


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, step, top, ctx.signed = inputs
    ctx.save_for_backward(x, step, top)


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return (*ranged_gradients(grad, *ctx.saved_tensors, ctx.signed), None)


_ranged_quantize = register(
    "ranged_quantize(Tensor x, Tensor step, Tensor top, bool signed) -> Tensor",
    _definition,
    _empty,
    kernels("ranged_quantize", _ARGUMENTS, _on),
    (_save, _gradients),
)


def ranged_quantize(x: torch.Tensor, step: torch.Tensor, top: torch.Tensor, signed: bool = True) -> torch.Tensor:
    """``round_half_even(clamp(x, bottom, top) / step) * step`` in the type and shape of x; NaN stays NaN.

    Parameters
    ----------
    x: float32 or float64, of any shape and strides.
    step, top: float32 [], finite and positive.
    signed: whether bottom is -top; else it is 0.

    The gradient of x is 1 from bottom to top, else 0; that of the step is the sum of code - clamp(x) / step; that of
    the top is 1 for each x above it, and -1 for each below -top where there is a sign. There is no second one. Raises
    TypeError for another kind of tensor, ValueError for another shape or device.
    """
    if standing_alone():
        return _definition(x, step.detach(), top.detach(), signed)
    return _ranged_quantize(x, step, top, signed)
