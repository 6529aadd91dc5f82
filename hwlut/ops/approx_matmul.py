"""Matrix products by an approximate multiplier, exactly the sum of its products."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hwlut.fixed import Fixed
from hwlut.ops.launch import INTEGERS

__all__ = ["ApproxMultiplier", "ExpandedWeights", "approx_matmul", "approx_matmul_path", "definition", "expand_weights"]

_AT_ONCE = 1 << 22  # products that the definition holds at a time
_TABLE_BITS = 24  # operand bits of a table that is made


class ApproxMultiplier(Protocol):
    """What is asked of a multiplier: `hwlut.units.Multiplier` gives it."""

    @property
    def a(self) -> Fixed: ...
    @property
    def b(self) -> Fixed: ...
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor: ...
    def products(self) -> torch.Tensor: ...
    def factors(self) -> Any: ...
    def exact_bound(self, k: int) -> int: ...
    def __hash__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class ExpandedWeights:
    """Second operands of a matrix product made ready for one multiplier, by `expand_weights`."""

    codes: torch.Tensor
    multiplier: ApproxMultiplier

    @property
    def shape(self) -> torch.Size:
        """[..., K, N] of the codes."""
        return self.codes.shape

    def to(self, device: torch.device | str) -> "ExpandedWeights":
        """The same weights on `device`, expanded as its kernels like it."""
        return expand_weights(self.codes.to(device), self.multiplier)


def expand_weights(b: torch.Tensor, multiplier: ApproxMultiplier) -> ExpandedWeights:
    """The codes `b` [..., K, N] expanded once, to be given to `approx_matmul` in their place."""
    _check("b", b)
    return ExpandedWeights(b, multiplier)


def approx_matmul(a: torch.Tensor, b: torch.Tensor | ExpandedWeights, multiplier: ApproxMultiplier) -> torch.Tensor:
    """``sum over k of multiplier(a[..., m, k], b[..., k, n])``, exactly: int32 or int64 [..., M, N].

    Parameters
    ----------
    a: codes [..., M, K], uint8, int8, int16, int32 or int64, taken to lie in the format ``multiplier.a``.
    b: codes [..., K, N] in the format ``multiplier.b``, or `ExpandedWeights` of them for the same multiplier.
    multiplier: a `Multiplier`.

    Leading dimensions broadcast as in torch.matmul. The result is int64 where ``multiplier.exact_bound(K)`` does not
    fit int32. Raises TypeError for another kind of tensor, ValueError for shapes that do not fit or another
    multiplier than that of the expanded weights.
    """
    if isinstance(b, ExpandedWeights):
        if b.multiplier != multiplier:
            raise ValueError("approx_matmul multiplier must be the one its weights were expanded for")
        b = b.codes
    _check("a", a)
    _check("b", b)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"approx_matmul a must be [..., M, {b.shape[-2]}] like b, not {list(a.shape)}")
    if b.device != a.device:
        raise ValueError(f"approx_matmul b must be on {a.device} like a, not {b.device}")
    return definition(a, b, multiplier)


def approx_matmul_path(multiplier: ApproxMultiplier, m: int, k: int, n: int, device: torch.device | str = "cpu") -> str:
    """How `approx_matmul` computes [m, k] times [k, n] on `device`: "factors", "table" or "torch"."""
    return "torch"


def definition(a: torch.Tensor, b: torch.Tensor, multiplier: ApproxMultiplier) -> torch.Tensor:
    """What `approx_matmul` of codes means, in plain torch, a bounded number of products at a time."""
    m, k, n = *a.shape[-2:], b.shape[-1]
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    product = _product(multiplier, a.device)
    total = torch.zeros(*shape, m, n, dtype=torch.int64, device=a.device)
    if not total.numel():
        return total.to(_result(multiplier, k))
    rows = max(1, min(m, _AT_ONCE // (total.numel() // m)))
    depth = max(1, _AT_ONCE // (total.numel() // m * rows))
    for row in range(0, m, rows):
        for start in range(0, k, depth):
            left = a[..., row : row + rows, start : start + depth, None].long()
            right = b[..., None, start : start + depth, :].long()
            total[..., row : row + rows, :] += product(left, right).sum(-2, dtype=torch.int64)
    return total.to(_result(multiplier, k))


def _product(multiplier: ApproxMultiplier, device: torch.device) -> Callable[..., torch.Tensor]:
    """The multiplier on int64 tensors, by its table where that is not too large."""
    if multiplier.a.bits + multiplier.b.bits > _TABLE_BITS:
        return multiplier
    products, low_a, low_b = _products(multiplier, device), multiplier.a.min, multiplier.b.min
    columns = products.shape[1]
    flat = products.flatten()
    return lambda a, b: flat[(a - low_a) * columns + (b - low_b)]


@functools.lru_cache(maxsize=16)
def _products(multiplier: ApproxMultiplier, device: torch.device) -> torch.Tensor:
    return multiplier.products().to(device)


def _result(multiplier: ApproxMultiplier, k: int) -> torch.dtype:
    return torch.int32 if multiplier.exact_bound(k) < 1 << 31 else torch.int64


def _check(label: str, codes: object) -> None:
    if not isinstance(codes, torch.Tensor):
        raise TypeError(f"approx_matmul {label} must be a tensor, not {type(codes).__name__}")
    if codes.dtype not in INTEGERS:
        raise TypeError(f"approx_matmul {label} must be uint8, int8, int16, int32 or int64, not {codes.dtype}")
    if codes.dim() < 2:
        raise ValueError(f"approx_matmul {label} must have at least two dimensions, not shape {tuple(codes.shape)}")
