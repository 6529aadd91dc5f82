"""Sums of a multiplier's products of codes, corrected for zero points, in integers."""

from typing import Any, Protocol

import torch

from hwlut.ops import ExpandedWeights, approx_matmul, expand_weights
from hwlut.units import Multiplier

__all__ = ["Engine", "Kernels", "corrected", "known"]

_KNOWN: dict[str, Multiplier] = {}


class Engine(Protocol):
    """What computes sums of a multiplier's products."""

    @property
    def multiplier(self) -> Multiplier:
        """What multiplies."""

    def prepared(self, matrix: torch.Tensor) -> Any:
        """Codes [..., K, N] of a second operand made ready for many calls."""

    def __call__(self, rows: torch.Tensor, matrix: Any) -> torch.Tensor:
        """``sum over k of multiplier(rows[..., m, k], matrix[..., k, n])``, exactly: int32 or int64 [..., M, N]."""


class Kernels:
    """The engine of `hwlut.ops.approx_matmul`."""

    def __init__(self, multiplier: Multiplier):
        self.multiplier = multiplier

    def prepared(self, matrix: torch.Tensor) -> ExpandedWeights:
        return expand_weights(matrix, self.multiplier)

    def __call__(self, rows: torch.Tensor, matrix: torch.Tensor | ExpandedWeights) -> torch.Tensor:
        return approx_matmul(rows, matrix, self.multiplier)


def known(multiplier: Multiplier) -> None:
    """Make a multiplier known to compiled graphs, which hold its digest."""
    _KNOWN.setdefault(multiplier.digest, multiplier)


def _known(digest: str) -> Multiplier:
    if digest not in _KNOWN:
        raise RuntimeError(
            f"hwlut::approx_sums multiplier {digest[:12]}... must be known to this process: make a layer of it first, "
            "such as hwlut.nn.ApproxMatmul(multiplier=...)"
        )
    return _KNOWN[digest]


def corrected(
    rows: torch.Tensor,
    matrix: torch.Tensor | ExpandedWeights,
    sums: torch.Tensor | None,
    zeros: tuple[torch.Tensor | None, torch.Tensor | None],
    overlaps: int,
    engine: Engine,
) -> torch.Tensor:
    """``sum of multiplier(x, w) - zw * sum of x - zx * sum of w + K * zx * zw``: int32 or int64 [..., M, N].

    rows: codes x [..., M, K]. matrix: codes w [..., K, N], or prepared by the engine. sums: of w along K, [..., 1, N],
    needed where x has a zero point. zeros: those of x, one or [..., M, 1], and of w, one or [..., 1, N]; None: 0.
    The type holds the sum of as many results as `overlaps`.
    """
    zx, zw = zeros
    multiplier = engine.multiplier
    if torch.compiler.is_compiling() and isinstance(matrix, torch.Tensor) and isinstance(engine, Kernels):
        return _traced(rows, matrix, zx, zw, overlaps, multiplier.digest)
    count = rows.shape[-1]
    dtype = _type(count, zx is not None or zw is not None, overlaps, multiplier)
    total = engine(rows, matrix).to(dtype)
    if zw is not None:
        zw = zw.to(dtype)
        total = total - zw * rows.sum(-1, keepdim=True, dtype=dtype)
    if zx is not None:
        assert sums is not None
        sums = sums.to(dtype)
        total = total - zx.to(dtype) * (sums if zw is None else sums - count * zw)
    return total


@torch.library.custom_op("hwlut::approx_sums", mutates_args=())
def _traced(
    rows: torch.Tensor,
    matrix: torch.Tensor,
    zx: torch.Tensor | None,
    zw: torch.Tensor | None,
    overlaps: int,
    digest: str,
) -> torch.Tensor:
    """`corrected` as one operator of a graph."""
    sums = None if zx is None else matrix.sum(-2, keepdim=True, dtype=torch.int64)
    return corrected(rows, matrix, sums, (zx, zw), overlaps, Kernels(_known(digest)))


@_traced.register_fake
def _(
    rows: torch.Tensor,
    matrix: torch.Tensor,
    zx: torch.Tensor | None,
    zw: torch.Tensor | None,
    overlaps: int,
    digest: str,
) -> torch.Tensor:
    shape = torch.broadcast_shapes(rows.shape[:-2], matrix.shape[:-2])
    dtype = _type(int(rows.shape[-1]), zx is not None or zw is not None, overlaps, _known(digest))
    return rows.new_empty((*shape, rows.shape[-2], matrix.shape[-1]), dtype=dtype)


def _type(count: int, corrections: bool, overlaps: int, multiplier: Multiplier) -> torch.dtype:
    """What holds every sum: int32 or int64."""
    bound = multiplier.exact_bound(count)
    if corrections:
        bound += 3 * count << (multiplier.a.bits + multiplier.b.bits)
    return torch.int32 if bound * overlaps < 1 << 31 else torch.int64
