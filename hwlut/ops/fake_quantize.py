"""Real numbers to the values of codes in one pass, and the gradients of numbers and steps in another."""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from hwlut.ops.groups import Layout, layout_of
from hwlut.ops.launch import kernels
from hwlut.ops.registry import register, standing_alone

__all__ = ["fake_quantize", "hold", "real"]

_BITS = {torch.float32: (torch.int32, 0xFF << 23), torch.float64: (torch.int64, 0x7FF << 52)}
"""Integers as wide as a real type, and the bits of its exponent."""

_CODES: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float, ctypes.c_float, ctypes.c_int]
_LAYOUT: list[Any] = [ctypes.c_int64] * 3  # groups, inner, count
_ARGUMENTS: list[Any] = [ctypes.c_void_p, *_CODES, ctypes.c_void_p, *_LAYOUT]
_BACKWARD_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_void_p, *_CODES, ctypes.c_int),  # ..., margin
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, *_LAYOUT),  # gradients of x and of steps, rows of the latter
]


class Held(NamedTuple):
    """Real numbers in steps from zero: as they are, saturated, and rounded too."""

    scaled: torch.Tensor
    clipped: torch.Tensor
    rounded: torch.Tensor


def real(x: torch.Tensor) -> torch.Tensor:
    """`x` in the type that it is quantized in: float64 for float64, float32 for all others."""
    return x if x.dtype == torch.float64 else x.float()


def hold(
    x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int, significant: int
) -> Held:
    """``x / step``, divided in the type of `real`, saturated to the codes, rounded to one of them; NaN stays NaN.

    Codes are the integers from `low` to `high` with at most `significant` significant bits (0: all). Halves go to the
    even one; where codes of one bit have none, to the greater magnitude, as IEEE 754-2019, 4.3.1, has it.
    """
    scaled = real(x) / step
    if zero_point is None:
        clipped = scaled.clamp(low, high)
    else:
        zero = zero_point.to(scaled.dtype)
        clipped = scaled.clamp(low - zero, high - zero)
    return Held(scaled, clipped, _rounded(clipped, significant))


def _rounded(scaled: torch.Tensor, significant: int) -> torch.Tensor:
    if not significant:
        return torch.round(scaled)
    bits, exponent = _BITS[scaled.dtype]
    power = (scaled.view(bits) & exponent).view(scaled.dtype)  # 2^floor(log2 |scaled|), or 0 below normal numbers
    quantum = (power * 2.0 ** (1 - significant)).clamp(min=1)
    return torch.round(scaled / quantum) * quantum


def _empty(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, *codes: int) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if x.dtype not in _BITS:
        raise TypeError(f"fake_quantize x must be torch.float32 or torch.float64, not {x.dtype}")
    for label, tensor, dtype in (("step", step, torch.float32), ("zero_point", zero_point, torch.int32)):
        if tensor is None:
            continue
        if tensor.dtype != dtype:
            raise TypeError(f"fake_quantize {label} must be {dtype}, not {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"fake_quantize {label} must be on {x.device} like x, not {tensor.device}")
    if zero_point is not None and zero_point.shape != step.shape:
        raise ValueError(
            f"fake_quantize zero_point must be of shape {tuple(step.shape)} like step, not {tuple(zero_point.shape)}"
        )
    before = x.dim() - step.dim()
    if before < 0 or any(size not in (1, x.shape[before + d]) for d, size in enumerate(step.shape)):
        raise ValueError(f"fake_quantize step must fit x of shape {tuple(x.shape)}, not be of {tuple(step.shape)}")
    return torch.empty_like(x)


def _definition(
    x: torch.Tensor,
    step: torch.Tensor,
    zero_point: torch.Tensor | None,
    low: int,
    high: int,
    significant: int,
    margin: bool,
) -> torch.Tensor:
    out = _empty(x, step, zero_point)
    rounded = hold(x, step, zero_point, low, high, significant).rounded
    return out.copy_(rounded * step + 0.0)  # no negative zero, which has no code


def _layout(x: torch.Tensor, step: torch.Tensor) -> Layout | None:
    """Where the kernels take a step for each group of x."""
    if x.dtype != torch.float32:
        return None
    before = x.dim() - step.dim()
    return layout_of(x, [before + d for d, size in enumerate(step.shape) if size != 1])


def _pointers(step: torch.Tensor, zero_point: torch.Tensor | None) -> tuple[int, int | None]:
    return step.data_ptr(), None if zero_point is None else zero_point.data_ptr()


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(
        x: torch.Tensor,
        step: torch.Tensor,
        zero_point: torch.Tensor | None,
        low: int,
        high: int,
        significant: int,
        margin: bool,
    ) -> torch.Tensor:
        out = _empty(x, step, zero_point)
        if x.stride() != out.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            x = x.clone()
        layout = _layout(x, step)
        if layout is None:
            way = _definition if x.is_contiguous() else run
            return out.copy_(way(x.contiguous(), step, zero_point, low, high, significant, margin))
        step, zero_point = step.contiguous(), None if zero_point is None else zero_point.contiguous()
        codes = (*_pointers(step, zero_point), low, high, significant)
        launch(x.device, x.data_ptr(), *codes, out.data_ptr(), *layout)
        return out

    return run


def _empty_gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    step: torch.Tensor,
    zero_point: torch.Tensor | None,
    low: int,
    high: int,
    significant: int,
    margin: bool | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), step.new_empty(0 if margin is None else step.shape)


def _backward_definition(
    grad: torch.Tensor,
    x: torch.Tensor,
    step: torch.Tensor,
    zero_point: torch.Tensor | None,
    low: int,
    high: int,
    significant: int,
    margin: bool | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    of_x, of_step = _empty_gradients(grad, x, step, zero_point, low, high, significant, margin)
    scaled, clipped, rounded = hold(x, step, zero_point, low, high, significant)
    reached = _rounded(scaled, significant) == rounded
    of_x.copy_(torch.where(reached, grad, 0.0))
    if margin is not None:
        inside = reached if margin else scaled == clipped
        parts = grad * torch.where(inside, rounded - scaled, rounded)
        of_step.copy_(parts.double().sum_to_size(step.shape) + 0.0)  # zero has one sign
    return of_x, of_step


def _backward_on(launch: Callable[..., None]) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    def run(
        grad: torch.Tensor,
        x: torch.Tensor,
        step: torch.Tensor,
        zero_point: torch.Tensor | None,
        low: int,
        high: int,
        significant: int,
        margin: bool | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_x, of_step = _empty_gradients(grad, x, step, zero_point, low, high, significant, margin)
        if x.stride() != of_x.stride():
            x = x.clone()
        layout = _layout(x, step)
        if layout is None:
            way = _backward_definition if x.is_contiguous() else run
            found = way(grad, x.contiguous(), step, zero_point, low, high, significant, margin)
            return of_x.copy_(found[0]), found[1]
        if grad.stride() != x.stride():
            grad = torch.empty_like(x).copy_(grad)
        step, zero_point = step.contiguous(), None if zero_point is None else zero_point.contiguous()
        sums = None
        if margin is not None:
            sums = torch.zeros(layout.rows, layout.groups, dtype=torch.float64, device=x.device)
        launch(
            x.device,
            *(grad.data_ptr(), x.data_ptr(), *_pointers(step, zero_point), low, high, significant, bool(margin)),
            *(of_x.data_ptr(), None if sums is None else sums.data_ptr(), layout.rows, *layout),
        )
        return of_x, of_step if sums is None else of_step.copy_(sums.sum(0).view(of_step.shape))

    return run


_CODES_SCHEMA = "Tensor x, Tensor step, Tensor? zero_point, int low, int high, int significant"


def _no_second(ctx: Any, *gradients: torch.Tensor) -> None:
    raise RuntimeError("fake_quantize has a first gradient only")


_backward = register(
    f"fake_quantize_backward(Tensor grad, {_CODES_SCHEMA}, bool? margin) -> (Tensor, Tensor)",
    _backward_definition,
    _empty_gradients,
    kernels("fake_quantize_backward", _BACKWARD_ARGUMENTS, _backward_on),
    (lambda ctx, inputs, output: None, _no_second),
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, step, zero_point, *ctx.codes, ctx.margin = inputs
    # Copies of what may be state, which the next forward overwrites.
    ctx.save_for_backward(x, step.clone(), None if zero_point is None else zero_point.clone())


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    of_step = ctx.needs_input_grad[1]
    x, step, zero_point = ctx.saved_tensors
    found = _backward(grad, x, step, zero_point, *ctx.codes, ctx.margin if of_step else None)
    return found[0], found[1] if of_step else None, None, None, None, None, None


_fake_quantize = register(
    f"fake_quantize({_CODES_SCHEMA}, bool margin) -> Tensor",
    _definition,
    lambda x, step, zero_point, low, high, significant, margin: _empty(x, step, zero_point),
    kernels("fake_quantize", _ARGUMENTS, _on),
    (_save, _gradients),
)


def fake_quantize(
    x: torch.Tensor,
    step: torch.Tensor,
    zero_point: torch.Tensor | None = None,
    *,
    low: int,
    high: int,
    significant: int = 0,
    margin: bool = False,
) -> torch.Tensor:
    """The values ``rounded * step`` of what `hold` makes of real numbers, in their type and shape; NaN stays NaN.

    Parameters
    ----------
    x: float32 or float64, of any shape and strides.
    step: float32, finite and positive, broadcast against x.
    zero_point: int32 from low to high, in the shape of step, or None for 0.
    low, high: the end codes, which float32 holds.
    significant: the most significant bits of a code; 0 where every integer is one.
    margin: how far the gradient of the step regards the range: to half a step beyond the end codes (Jain et al.,
        "Trained Quantization Thresholds", MLSys 2020), or to the end codes (Esser et al., "Learned Step Size
        Quantization", ICLR 2020, equation 3).

    The gradient of x is 1 where x rounds to a code without being saturated, else 0. That of the step is the sum of
    code - x / step in the range and of the end code outside it, both counted from zero. There is no second one. Raises
    TypeError for another kind of tensor, ValueError for another shape or device.
    """
    if standing_alone():
        return _definition(x, step, zero_point, low, high, significant, margin)
    return _fake_quantize(x, step, zero_point, low, high, significant, margin)
