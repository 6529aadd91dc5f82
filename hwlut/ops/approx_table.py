"""Matrix products by a table of products."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops.launch import INTEGERS, kernels
from hwlut.ops.registry import register

__all__ = ["CODES", "approx_table", "sum_of_products"]

CODES = 256
"""Most codes of an operand of the kernels."""

_AT_ONCE = 1 << 22  # products that the definition holds at a time
_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64),  # a, a_type, low_a
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int),  # b, b_type, low_b, shared_b
    *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),  # table, rows, columns, offset
    *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),  # out, batch, M, K, N
]


def sum_of_products(
    a: torch.Tensor, b: torch.Tensor, product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """``sum over k of product(a[..., m, k], b[..., k, n])`` in int64, a bounded number of products at a time.

    `product` takes int64 tensors that broadcast against one another.
    """
    m, k, n = *a.shape[-2:], b.shape[-1]
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = torch.zeros(*shape, m, n, dtype=torch.int64, device=a.device)
    if not total.numel():
        return total
    rows = max(1, min(m, _AT_ONCE // (total.numel() // m)))
    depth = max(1, _AT_ONCE // (total.numel() // m * rows))
    for row in range(0, m, rows):
        for start in range(0, k, depth):
            left = a[..., row : row + rows, start : start + depth, None].long()
            right = b[..., None, start : start + depth, :].long()
            total[..., row : row + rows, :] += product(left, right).sum(-2, dtype=torch.int64)
    return total


def _empty(a: torch.Tensor, b: torch.Tensor, table: torch.Tensor, low_a: int, low_b: int, offset: int) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    for label, codes in (("a", a), ("b", b)):
        if codes.dtype not in INTEGERS:
            raise TypeError(f"approx_table {label} must be uint8, int8, int16, int32 or int64, not {codes.dtype}")
        if codes.dim() != 3:
            raise ValueError(f"approx_table {label} must have three dimensions, not shape {tuple(codes.shape)}")
    if table.dtype != torch.int16:
        raise TypeError(f"approx_table table must be int16, not {table.dtype}")
    if table.dim() != 2 or not 1 <= table.shape[0] <= CODES or not 1 <= table.shape[1] <= CODES:
        raise ValueError(f"approx_table table must be of 1 to {CODES} rows and columns, not {tuple(table.shape)}")
    if a.shape[2] != b.shape[1] or b.shape[0] not in (1, a.shape[0]):
        raise ValueError(f"approx_table b must be [1 or {a.shape[0]}, {a.shape[2]}, N] beside a, not {list(b.shape)}")
    for label, tensor in (("b", b), ("table", table)):
        if tensor.device != a.device:
            raise ValueError(f"approx_table {label} must be on {a.device} like a, not {tensor.device}")
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2], dtype=torch.int32)


def _definition(
    a: torch.Tensor, b: torch.Tensor, table: torch.Tensor, low_a: int, low_b: int, offset: int
) -> torch.Tensor:
    out = _empty(a, b, table, low_a, low_b, offset)
    rows, columns = table.shape
    flat = table.flatten()

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        row, column = left.clamp(low_a, low_a + rows - 1) - low_a, right.clamp(low_b, low_b + columns - 1) - low_b
        return flat[row * columns + column]

    return out.copy_(sum_of_products(a, b, product) + a.shape[2] * offset)


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(a: torch.Tensor, b: torch.Tensor, table: torch.Tensor, low_a: int, low_b: int, offset: int) -> torch.Tensor:
        out = _empty(a, b, table, low_a, low_b, offset)
        if not out.numel():
            return out
        a, b, table = a.contiguous(), b.contiguous(), table.contiguous()
        launch(
            a.device,
            *(a.data_ptr(), INTEGERS[a.dtype], low_a),
            *(b.data_ptr(), INTEGERS[b.dtype], low_b, b.shape[0] == 1),
            *(table.data_ptr(), *table.shape, offset),
            *(out.data_ptr(), *a.shape, b.shape[2]),
        )
        return out

    return run


approx_table = register(
    "approx_table(Tensor a, Tensor b, Tensor table, int low_a, int low_b, int offset) -> Tensor",
    _definition,
    _empty,
    kernels("approx_table", _ARGUMENTS, _on),
)
"""``sum over k of table[a[z, m, k] - low_a, b[z, k, n] - low_b] + offset``, in int32 modulo 2^32.

a is [Z, M, K] and b [Z, K, N], or [1, K, N] for every z, of any integer dtype; the table is int16, at most 256 x 256. A
code outside the table is held to its nearer end. Returns int32 [Z, M, N]; the caller proves that the sums fit.
"""
