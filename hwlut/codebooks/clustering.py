"""Prototypes of all codebooks by k-means."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwlut.codebooks.lloyd import lloyd
from hwlut.codebooks.subvectors import Data, SubVectors, Survey, check_shape

__all__ = ["KMeans", "kmeans"]

_SEEDED = 1 << 13  # rows that the seeding sees
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class KMeans:
    """Prototypes of C codebooks.

    prototypes: float32 [C, K, v]; beyond the features they hold the fill value. error: the mean, over all sub-vectors
    of the data, of the squared distance to the nearest prototype. iterations: how many were taken. seed: as given.
    """

    prototypes: Tensor
    error: float
    iterations: int
    seed: int


def kmeans(data: Data, k: int, v: int, *, seed: int = 0, iterations: int = 25, fill: float = 0.0) -> KMeans:
    """K prototypes for each sub-vector of v inputs, of least squared distance as far as Lloyd's iterations find it.

    Parameters
    ----------
    data: activations [N, D] of any float dtype, or batches [n, D] of them in anything that can be iterated again and
        again. Every iteration reads all of it, in chunks, and each comes to what it would be for all rows at once.
    k: prototypes a codebook, a power of two from 2 to 256; at least as many rows are needed.
    v: inputs of a sub-vector, 1 to 4,096; there are C = ceil(D / v).
    seed: of the sample of up to 8,192 rows from which the first prototypes are drawn, far ones the likelier (k-means++:
        Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007).
    iterations: at most; fewer where nothing moves any more. With 0, the first prototypes are the result.
    fill: what follows the last input in a sub-vector that is not full: the real value of the zero code.

    A prototype that is nearest to nothing is moved to a sub-vector far from the others; where there are fewer than K
    different sub-vectors, prototypes coincide. Raises TypeError and ValueError for data and sizes other than these.
    """
    check_shape("kmeans", k, v)
    if isinstance(iterations, bool) or not isinstance(iterations, int):
        raise TypeError(f"kmeans iterations must be an integer, not {iterations!r}")
    if iterations < 0:
        raise ValueError(f"kmeans iterations must not be negative, not {iterations}")
    rows = SubVectors(data, v, fill, "kmeans data")
    survey = rows.survey(_SEEDED, seed)
    if survey.rows < k:
        raise ValueError(f"kmeans data must have at least K rows, {k}, not {survey.rows}")
    found, error, taken = lloyd(rows, survey, _seeded(survey, k, seed), iterations)
    return KMeans(found, error, taken, seed)


def _seeded(survey: Survey, k: int, seed: int) -> Tensor:
    """The first prototypes, float32 [C, K, v]: sub-vectors of the sample, drawn by squared distance to those before."""
    random = np.random.default_rng([seed, 1])
    sample = (survey.sample - survey.mean.float()).transpose(0, 1).contiguous()
    codebooks, rows, v = sample.shape
    each = torch.arange(codebooks, device=sample.device)
    least = torch.full((codebooks, rows), 1.0, device=sample.device)
    chosen = []
    for _ in range(k):
        totals = least.cumsum(1, dtype=torch.float64)
        drawn = torch.from_numpy(random.random((codebooks, 1))).to(sample.device) * totals[:, -1:]
        places = torch.searchsorted(totals, drawn, right=True).clamp(max=rows - 1)[:, 0]
        chosen.append(places)
        distances = _distances(sample, sample[each, places])
        least = distances if len(chosen) == 1 else torch.minimum(least, distances)
    return survey.sample.transpose(0, 1)[each[:, None], torch.stack(chosen, 1)]


def _distances(sample: Tensor, points: Tensor) -> Tensor:
    """Squared distances [C, S] of sub-vectors [C, S, v] from one point of each codebook, [C, v]."""
    step = max(1, _AT_ONCE // sample[0].numel())
    parts = zip(sample.split(step), points.split(step))
    return torch.cat([(part - point[:, None]).square().sum(2) for part, point in parts])
