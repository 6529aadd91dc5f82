"""The look-up between real numbers: quantization, table and dequantization in one pass."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.fixed import power_of_two
from hwlut.ops.launch import INTEGERS, kernels
from hwlut.ops.registry import register

__all__ = ["quantized_lookup"]

_REALS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),  # x, real_bytes, exponents
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),  # table, entry_type, entries, low
    *(ctypes.c_void_p, ctypes.c_int64),  # out, count
]


def _empty(
    x: torch.Tensor, table: torch.Tensor, exponents: torch.Tensor, low: int, slopes: torch.Tensor | None = None
) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if x.dtype not in _REALS:
        raise TypeError(f"quantized_lookup x must be float16, bfloat16, float32 or float64, not {x.dtype}")
    if exponents.dtype != torch.int32:
        raise TypeError(f"quantized_lookup exponents must be int32, not {exponents.dtype}")
    if exponents.shape != (2 if slopes is None else 3,):
        wanted = "2 numbers, scale and frac" if slopes is None else "3 numbers, scale, frac and the slopes' frac"
        raise ValueError(f"quantized_lookup exponents must be {wanted}, not shape {tuple(exponents.shape)}")
    for label, tensor in (("table", table), ("slopes", slopes)):
        if tensor is None:
            continue
        if tensor.dtype not in INTEGERS:
            raise TypeError(f"quantized_lookup {label} must be uint8, int8, int16, int32 or int64, not {tensor.dtype}")
        if tensor.dim() != 1 or tensor.shape[0] == 0:
            raise ValueError(
                f"quantized_lookup {label} must have one dimension and at least one entry,"
                f" not shape {tuple(tensor.shape)}"
            )
    if slopes is not None and slopes.shape[0] != table.shape[0] + 2:
        raise ValueError(
            f"quantized_lookup slopes must be {table.shape[0] + 2}, two more than the table, not {slopes.shape[0]}"
        )
    for label, tensor in (("table", table), ("exponents", exponents), ("slopes", slopes)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"quantized_lookup {label} must be on {x.device} like x, not {tensor.device}")
    if not -(1 << 23) <= low <= low + table.shape[0] <= 1 << 23:
        raise ValueError(
            f"quantized_lookup codes must be from -2^23 to 2^23, not from {low} to {low + table.shape[0] - 1}"
        )
    return torch.empty_like(x)


def _definition(
    x: torch.Tensor, table: torch.Tensor, exponents: torch.Tensor, low: int, slopes: torch.Tensor | None = None
) -> torch.Tensor:
    out = _empty(x, table, exponents, low, slopes)
    real = x if x.dtype == torch.float64 else x.float()
    codes = torch.round(real * power_of_two(exponents[0])).clamp(low, low + table.shape[0] - 1)
    results = table[codes.nan_to_num(low).long() - low].to(real.dtype) * power_of_two(-exponents[1])
    return out.copy_(torch.where(real.isnan(), real, results))


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(
        x: torch.Tensor, table: torch.Tensor, exponents: torch.Tensor, low: int, slopes: torch.Tensor | None = None
    ) -> torch.Tensor:
        out = _empty(x, table, exponents, low, slopes)
        real = x if x.dtype in (torch.float32, torch.float64) else x.float()
        result = out if real is x else torch.empty_like(out, dtype=real.dtype)
        if real.stride() != result.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            real = real.clone()
        table, exponents = table.contiguous(), exponents.contiguous()
        launch(
            x.device,
            *(real.data_ptr(), real.itemsize, exponents.data_ptr()),
            *(table.data_ptr(), INTEGERS[table.dtype], table.shape[0], low),
            *(result.data_ptr(), result.numel()),
        )
        return out if result is out else out.copy_(result)

    return run


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, _, exponents, low, slopes = inputs
    ctx.low = low
    ctx.save_for_backward(x, exponents, slopes)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None]:
    x, exponents, slopes = ctx.saved_tensors
    if slopes is None:
        raise RuntimeError("quantized_lookup has a gradient only where slopes are given")
    return gradient * _quantized_lookup(x, slopes, exponents[::2], ctx.low - 1), None, None, None, None


_quantized_lookup = register(
    "quantized_lookup(Tensor x, Tensor table, Tensor exponents, int low, Tensor? slopes=None) -> Tensor",
    _definition,
    _empty,
    kernels("quantized_lookup", _ARGUMENTS, _on),
    autograd=(_save, _backward),
)


def quantized_lookup(
    x: torch.Tensor, table: torch.Tensor, exponents: torch.Tensor, low: int, slopes: torch.Tensor | None = None
) -> torch.Tensor:
    """``table[q - low] * 2^-frac`` at the code q = round_half_even(x * 2^scale), held to the table's range.

    Parameters
    ----------
    x: float16, bfloat16, float32 or float64 of any shape and strides. NaN stays NaN.
    table: one dimension of at least one integer; entry 0 belongs to the code `low`.
    exponents: int32 (scale, frac), each from -62 to 62, on the device of x: they are never read by the host.
        With slopes (scale, frac, frac of the slopes).
    low: the lowest code; all codes lie from -2^23 to 2^23.
    slopes: integers, two more than the table: the derivative at the codes low - 1 to the highest + 1. The gradient
        of x is that at its code before it is held to the range, so zeros at both ends cut it off there.
        Without slopes there is no gradient.

    Returns the shape and dtype of x. Codes and results are computed in float64 for float64 and in float32 for the
    others: an entry of up to 24 bits is exact, a wider one is rounded to nearest. Raises TypeError for another kind
    of tensor, ValueError for another shape, device or range.
    """
    for label, tensor in (("x", x), ("table", table), ("exponents", exponents), ("slopes", slopes)):
        if not isinstance(tensor, torch.Tensor) and (tensor is not None or label != "slopes"):
            raise TypeError(f"quantized_lookup {label} must be a tensor, not {type(tensor).__name__}")
    return _quantized_lookup(x, table, exponents, low, slopes)
