"""The range of the values of each group, in one pass."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch

from hwlut.ops.groups import layout_of
from hwlut.ops.launch import kernels
from hwlut.ops.registry import register, standing_alone

__all__ = ["group_bounds"]

_ARGUMENTS: list[Any] = [*(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 4]  # x, low, high, rows, groups, inner, count
_LARGEST = torch.finfo(torch.float32).max


def _empty(x: torch.Tensor, kept: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    shape = [x.shape[d] for d in kept]
    return x.new_empty(shape, dtype=torch.float32), x.new_empty(shape, dtype=torch.float32)


def _definition(x: torch.Tensor, kept: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = _empty(x, kept)
    others = [d for d in range(x.dim()) if d not in kept]
    if not x.numel():
        return low.zero_(), high.zero_()
    finite = x.nan_to_num(0.0, 0.0, 0.0)
    if x.dtype == torch.float64:
        finite = finite.clamp(-_LARGEST, _LARGEST)
    if not kept:
        least, greatest = finite.aminmax()
    elif len(others) == 1:
        least, greatest = finite.aminmax(dim=others[0])
    else:
        least, greatest = (finite.amin(others), finite.amax(others)) if others else (finite, finite)
    return low.copy_(least.clamp(max=0) + 0.0), high.copy_(greatest.clamp(min=0) + 0.0)  # zero has one sign


def _on(launch: Callable[..., None]) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(x: torch.Tensor, kept: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if x.dtype != torch.float32:
            return _definition(x, kept)
        layout = layout_of(x, kept)
        if layout is None:
            x = x.contiguous()
            layout = layout_of(x, kept)
        if layout is None:
            return _definition(x, kept)
        low, high = (x.new_zeros(layout.rows, layout.groups) for _ in range(2))
        launch(x.device, x.data_ptr(), low.data_ptr(), high.data_ptr(), layout.rows, *layout)
        shape = [x.shape[d] for d in kept]
        if layout.rows == 1:
            return low.view(shape), high.view(shape)
        return low.amin(0).view(shape), high.amax(0).view(shape)

    return run


_group_bounds = register(
    "group_bounds(Tensor x, int[] kept) -> (Tensor, Tensor)",
    _definition,
    _empty,
    kernels("group_bounds", _ARGUMENTS, _on),
)


def group_bounds(x: torch.Tensor, kept: Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest finite value for each place along the dimensions `kept`, zero always between them.

    x: real, of any shape and strides; values that are not finite count as 0. kept: dimensions from 0 on, ascending.
    Returns float32 tensors of the sizes of those dimensions, without a gradient; float64 values beyond float32 count as
    its largest. Raises ValueError for other dimensions.
    """
    if any(not 0 <= d < x.dim() for d in kept) or list(kept) != sorted(set(kept)):
        raise ValueError(f"group_bounds kept must ascend from 0 to {x.dim() - 1}, not {tuple(kept)}")
    if standing_alone():
        return _definition(x.detach(), kept)
    return _group_bounds(x.detach(), kept)
