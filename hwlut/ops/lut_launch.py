"""How the kernel of look-up products is called: one function encodes, sums table entries, or both."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.fixed import Fixed
from hwlut.ops.launch import INTEGERS, kernels

__all__ = ["ROUNDINGS", "builders", "encoder_arguments", "fit", "table_arguments"]

ROUNDINGS = ("half_up", "half_even", "floor")
"""Roundings as the kernels number them."""

_KINDS = ("tree", "l2", "l1", "chebyshev")
_ARGUMENTS: list[Any] = [
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),  # kind, points, dimensions
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int),  # features, v, zero_point
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),  # codebooks, k, outputs
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),  # table, packed, bias
    *(ctypes.c_void_p, ctypes.c_int64),  # ratios, channels
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int),  # zero, low, high, rounding
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64),  # codes ... out_type, rows
]

Launch = Callable[[Any, Any, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None], None]


def builders(wrap: Callable[[Launch], Callable[..., torch.Tensor]]) -> dict[str, Callable[[], Callable[..., Any]]]:
    """What `register` builds the kernels of an operator with.

    `wrap` makes the operator from a function that takes what `encoder_arguments` and `table_arguments` return, codes or
    indices, and what to write: indices, results, or on GPUs both. All of it is contiguous and of one device.
    """

    def with_tensors(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
        def run(
            encoder: tuple[Any, ...],
            table: tuple[Any, ...],
            codes: torch.Tensor | None,
            indices: torch.Tensor | None,
            out: torch.Tensor | None,
        ) -> None:
            given = codes if codes is not None else indices
            assert given is not None
            rows = given.numel() // given.shape[-1]
            pointers = (None if tensor is None else tensor.data_ptr() for tensor in (codes, indices, out))
            launch(given.device, *encoder, *table, *pointers, 0 if out is None else INTEGERS[out.dtype], rows)

        return wrap(run)

    return kernels("lut_matmul", _ARGUMENTS, with_tensors)


def encoder_arguments(
    points: torch.Tensor | None, dimensions: torch.Tensor | None, encoder: str, features: int, v: int, zero_point: int
) -> tuple[Any, ...]:
    """The encoder's, of contiguous tensors; points may be None where indices are given."""
    pointers = (None if tensor is None else tensor.data_ptr() for tensor in (points, dimensions))
    return (_KINDS.index(encoder), *pointers, features, v, zero_point)


def table_arguments(
    table: torch.Tensor | tuple[int, int, int],
    packed: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    ratios: torch.Tensor | None = None,
    after: tuple[int, ...] = (),
) -> tuple[Any, ...]:
    """The table's, of contiguous tensors, or of its sizes C, K and M where only indices are wanted."""
    if isinstance(table, tuple):
        return (*table, *(None,) * 4, 0, 0, 0, 0, 0)
    pointers = (None if tensor is None else tensor.data_ptr() for tensor in (table, packed, bias, ratios))
    zero, bits, signed, rounding = after or (0, 32, 1, 0)
    format = Fixed(bits, signed=bool(signed))
    return (*table.shape, *pointers, 0 if ratios is None else ratios.shape[1], zero, format.min, format.max, rounding)


def fit(name: str, label: str, tensor: torch.Tensor, dtype: torch.dtype, shape: list[Any], like: torch.Tensor) -> None:
    """Raises TypeError for another dtype, ValueError for another shape and another device than that of `like`.

    A shape that begins with "..." is that of the last dimensions.
    """
    if tensor.dtype != dtype:
        raise TypeError(f"{name} {label} must be {dtype}, not {tensor.dtype}")
    given = list(tensor.shape)
    if (["...", *given[1 - len(shape) :]] if shape[0] == "..." and given else given) != shape:
        raise ValueError(f"{name} {label} must be [{', '.join(map(str, shape))}], not {list(tensor.shape)}")
    if tensor.device != like.device:
        raise ValueError(f"{name} {label} must be on {like.device}, not {tensor.device}")
