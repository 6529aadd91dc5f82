"""Integer sums to codes by multipliers and shifts, in one pass."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.fixed import Rounding
from hwlut.ops.groups import layout_of
from hwlut.ops.launch import INTEGERS, kernels
from hwlut.ops.registry import register, standing_alone

__all__ = ["requantize"]

_NUMBERS = INTEGERS | {torch.float32: 32, torch.float64: 64}
"""Types as kernels/requantize.h names them."""
_SUMS = (torch.int32, torch.int64, torch.float32, torch.float64)
_EXACT = {torch.float32: 1 << 24, torch.float64: 1 << 53}
_ROUNDINGS = [rounding.value for rounding in Rounding]

_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_int),  # acc, acc_type
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),  # multipliers, shifts, constant
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int),  # zero, low, high, rounding
    *(ctypes.c_void_p, ctypes.c_int),  # out, out_type
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),  # groups, inner, count
]


def _ends(dtype: torch.dtype) -> tuple[int, int]:
    """The least and the greatest integer up to which `dtype` holds all."""
    if dtype in _EXACT:
        return -_EXACT[dtype], _EXACT[dtype]
    return torch.iinfo(dtype).min, torch.iinfo(dtype).max


def _narrowest(low: int, high: int) -> torch.dtype:
    def holds(dtype: torch.dtype) -> bool:
        least, most = _ends(dtype)
        return least <= low and high <= most

    return next(filter(holds, (torch.int8, torch.uint8, torch.int16, torch.int32)), torch.int64)


def _check_numbers(acc: torch.Tensor, numbers: dict[str, torch.Tensor | None], axis: int) -> None:
    channels = 1
    for label, tensor in numbers.items():
        if tensor is None:
            continue
        if tensor.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"requantize {label} must be int32 or int64, not {tensor.dtype}")
        if tensor.device != acc.device:
            raise ValueError(f"requantize {label} must be on {acc.device} like acc, not {tensor.device}")
        if tensor.dim() != 1 or tensor.shape[0] == 0:
            raise ValueError(f"requantize {label} must be one number or one a channel, not shape {tuple(tensor.shape)}")
        if 1 != tensor.shape[0] != channels != 1:
            raise ValueError(f"requantize {label} must be 1 or {channels} numbers, not {tensor.shape[0]}")
        channels = max(channels, tensor.shape[0])
    if channels > 1 and not (-acc.dim() <= axis < acc.dim() and acc.shape[axis] == channels):
        raise ValueError(f"requantize axis {axis} must have {channels} channels, not shape {tuple(acc.shape)}")


def _empty(
    acc: torch.Tensor,
    multipliers: torch.Tensor,
    shifts: torch.Tensor,
    constant: torch.Tensor | None,
    zero_point: int,
    low: int,
    high: int,
    rounding: str,
    axis: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if acc.dtype not in _SUMS:
        raise TypeError(f"requantize acc must be int32, int64, float32 or float64, not {acc.dtype}")
    _check_numbers(acc, {"multipliers": multipliers, "shifts": shifts, "constant": constant}, axis)
    if not (-(1 << 31) <= low <= high < 1 << 31 or 0 <= low <= high < 1 << 32):
        raise ValueError(
            f"requantize low and high must be in order and of 32 bits, signed or unsigned, not {low} and {high}"
        )
    if not -(1 << 32) <= zero_point <= 1 << 32:
        raise ValueError(f"requantize zero_point must be from -2^32 to 2^32, not {zero_point}")
    if dtype not in _NUMBERS:
        raise TypeError(f"requantize dtype must be an integer type, float32 or float64, not {dtype}")
    least, most = _ends(dtype)
    if not least <= low <= high <= most:
        raise ValueError(f"requantize dtype must hold {low} to {high}, not be {dtype}")
    return torch.empty_like(acc, dtype=dtype)


def _definition(
    acc: torch.Tensor,
    multipliers: torch.Tensor,
    shifts: torch.Tensor,
    constant: torch.Tensor | None,
    zero_point: int,
    low: int,
    high: int,
    rounding: str,
    axis: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    out = _empty(acc, multipliers, shifts, constant, zero_point, low, high, rounding, axis, dtype)
    after = [1] * (-axis - 1 if axis < 0 else acc.dim() - axis - 1)

    def along(numbers: torch.Tensor) -> torch.Tensor:
        return numbers.long().reshape(() if numbers.shape[0] == 1 else (-1, *after))

    sums = acc.long() if constant is None else acc.long() + along(constant)
    product, shift = sums * along(multipliers), along(shifts)
    result = product >> shift  # then as hwlut.fixed.round_shift does it
    if rounding != Rounding.FLOOR:
        below = (shift - 1).clamp(min=0)
        half = (product >> below) & (shift > 0)
        if rounding == Rounding.HALF_EVEN:
            beyond_half = (product & ((1 << below) - 1)) != 0
            half = half & (beyond_half | (result & 1))
        result = result + half
    return out.copy_((result + zero_point).clamp(low, high))


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(
        acc: torch.Tensor,
        multipliers: torch.Tensor,
        shifts: torch.Tensor,
        constant: torch.Tensor | None,
        zero_point: int,
        low: int,
        high: int,
        rounding: str,
        axis: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        out = _empty(acc, multipliers, shifts, constant, zero_point, low, high, rounding, axis, dtype)
        if acc.stride() != out.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            acc = acc.clone()
        given = (multipliers, shifts, constant)
        channels = max(1 if tensor is None else tensor.shape[0] for tensor in given)
        layout = layout_of(acc, [] if channels == 1 else [axis % acc.dim()])
        assert layout is not None  # of one run of memory and one dimension
        # The low 32 bits of a sum that fits them need no more of the constant.
        numbers = [None if tensor is None else tensor.int().expand(channels).contiguous() for tensor in given]
        launch(
            acc.device,
            *(acc.data_ptr(), _NUMBERS[acc.dtype]),
            *(None if tensor is None else tensor.data_ptr() for tensor in numbers),
            *(zero_point, low, high, _ROUNDINGS.index(rounding)),
            *(out.data_ptr(), _NUMBERS[dtype], *layout),
        )
        return out

    return run


_requantize = register(
    "requantize(Tensor acc, Tensor multipliers, Tensor shifts, Tensor? constant, int zero_point, int low, int high,"
    " str rounding, int axis, ScalarType dtype) -> Tensor",
    _definition,
    _empty,
    kernels("requantize", _ARGUMENTS, _on),
)


def requantize(
    acc: torch.Tensor,
    multipliers: torch.Tensor,
    shifts: torch.Tensor,
    zero_point: int,
    low: int,
    high: int,
    rounding: str = Rounding.HALF_UP,
    axis: int = -1,
    dtype: torch.dtype | None = None,
    constant: torch.Tensor | None = None,
) -> torch.Tensor:
    """Codes ``saturate(round((acc + constant) * m * 2^-shift) + zero_point)`` of sums, with one rounding.

    Parameters
    ----------
    acc: integers of any shape and strides, in int32, int64, float32 or float64; they and their sums with `constant`
        lie from -2^31 to 2^31 - 1.
    multipliers, shifts: int32 or int64, each one number or one a channel, on the device of acc: m from 0 to 2^31 - 1
        and shifts from 0 to 62. They are never read by the host.
    zero_point: added before saturation, from -2^32 to 2^32.
    low, high: the end codes, from -2^31 to 2^31 - 1 or from 0 to 2^32 - 1.
    rounding: "half_up", "half_even" or "floor", as in `hwlut.fixed.round_shift`.
    axis: the dimension of acc that holds the channels, where any are told apart.
    dtype: of the result; by default the first of int8, uint8, int16, int32 and int64 that holds low to high. float32
        and float64 hold all integers up to 2^24 and 2^53.
    constant: as multipliers, or None for 0: a bias, say.

    Returns the shape of acc; the codes are those of a `hwlut.Requantize`. Sums, multipliers and shifts outside their
    ranges are not noticed. There is no gradient. Raises TypeError for another kind of tensor, ValueError for another
    shape, device or range.
    """
    for label, tensor in (("acc", acc), ("multipliers", multipliers), ("shifts", shifts), ("constant", constant)):
        if not isinstance(tensor, torch.Tensor) and (tensor is not None or label != "constant"):
            raise TypeError(f"requantize {label} must be a tensor, not {type(tensor).__name__}")
    if rounding not in _ROUNDINGS:
        raise ValueError(f"requantize rounding must be one of {', '.join(_ROUNDINGS)}, not {rounding!r}")
    way = _definition if standing_alone() else _requantize
    name, codes = Rounding(rounding).value, dtype or _narrowest(low, high)
    return way(acc, multipliers, shifts, constant, zero_point, low, high, name, axis, codes)
