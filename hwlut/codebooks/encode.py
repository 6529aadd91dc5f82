"""Indices by real numbers: the nearest prototype, the leaf of a tree."""

from collections.abc import Iterator

import torch
from torch import Tensor

from hwlut.codebooks.subvectors import Data, SubVectors
from hwlut.codebooks.tree import Trees
from hwlut.units import Encoder

__all__ = ["nearest", "tree_leaves"]

_AT_ONCE = 1 << 20
_ORDER = {Encoder.L2: 2.0, Encoder.L1: 1.0, Encoder.CHEBYSHEV: float("inf")}


def nearest(data: Data, prototypes: Tensor, metric: Encoder | str = Encoder.L2, *, fill: float = 0.0) -> Tensor:
    """The index of the nearest prototype of each sub-vector, int64 [N, C], of data and fill as for `kmeans`.

    prototypes: float [C, K, v]. metric: "l2", "l1" or "chebyshev". Of equal distances the lowest index wins.
    """
    order = _ORDER.get(Encoder(metric))
    if order is None:
        raise ValueError(f"nearest metric must be one of l2, l1, chebyshev, not {Encoder(metric).value}")
    prototypes = prototypes.detach().float()
    codebooks, k, v = prototypes.shape
    parts = []
    for x in _chunks("nearest", data, v, fill, codebooks, k):
        distances = torch.cdist(x.transpose(0, 1), prototypes, order, "donot_use_mm_for_euclid_dist")
        parts.append(distances.min(2).indices.T)
    return torch.cat(parts)


def tree_leaves(data: Data, trees: Trees, v: int, *, fill: float = 0.0) -> Tensor:
    """The leaf that each sub-vector comes to, int64 [N, C], of data, v and fill as for `trees`."""
    codebooks, depth = trees.dimensions.shape
    each = torch.arange(codebooks, device=trees.dimensions.device)
    parts = []
    for x in _chunks("tree_leaves", data, v, fill, codebooks, 1):
        node = torch.zeros(len(x), codebooks, dtype=torch.int64, device=x.device)
        for level in range(depth):
            node = 2 * node + 1 + (x[:, each, trees.dimensions[:, level]] >= trees.thresholds[each, node]).long()
        parts.append(node - (2**depth - 1))
    return torch.cat(parts)


def _chunks(label: str, data: Data, v: int, fill: float, codebooks: int, k: int) -> Iterator[Tensor]:
    for x in SubVectors(data, v, fill, f"{label} data").chunks(max(1, _AT_ONCE // (codebooks * k))):
        if x.shape[1] != codebooks:
            raise ValueError(f"{label} data must be of {codebooks} sub-vectors, not {x.shape[1]}")
        yield x
