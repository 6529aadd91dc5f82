"""Matrix products by factors: each product a short sum of products of per-code factors.

On the processor they are int16, in a kernel; on GPUs int8, for the tensor cores.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops import approx_int8
from hwlut.ops.launch import INTEGERS, check_gpu, kernels
from hwlut.ops.registry import register

__all__ = ["approx_factors", "factor_bytes", "pack"]

_BYTES = {"cpu": 2, "cuda": 1}
_WIDTH, _DEPTH = 16, 2
_EXACT = 1 << 22  # products of up to 2^30 whose sum float64 holds
_ARGUMENTS: list[Any] = [
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64),  # a, a_type, low
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),  # u, p, entries, terms
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),  # v, shared, q
    *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),  # out, batch, M, K, N
]


def factor_bytes(device: torch.device) -> int:
    """Size of the factors u and v that `approx_factors` takes on `device`: 2, int16, or 1, int8."""
    return _BYTES.get(device.type, 2)


def pack(v: torch.Tensor) -> torch.Tensor:
    """The factors v [Z, K, T, N] as `approx_factors` takes them.

    Of int16 they are [Z, ceil(N / 16), ceil(K T / 2), 16, 2]: row j = k T + t of the matrix [K T, N] is pair j // 2,
    place j % 2; columns come in panels of 16. Of int8 they are what `approx_int8.pack` says.
    """
    if v.dtype == torch.int8:
        return approx_int8.pack(v)
    batch, depth, terms, columns = v.shape
    rows = v.reshape(batch, depth * terms, columns)
    rows = torch.nn.functional.pad(rows, (0, -columns % _WIDTH, 0, -(depth * terms) % _DEPTH))
    pairs, panels = rows.shape[1] // _DEPTH, rows.shape[2] // _WIDTH
    return rows.reshape(batch, pairs, _DEPTH, panels, _WIDTH).permute(0, 3, 1, 4, 2).contiguous()


def _unpacked(v: torch.Tensor, depth: int, terms: int, columns: int) -> torch.Tensor:
    """[Z, K T, N] of what `pack` returned, K = `depth`."""
    if v.dtype == torch.int8:
        return approx_int8.unpacked(v, depth, terms, columns)
    batch, panels, pairs, width, places = v.shape
    return v.permute(0, 2, 4, 1, 3).reshape(batch, pairs * places, panels * width)[:, : depth * terms, :columns]


def _empty(
    a: torch.Tensor, u: torch.Tensor, p: torch.Tensor, v: torch.Tensor, q: torch.Tensor, low: int
) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    if a.dtype not in INTEGERS:
        raise TypeError(f"approx_factors a must be uint8, int8, int16, int32 or int64, not {a.dtype}")
    factors = torch.int8 if factor_bytes(a.device) == 1 else torch.int16
    for label, tensor, dtype, dimensions in (
        ("u", u, factors, 2),
        ("p", p, torch.int32, 1),
        ("v", v, factors, 3 if factors == torch.int8 else 5),
        ("q", q, torch.int32, 2),
    ):
        if tensor.dtype != dtype:
            raise TypeError(f"approx_factors {label} must be {dtype}, not {tensor.dtype}")
        if tensor.dim() != dimensions:
            raise ValueError(
                f"approx_factors {label} must have {dimensions} dimensions, not shape {tuple(tensor.shape)}"
            )
        if tensor.device != a.device:
            raise ValueError(f"approx_factors {label} must be on {a.device} like a, not {tensor.device}")
    if a.dim() != 3:
        raise ValueError(f"approx_factors a must have three dimensions, not shape {tuple(a.shape)}")
    if u.shape[0] == 0 or u.shape[1] == 0:
        raise ValueError(f"approx_factors u must have an entry and a term, not shape {tuple(u.shape)}")
    if p.shape[0] not in (0, u.shape[0]):
        raise ValueError(f"approx_factors p must have 0 or {u.shape[0]} entries, not {p.shape[0]}")
    columns = q.shape[1]
    wanted = approx_int8.packed_shape(q.shape[0], a.shape[2], u.shape[1], columns)
    if factors == torch.int16:
        wanted = (q.shape[0], -(-columns // _WIDTH), -(-a.shape[2] * u.shape[1] // _DEPTH), _WIDTH, _DEPTH)
    if q.shape[0] not in (1, a.shape[0]):
        raise ValueError(f"approx_factors q must be [1 or {a.shape[0]}, N], not {list(q.shape)}")
    if tuple(v.shape) != wanted:
        raise ValueError(f"approx_factors v must be {list(wanted)}, not {list(v.shape)}")
    return a.new_empty(a.shape[0], a.shape[1], columns, dtype=torch.int32)


def _definition(
    a: torch.Tensor, u: torch.Tensor, p: torch.Tensor, v: torch.Tensor, q: torch.Tensor, low: int
) -> torch.Tensor:
    out = _empty(a, u, p, v, q, low)
    entries, terms = u.shape
    places = a.long().clamp(low, low + entries - 1) - low
    total = q.long()[:, None] + (p.long()[places].sum(-1, keepdim=True) if len(p) else 0)
    right = _unpacked(v, a.shape[2], terms, q.shape[1])
    step = _EXACT // terms
    for start in range(0, a.shape[2], step):
        left = u[places[..., start : start + step]].flatten(2)
        total = total + (left.double() @ right[:, start * terms : (start + step) * terms].double()).long()
    return out.copy_(total)


def _on(launch: Callable[..., None]) -> Callable[..., torch.Tensor]:
    """The operator by a kernel: `launch` is called with the device and what both kernels take."""

    def run(
        a: torch.Tensor, u: torch.Tensor, p: torch.Tensor, v: torch.Tensor, q: torch.Tensor, low: int
    ) -> torch.Tensor:
        out = _empty(a, u, p, v, q, low)
        if not out.numel():
            return out
        a, u, p, v, q = (tensor.contiguous() for tensor in (a, u, p, v, q))
        launch(
            a.device,
            *(a.data_ptr(), INTEGERS[a.dtype], low),
            *(u.data_ptr(), p.data_ptr() if len(p) else None, *u.shape),
            *(v.data_ptr(), v.shape[0] == 1, q.data_ptr()),
            *(out.data_ptr(), *a.shape, q.shape[1]),
        )
        return out

    return run


def _by_int8() -> Callable[..., torch.Tensor]:
    """The operator by the tensor cores of GPUs."""
    check_gpu()
    return _int8


def _int8(
    a: torch.Tensor, u: torch.Tensor, p: torch.Tensor, v: torch.Tensor, q: torch.Tensor, low: int
) -> torch.Tensor:
    out = _empty(a, u, p, v, q, low)
    out[:] = q[:, None]
    approx_int8.add_products(out, a, u, p, v, low)
    return out


approx_factors = register(
    "approx_factors(Tensor a, Tensor u, Tensor p, Tensor v, Tensor q, int low) -> Tensor",
    _definition,
    _empty,
    {**kernels("approx_factors", _ARGUMENTS, _on), "cuda": _by_int8},
)
"""``q[z, n] + sum over k of (p[i] + sum over t of u[i, t] * v[z, k, t, n])`` with i = a[z, m, k] - low.

In int32, modulo 2^32: the caller proves that the sums fit. a is [Z, M, K] of any integer dtype, u [entries, T], p
int32 [entries] or empty, v as `pack` returns it of [Z or 1, K, T, N], q int32 [Z or 1, N]. u and v are int16, on GPUs
int8. A code outside the entries is held to the nearer end. Returns [Z, M, N].
"""
