"""Activations as rows of sub-vectors, from a tensor or from batches of one, checked and read in chunks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwlut.codebooks.reservoir import Reservoir

__all__ = ["Data", "SubVectors", "Survey", "check_shape"]

Data = Tensor | Iterable[Tensor]
"""Activations: float [N, D], or batches [n, D] of them that can be read any number of times."""

_MOST = 2.0**60  # squares of more, summed, leave float32
_SURVEYED = 1 << 22  # numbers of a chunk that is surveyed


@dataclass(frozen=True)
class Survey:
    """What one reading of the data tells.

    rows: N. mean: float64 [C, v]. sample: rows drawn uniformly without repetition, float32 [S, C, v], in their order in
    the data.
    """

    rows: int
    mean: Tensor
    sample: Tensor


@dataclass(frozen=True)
class SubVectors:
    """Data cut into sub-vectors of v, the last one filled with `fill`. `label` opens the messages."""

    data: Data
    v: int
    fill: float
    label: str

    def __post_init__(self) -> None:
        if isinstance(self.data, Tensor):
            return
        if not isinstance(self.data, Iterable) or isinstance(self.data, Iterator):
            raise TypeError(
                f"{self.label} must be a tensor, or tensors that can be read again, not {type(self.data).__name__}"
            )

    def chunks(self, size: int | None = None) -> Iterator[Tensor]:
        """All rows once, float32 [at most `size`, C, v] at a time; a view of the data where that is possible.

        Raises TypeError for what is no tensor of floats, ValueError for other shapes than [n, D] with the same D.
        """
        batches = [self.data] if isinstance(self.data, Tensor) else self.data
        features = None
        for batch in batches:
            if not isinstance(batch, Tensor) or not batch.is_floating_point():
                kind = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
                raise TypeError(f"{self.label} must be a tensor of floats, not {kind}")
            if batch.ndim != 2 or batch.shape[1] == 0:
                raise ValueError(f"{self.label} must be [rows, features], not {list(batch.shape)}")
            if batch.shape[1] != (features or batch.shape[1]):
                raise ValueError(f"{self.label} must have {features} features in every batch, not {batch.shape[1]}")
            features = batch.shape[1]
            padding = -features % self.v
            if len(batch) == 0:
                continue
            for rows in batch.detach().split(size or max(1, _SURVEYED // features)):
                rows = rows.float()
                if padding:
                    rows = torch.nn.functional.pad(rows, (0, padding), value=self.fill)
                yield rows.unflatten(1, (-1, self.v))

    def survey(self, sample: int, seed: int) -> Survey:
        """Read everything once, keeping a sample of up to `sample` rows.

        The sample depends on the seed and on the order of the rows, not on how they are cut into batches. Raises
        ValueError for values that are not finite or that are too large to be squared, and where there are no rows.
        """
        kept = Reservoir(sample, seed)
        rows = 0
        sums: Tensor | None = None
        for chunk in self.chunks():
            self._check_values(chunk)
            kept.take(chunk)
            sums = chunk.sum(0, dtype=torch.float64) + (0 if sums is None else sums)
            rows += len(chunk)
        if sums is None:
            raise ValueError(f"{self.label} must have at least one row")
        return Survey(rows, sums / rows, kept.rows())

    def _check_values(self, chunk: Tensor) -> None:
        low, high = (float(end) for end in chunk.aminmax())
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{self.label} must be finite")
        if max(-low, high) > _MOST:
            raise ValueError(f"{self.label} must be at most 2^60 in magnitude, not {max(-low, high):g}")


def check_shape(label: str, k: int, v: int) -> None:
    """Raises TypeError and ValueError for a K or a v that no `LutMatmul` has."""
    for key, value in (("k", k), ("v", v)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{label} {key} must be an integer, not {value!r}")
    if k & (k - 1) or not 2 <= k <= 256:
        raise ValueError(f"{label} k must be a power of two from 2 to 256, not {k}")
    if not 1 <= v <= 4096:
        raise ValueError(f"{label} v must be from 1 to 4096, not {v}")
