"""Binary trees that tell sub-vectors apart by single inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwlut.codebooks.subvectors import Data, SubVectors, check_shape

__all__ = ["Trees", "trees"]

_SAMPLE = 1 << 15  # rows that trees are learned from
_TRIED = 32  # inputs that a level tries
_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Trees:
    """C trees of log2 K levels.

    dimensions: int64 [C, log2 K], the input, 0 to v - 1, that each level compares. thresholds: float32 [C, K - 1]:
    at level l node i, counted from 0 at the root, goes on to ``2 i + 1 + (x[dimensions[c, l]] >= thresholds[c, i])``.
    seed: as given.
    """

    dimensions: Tensor
    thresholds: Tensor
    seed: int


def trees(data: Data, k: int, v: int, *, seed: int = 0, fill: float = 0.0) -> Trees:
    """A tree of K leaves for each sub-vector of v inputs, whose buckets have small summed squared errors.

    Level by level, every input is tried: each bucket is cut where the squared distances to the means of its two parts
    are least, over all inputs of the sub-vector; the level takes the input of least sum over its buckets, the lowest of
    equal ones. (Blalock and Guttag, "Multiplying Matrices Without Multiplying", ICML 2021, algorithms 1 and 2, which
    try the four inputs of largest summed error; here only where v is above 32 a choice is made, of the 32 largest.)

    Parameters
    ----------
    data, k, v, fill: as for `kmeans`. Of more than 32,768 rows a uniform sample is taken.
    seed: of this sample.

    A bucket that no cut improves goes right as a whole; one that is empty is cut at the mean. Raises as `kmeans` does.
    """
    check_shape("trees", k, v)
    survey = SubVectors(data, v, fill, "trees data").survey(_SAMPLE, seed)
    if survey.rows < k:
        raise ValueError(f"trees data must have at least K rows, {k}, not {survey.rows}")
    depth = k.bit_length() - 1
    found = [
        _tree(survey.sample[:, codebook].T.contiguous(), survey.mean[codebook].float(), depth)
        for codebook in range(survey.sample.shape[1])
    ]
    return Trees(torch.stack([each[0] for each in found]), torch.stack([each[1] for each in found]), seed)


def _tree(x: Tensor, mean: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Dimensions [depth] and thresholds [2^depth - 1] for sub-vectors as columns, [v, S]."""
    v, rows = x.shape
    tried = x.double().var(1, correction=0).topk(min(v, _TRIED)).indices.sort().values
    order = x[tried].sort(stable=True).indices
    bucket = torch.zeros(rows, dtype=torch.int64, device=x.device)
    dimensions, thresholds = [], []
    for level in range(depth):
        count = 1 << level
        # Rows by bucket, and within a bucket by each input that is tried.
        order = order.gather(1, bucket[order].to(torch.uint8).sort(stable=True).indices)
        places = bucket[order[0]]
        sizes = bucket.bincount(minlength=count)
        centred = _centred(x, bucket, sizes)
        gains, cuts = _cuts(x, centred, tried, order, places, sizes)
        best = int(gains.sum(1).argmax())
        dimension = tried[best]
        values = x[dimension]
        chosen = _thresholds(values[order[best]], cuts[best], sizes, mean[dimension])
        bucket = 2 * bucket + (values >= chosen[bucket]).long()
        dimensions.append(dimension)
        thresholds.append(chosen)
    return torch.stack(dimensions), torch.cat(thresholds)


def _centred(x: Tensor, bucket: Tensor, sizes: Tensor) -> Tensor:
    """Sub-vectors [v, S] less the means of their buckets."""
    x = x.double()
    sums = x.new_zeros(len(x), len(sizes)).index_add_(1, bucket, x)
    return (x - (sums / sizes.clamp(min=1))[:, bucket]).float()


def _cuts(
    x: Tensor, centred: Tensor, tried: Tensor, order: Tensor, places: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """For each input tried and each bucket, what its best cut takes off the squared error, and the row before it.

    Sub-vectors are centred in their buckets, so that the sum of the rows before a cut is that of the rows after it but
    for the sign: the cut takes off ``|sum|^2 (1 / before + 1 / after)``. Gains [tried, buckets]; places [tried,
    buckets] in the order, -1 where there is no cut: between equal values there is none.
    """
    rows = len(places)
    ends = sizes.cumsum(0)
    before = torch.arange(1, rows + 1, device=x.device) - (ends - sizes)[places]
    after = sizes[places] - before
    weights = 1 / before + 1 / after.clamp(min=1)
    gains, cuts = [], []
    for part, inputs in zip(order.split(step := max(1, _AT_ONCE // x.numel())), tried.split(step)):
        sums = centred.index_select(1, part.flatten()).view(len(x), *part.shape).cumsum_(2).square_().sum(0)
        values = x[inputs].gather(1, part)
        gain = (sums * weights)[:, :-1]
        gain[(values[:, 1:] <= values[:, :-1]) | (after == 0)[:-1]] = 0
        most = gain.new_zeros(len(part), len(sizes))
        index = places[:-1].expand(len(part), -1)
        most.scatter_reduce_(1, index, gain, "amax")
        here = (gain == most.gather(1, index)) & (gain > 0)
        first = torch.where(here, torch.arange(rows - 1, device=x.device), rows)
        cut = torch.full_like(most, rows, dtype=torch.int64).scatter_reduce_(1, index, first, "amin")
        gains.append(most)
        cuts.append(torch.where(cut == rows, -1, cut))
    return torch.cat(gains), torch.cat(cuts)


def _thresholds(values: Tensor, cuts: Tensor, sizes: Tensor, mean: Tensor) -> Tensor:
    """Of each bucket, float32, from the values in order and the places of the cuts: halfway between two values."""
    starts = (sizes.cumsum(0) - sizes).clamp(max=len(values) - 1)
    low, high = values[cuts.clamp(min=0)], values[(cuts + 1).clamp(max=len(values) - 1)]
    half = low + (high - low) / 2
    half = torch.where(half > low, half, high)
    return torch.where(cuts >= 0, half, torch.where(sizes > 0, values[starts], mean))
