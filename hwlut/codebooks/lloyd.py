"""Lloyd's iterations for all codebooks at once.

One iteration is a product of the sub-vectors with the prototypes, the least score over the prototypes, and a product
of the one-hot choices with the sub-vectors, in chunks of rows whose scores stay in the cache. The scores are laid out
[C, K, rows], so that the least is one vector instruction for many rows; torch's arg-min over any dimension takes a
hundred times longer, and adding up by index three times longer than the product.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hwlut.codebooks.subvectors import SubVectors, Survey

__all__ = ["lloyd"]

_CACHED = 1 << 17  # scores of a chunk on a CPU
_ON_DEVICE = 1 << 25  # and on a GPU


def lloyd(data: SubVectors, survey: Survey, start: Tensor, iterations: int) -> tuple[Tensor, float, int]:
    """Prototypes float32 [C, K, v], the mean squared distance to the nearest of them, and the iterations taken.

    `start` is [C, K, v]. It ends before `iterations` where nothing moves. A prototype that is nearest to nothing goes
    to a sub-vector of the sample that is among the farthest from all prototypes.
    """
    current = start.float()
    for taken in range(iterations):
        counts, sums = _assigned(data, survey, current)
        empty = counts == 0
        moved = torch.where(empty[..., None], current, (sums / counts.clamp(min=1)[..., None]).float())
        if empty.any():
            moved = _refilled(survey, moved, empty)
        if torch.equal(moved, current):
            return current, _error(data, survey, current), taken
        current = moved
    return current, _error(data, survey, current), iterations


def _assigned(data: SubVectors, survey: Survey, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """How many sub-vectors are nearest to each prototype, float64 [C, K], and their sums, float64 [C, K, v]."""
    sums = torch.zeros_like(prototypes, dtype=torch.float64)
    counts = torch.zeros_like(sums[..., 0])
    for x, hot, found in _choices(data, survey, prototypes):
        counts += found
        sums += torch.bmm(hot, x)
    return counts, sums


def _error(data: SubVectors, survey: Survey, prototypes: Tensor) -> float:
    """The mean squared distance to the nearest prototype."""
    total = torch.zeros((), dtype=torch.float64, device=prototypes.device)
    for x, hot, _ in _choices(data, survey, prototypes):
        total += torch.baddbmm(x, hot.mT, prototypes, alpha=-1).square_().sum(2).sum(dtype=torch.float64)
    return float(total) / (survey.rows * len(prototypes))


def _choices(data: SubVectors, survey: Survey, prototypes: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All rows once: sub-vectors [C, n, v], one-hot choices of the nearest prototypes [C, K, n], and counts [C, K]."""
    codebooks, k, _ = prototypes.shape
    # |x - p|^2 / 2 but for what all prototypes share: with a = p - mean it is a.(a / 2 + mean) - a.x, which holds its
    # digits however far the mean is from zero, without moving the rows.
    away = prototypes - survey.mean[:, None]
    bias = (away * (away / 2 + survey.mean[:, None])).sum(2, keepdim=True).float()
    weights = -away.float()
    scores = _CACHED if prototypes.device.type == "cpu" else _ON_DEVICE
    rows = 0
    for chunk in data.chunks(max(1, scores // (codebooks * k))):
        x = chunk.transpose(0, 1)
        hot = torch.baddbmm(bias, weights, x.mT)
        torch.eq(hot, hot.amin(1, keepdim=True), out=hot)
        counts = hot.sum(2)
        if int(counts.sum()) != codebooks * len(chunk):
            hot = _first(hot)
            counts = hot.sum(2)
        yield x, hot, counts
        rows += len(chunk)
    if rows != survey.rows:
        raise ValueError(f"{data.label} must be the same each time it is read: {survey.rows} rows, not {rows}")


def _first(hot: Tensor) -> Tensor:
    """One-hot choices [C, K, n] of what may have several ones: the lowest index."""
    order = torch.arange(hot.shape[1], 0, -1, dtype=hot.dtype, device=hot.device)[:, None]
    ranked = hot * order
    return (ranked == ranked.amax(1, keepdim=True)).to(hot.dtype)


def _refilled(survey: Survey, prototypes: Tensor, empty: Tensor) -> Tensor:
    """Empty prototypes, in turn, at the sub-vectors of the sample that are farthest from all others."""
    refilled = prototypes.clone()
    for codebook in empty.any(1).nonzero().flatten().tolist():
        sample = survey.sample[:, codebook]
        kept = prototypes[codebook, ~empty[codebook]]
        parts = (torch.cdist(part, kept, 2.0, "donot_use_mm_for_euclid_dist") for part in sample.split(1 << 12))
        nearest = torch.cat([part.amin(1) for part in parts])
        for place in empty[codebook].nonzero().flatten().tolist():
            farthest = sample[nearest.argmax()]
            refilled[codebook, place] = farthest
            nearest = torch.minimum(nearest, (sample - farthest).square().sum(1).sqrt())
    return refilled
