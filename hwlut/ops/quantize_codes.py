"""Real numbers to codes of up to 8 bits, in one pass."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops.launch import kernels
from hwlut.ops.registry import register

__all__ = ["quantize_codes"]

_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),  # x, step, zero_point
    *(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64),  # low, high, out, count
]


def _empty(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if not -128 <= low <= high <= 127:
        raise ValueError(f"quantize_codes low and high must be from -128 to 127 in order, not {low} and {high}")
    for label, tensor, dtype in (("x", x, torch.float32), ("step", step, torch.float32)):
        if tensor.dtype != dtype:
            raise TypeError(f"quantize_codes {label} must be {dtype}, not {tensor.dtype}")
    if zero_point is not None and zero_point.dtype != torch.int32:
        raise TypeError(f"quantize_codes zero_point must be torch.int32, not {zero_point.dtype}")
    for label, scalar in (("step", step), ("zero_point", zero_point)):
        if scalar is None:
            continue
        if scalar.numel() != 1:
            raise ValueError(f"quantize_codes {label} must be one number, not shape {tuple(scalar.shape)}")
        if scalar.device != x.device:
            raise ValueError(f"quantize_codes {label} must be on {x.device} like x, not {scalar.device}")
    return torch.empty_like(x, dtype=torch.int8)


def _definition(
    x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int
) -> torch.Tensor:
    out = _empty(x, step, zero_point, low, high)
    zero = 0 if zero_point is None else zero_point.reshape(())
    held = torch.clamp(x / step.reshape(()), torch.as_tensor(low - zero), torch.as_tensor(high - zero))
    return out.copy_(torch.round(held).nan_to_num(0.0).int() + zero)


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int) -> torch.Tensor:
        out = _empty(x, step, zero_point, low, high)
        if x.stride() != out.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            x = x.clone()
        zero = None if zero_point is None else zero_point.data_ptr()
        launch(x.device, x.data_ptr(), step.data_ptr(), zero, low, high, out.data_ptr(), out.numel())
        return out

    return run


_quantize_codes = register(
    "quantize_codes(Tensor x, Tensor step, Tensor? zero_point, int low, int high) -> Tensor",
    _definition,
    _empty,
    kernels("quantize_codes", _ARGUMENTS, _on),
)


def quantize_codes(
    x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None = None, low: int = -128, high: int = 127
) -> torch.Tensor:
    """int8 codes ``round_half_even(clamp(x / step, low - zero_point, high - zero_point)) + zero_point`` of reals.

    Parameters
    ----------
    x: float32 of any shape and strides; NaN gets the code of zero.
    step: one float32 number, finite and positive.
    zero_point: one int32 number from low to high, or None for 0. It and the step are never read by the host.
    low, high: the end codes, within -128 to 127.

    Returns the shape of x. Codes are those of a `hwlut.quant.Quantizer` of one step. Raises TypeError for another kind
    of tensor, ValueError for another shape, device or range.
    """
    for label, tensor in (("x", x), ("step", step), ("zero_point", zero_point)):
        if not isinstance(tensor, torch.Tensor) and (tensor is not None or label != "zero_point"):
            raise TypeError(f"quantize_codes {label} must be a tensor, not {type(tensor).__name__}")
    return _quantize_codes(x, step, zero_point, low, high)
