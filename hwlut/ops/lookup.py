"""The look-up: integer codes to the entries of a table."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops.launch import INTEGERS, kernels
from hwlut.ops.registry import register

__all__ = ["lookup"]

_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_int),  # codes, code_type
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),  # table, entry_bytes, entries, low
    *(ctypes.c_void_p, ctypes.c_int64),  # out, count
]


def _empty(codes: torch.Tensor, table: torch.Tensor, low: int) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    for label, tensor in (("codes", codes), ("table", table)):
        if tensor.dtype not in INTEGERS:
            raise TypeError(f"lookup {label} must be uint8, int8, int16, int32 or int64, not {tensor.dtype}")
    if table.dim() != 1 or table.shape[0] == 0:
        raise ValueError(f"lookup table must have one dimension and at least one entry, not shape {tuple(table.shape)}")
    if table.device != codes.device:
        raise ValueError(f"lookup table must be on {codes.device} like the codes, not {table.device}")
    if not -(1 << 31) <= low <= 1 << 31:
        raise ValueError(f"lookup low must be from -2^31 to 2^31, not {low}")
    return torch.empty_like(codes, dtype=table.dtype)


def _definition(codes: torch.Tensor, table: torch.Tensor, low: int) -> torch.Tensor:
    out = _empty(codes, table, low)
    return out.copy_(table[codes.long().clamp(low, low + table.shape[0] - 1) - low])


def _on(launch: Callable[..., None]) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(codes: torch.Tensor, table: torch.Tensor, low: int) -> torch.Tensor:
        out = _empty(codes, table, low)
        if codes.stride() != out.stride():  # spread out or overlapping: the clone is one run of memory, as out is
            codes = codes.clone()
        table = table.contiguous()
        launch(
            codes.device,
            *(codes.data_ptr(), INTEGERS[codes.dtype]),
            *(table.data_ptr(), table.itemsize, table.shape[0], low),
            *(out.data_ptr(), out.numel()),
        )
        return out

    return run


_lookup = register(
    "lookup(Tensor codes, Tensor table, int low) -> Tensor", _definition, _empty, kernels("lookup", _ARGUMENTS, _on)
)


def lookup(codes: torch.Tensor, table: torch.Tensor, low: int = 0) -> torch.Tensor:
    """``table[codes - low]``, where a code outside the table reads its nearer end.

    Parameters
    ----------
    codes: integers (uint8, int8, int16, int32 or int64) of any shape and strides.
    table: one dimension of at least one integer of the same types; entry 0 belongs to the code `low`.
    low: from -2^31 to 2^31.

    Returns the codes' shape and the table's dtype, on their common device. Raises TypeError for another kind of
    tensor, ValueError for a table of another shape or device or another `low`.
    """
    for label, tensor in (("codes", codes), ("table", table)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"lookup {label} must be a tensor, not {type(tensor).__name__}")
    return _lookup(codes, table, low)
