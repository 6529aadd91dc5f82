"""A layer's numbers from the rows that it was shown."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from hwlut.codebooks import kmeans, refit, trees
from hwlut.nn.lut.spec import Lookup
from hwlut.ops import LutTables, lut_encode
from hwlut.quant import Quantizer
from hwlut.units import Encoder

__all__ = ["Learned", "learn"]


class Learned(NamedTuple):
    """numbers: prototypes [C, K, v] or thresholds [C, K - 1]. dimensions: of a tree. table: [C, K, M]. spread: the mean
    distance of a sub-vector from its prototype, of an input from its threshold."""

    numbers: torch.Tensor
    dimensions: torch.Tensor | None
    table: torch.Tensor
    spread: torch.Tensor


def learn(rows: torch.Tensor, weight: torch.Tensor, lookup: Lookup, v: int, quantizer: Quantizer) -> Learned:
    """What products of `rows` [N, features] and `weight` [M, features] are best looked up by.

    Prototypes and trees are learned from the rows as `quantizer` has them, and rounded to its codes before the rows are
    encoded and the table is fitted to the products of the rows themselves.
    """
    real = quantizer.quantized(rows)
    padding = -rows.shape[1] % v
    sub = F.pad(real, (0, padding)).unflatten(1, (-1, v))
    w = F.pad(weight, (0, padding)).unflatten(1, (-1, v)).permute(1, 2, 0)  # [C, v, M]
    dimensions = None
    if lookup.encoder == "tree":
        numbers, dimensions = (found := trees(real, lookup.k, v)).thresholds, found.dimensions
    else:
        numbers = kmeans(real, lookup.k, v, seed=lookup.seed, iterations=lookup.iterations).prototypes
    codes, _, zero_point = quantizer.quantize(numbers)
    numbers = quantizer.values(codes)
    indices = _encoded(quantizer.codes(rows), codes, dimensions, lookup, v, int(zero_point)).long()
    if dimensions is None:
        prototypes = numbers
        spread = (sub - _picked(prototypes, indices)).square().sum(-1).mean()
        if lookup.encoder != "l2":
            spread = spread.sqrt()
    else:
        prototypes = _means(sub, indices, lookup.k)
        spread = (sub.gather(2, dimensions.expand(len(sub), -1, -1)) - _passed(numbers, indices)).abs().mean()
    table = prototypes @ w
    if lookup.refit and not lookup.tied:
        table = refit(indices, rows @ weight.t(), lookup.k, prior=table)
    tiny = torch.finfo(torch.float32).tiny
    return Learned(numbers, dimensions, table, spread.clamp(min=tiny))


def _encoded(
    rows: torch.Tensor,
    numbers: torch.Tensor,
    dimensions: torch.Tensor | None,
    lookup: Lookup,
    v: int,
    zero_point: int,
) -> torch.Tensor:
    """Indices of codes [N, features], uint8 [N, C]."""
    numbers = numbers.to(torch.int8)
    tables = LutTables(
        encoder=Encoder(lookup.encoder),
        features=rows.shape[1],
        v=v,
        zero_point=zero_point,
        prototypes=numbers if dimensions is None else None,
        thresholds=None if dimensions is None else numbers,
        dimensions=None if dimensions is None else dimensions.int(),
        table=torch.zeros(len(numbers), lookup.k, 1, dtype=torch.int8, device=rows.device),
        bias=None,
    )
    return lut_encode(rows.to(torch.int8), tables)


def _picked(numbers: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """[C, K, ...] at indices [N, C], [N, C, ...]."""
    return numbers[torch.arange(len(numbers), device=numbers.device), indices]


def _means(sub: torch.Tensor, indices: torch.Tensor, k: int) -> torch.Tensor:
    """The mean of the sub-vectors [N, C, v] of each index [N, C]; 0 of none: [C, K, v]."""
    codebooks = sub.shape[1]
    flat = indices + k * torch.arange(codebooks, device=indices.device)
    sums = sub.new_zeros(codebooks * k, sub.shape[2]).index_add_(0, flat.flatten(), sub.flatten(0, 1))
    counts = torch.bincount(flat.flatten(), minlength=codebooks * k)
    return (sums / counts.clamp(min=1)[:, None]).unflatten(0, (codebooks, k))


def _passed(thresholds: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The threshold of each level on the way to leaves [N, C]: [N, C, log2 K]."""
    depth = (thresholds.shape[1] + 1).bit_length() - 1
    levels = torch.arange(depth, device=indices.device)
    nodes = (1 << levels) - 1 + (indices[..., None] >> (depth - levels))
    return thresholds.expand(len(indices), -1, -1).gather(2, nodes)
