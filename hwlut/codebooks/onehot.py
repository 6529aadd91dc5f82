"""Products with the one-hot matrix of indices, which is never made.

Indices [N, C] of K prototypes stand for a matrix G of N rows and C K columns, with C ones in a row.
"""

import torch
from torch import Tensor

__all__ = ["coincidences", "gathered", "summed"]

_CACHED = 1 << 17  # numbers of a chunk on a CPU
_ON_DEVICE = 1 << 25


def coincidences(indices: Tensor, k: int) -> Tensor:
    """G^T G, float64 [C K, C K]: how often two prototypes are chosen in the same row. Exact."""
    codebooks = indices.shape[1]
    counts = torch.zeros(codebooks, k, codebooks, k, dtype=torch.float64, device=indices.device)
    # Chunks with as many pairs as there are counts, or more.
    for part in indices.long().split(max(k * k, _rows(indices, codebooks))):
        columns = part + k * torch.arange(codebooks, device=part.device)
        for codebook in range(codebooks):
            pairs = part[:, codebook, None] * (k * codebooks) + columns[:, codebook:]
            found = torch.bincount(pairs.flatten(), minlength=k * codebooks * k).view(k, codebooks, k)
            counts[codebook] += found
    for codebook in range(codebooks):
        counts[codebook:, :, codebook] = counts[codebook, :, codebook:].permute(1, 2, 0).clone()
    return counts.view(codebooks * k, codebooks * k)


def summed(indices: Tensor, values: Tensor, k: int) -> Tensor:
    """G^T values, float64 [C, K, M], of values [N, M]: their sums by prototype."""
    codebooks = indices.shape[1]
    sums = torch.zeros(codebooks, k, values.shape[1], dtype=torch.float64, device=values.device)
    step = _rows(values, values.shape[1])
    for part, terms in zip(indices.long().split(step), values.split(step)):
        terms = terms.double()
        for codebook in range(codebooks):
            sums[codebook].index_add_(0, part[:, codebook], terms)
    return sums


def gathered(indices: Tensor, table: Tensor) -> Tensor:
    """G table, [N, M], of a table [C, K, M]: the sums of the entries that the rows choose."""
    outputs = table.new_zeros(len(indices), table.shape[2])
    step = _rows(table, table.shape[2])
    for part, sums in zip(indices.long().split(step), outputs.split(step)):
        for codebook, entries in enumerate(table):
            sums += entries[part[:, codebook]]
    return outputs


def _rows(values: Tensor, width: int) -> int:
    numbers = _CACHED if values.device.type == "cpu" else _ON_DEVICE
    return max(1, numbers // width)
