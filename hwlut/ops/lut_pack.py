"""Tables of look-up products as their kernels read them."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops.launch import check_gpu, kernels
from hwlut.ops.registry import register

__all__ = ["lut_pack", "on_gpu", "packed_size"]

_HEAD, _CODEBOOKS, _K, _STRIP = 64, 4, 16, 64  # as kernels/lut_layout.h has them
_PERMUTED, _ROWS = 1, 2
_ARGUMENTS: list[Any] = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]


def packed_size(codebooks: int, k: int, outputs: int) -> int:
    """Bytes of a packed table."""
    return _HEAD + -(-codebooks // _CODEBOOKS) * _CODEBOOKS * max(k, _K) * (-(-outputs // _STRIP) * _STRIP)


def _empty(table: torch.Tensor) -> torch.Tensor:
    """The output before it is filled, once the argument is found fit."""
    if table.dtype != torch.int8:
        raise TypeError(f"lut_pack table must be int8, not {table.dtype}")
    if table.dim() != 3 or not table.numel():
        raise ValueError(f"lut_pack table must have three dimensions and an entry, not shape {tuple(table.shape)}")
    return table.new_empty(packed_size(*table.shape), dtype=torch.uint8)


def _definition(table: torch.Tensor) -> torch.Tensor:
    entries = _padded(table).view(torch.uint8) ^ 128
    halves = entries.unflatten(2, (-1, 2, _STRIP // 2)).permute(2, 0, 1, 4, 3)
    return _with_head(table, _ROWS, halves)


def _padded(table: torch.Tensor) -> torch.Tensor:
    codebooks, k, outputs = table.shape
    padding = (0, -outputs % _STRIP, 0, max(_K - k, 0), 0, -codebooks % _CODEBOOKS)
    return torch.nn.functional.pad(table, padding)


def _with_head(table: torch.Tensor, layout: int, entries: torch.Tensor) -> torch.Tensor:
    out = _empty(table)
    out[:_HEAD] = 0
    out[0] = layout
    out[_HEAD:] = entries.flatten()
    return out


def _by_gpu() -> Callable[[torch.Tensor], torch.Tensor]:
    """The operator on GPUs."""
    check_gpu()
    return on_gpu


def on_gpu(table: torch.Tensor) -> torch.Tensor:
    """The layout that GPUs read, made by torch."""
    if table.shape[1] > _K:
        return _definition(table)
    groups = _padded(table).view(torch.uint8).unflatten(2, (-1, 4)).unflatten(0, (-1, _CODEBOOKS))
    return _with_head(table, _PERMUTED, groups.permute(3, 0, 4, 1, 2))


def _on(launch: Callable[..., None]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what the kernel takes."""

    def run(table: torch.Tensor) -> torch.Tensor:
        out = _empty(table)
        table = table.contiguous()
        launch(table.device, table.data_ptr(), *table.shape, out.data_ptr())
        return out

    return run


lut_pack = register("lut_pack(Tensor table) -> Tensor", _definition, _empty, kernels("lut_pack", _ARGUMENTS, _on))
"""A table int8 [C, K, M], K a power of two from 2 to 256, as `lut_scan` and `lut_matmul` take it beside itself: uint8,
of `packed_size` bytes. Its layout depends on the device; kernels/lut_layout.h has it.
"""
