"""Tables by ridge regression of outputs on the prototypes that their rows choose."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from hwlut.codebooks.onehot import coincidences, gathered, summed
from hwlut.codebooks.solve import conjugate_gradients

__all__ = ["refit", "refit_batches", "ridge_prototypes"]

_FACTORED = 1 << 13  # columns up to which the normal matrix is factored
_ACCURACY = 1e-9


def refit(indices: Tensor, targets: Tensor, k: int, *, ridge: float = 1.0, prior: Tensor | None = None) -> Tensor:
    """The table T, float32 [C, K, M], of least ``|G T - targets|^2 + ridge |T - prior|^2``, G one-hot of the indices.

    Parameters
    ----------
    indices: of the prototypes that each row chooses, integers [N, C] from 0 to K - 1.
    targets: what the sums of the table entries should be, float [N, M].
    k: K, prototypes a codebook.
    ridge: above 0. Its unit is rows: an entry is held at its prior as if by so many further rows. So it need not change
        with the targets' magnitude, and matters less the more rows there are.
    prior: float [C, K, M], for instance the products of the prototypes with the weights; None for zeros.

    The entries of a prototype that no row chooses stay at the prior. Only sums over codebooks matter to the targets: a
    constant moved from one codebook to another is settled by the ridge. Normal equations in float64, solved by Cholesky
    up to C K = 8,192, and beyond by conjugate gradients until the residual is 1e-9 of the right side's norm. Raises
    TypeError and ValueError for other arguments.
    """
    return refit_batches([(indices, targets)], k, ridge=ridge, prior=prior)


def refit_batches(
    batches: Iterable[tuple[Tensor, Tensor]], k: int, *, ridge: float = 1.0, prior: Tensor | None = None
) -> Tensor:
    """`refit` on the rows of all batches, (indices, targets) each, which are read once; k, ridge, prior: as there."""
    if isinstance(ridge, bool) or not isinstance(ridge, (int, float)):
        raise TypeError(f"refit ridge must be a number, not {ridge!r}")
    if not (ridge > 0 and math.isfinite(ridge)):
        raise ValueError(f"refit ridge must be positive and finite, not {ridge}")
    normal: _Normal | None = None
    for indices, targets in batches:
        _check(indices, targets, k)
        normal = normal or _Normal(indices.shape[1], k, targets.shape[1], targets.device)
        normal.add(indices, targets)
    if normal is None:
        raise ValueError("refit batches must be at least one")
    return normal.table(float(ridge), prior).float()


def ridge_prototypes(data: Tensor, indices: Tensor, k: int, v: int, *, ridge: float = 1.0) -> Tensor:
    """Prototypes over all inputs, float32 [C, K, D], for the indices [N, C] that an encoder gives to data [N, D].

    The means of the sub-vectors in each bucket, on a codebook's own inputs and zero elsewhere, and a `refit` of what is
    left of the data to it: a row is approximated by the sum of its C prototypes, and their products with the weights
    are a table. k: prototypes of a codebook. v: inputs of a sub-vector. ridge: of the refit. (Blalock and Guttag,
    "Multiplying Matrices Without Multiplying", ICML 2021, section 4.2.)
    """
    _check(indices, data, k)
    codebooks, features = indices.shape[1], data.shape[1]
    if codebooks != -(-features // v):
        raise ValueError(f"ridge_prototypes indices must be of {-(-features // v)} codebooks, not {codebooks}")
    data = data.detach()
    sums = torch.zeros(codebooks, k, features, dtype=torch.float64, device=data.device)
    for codebook in range(codebooks):
        own = slice(codebook * v, (codebook + 1) * v)
        sums[codebook, :, own] = summed(indices[:, codebook, None], data[:, own], k)[0]
    counts = summed(indices, data.new_ones(len(data), 1), k)
    return refit(indices, data, k, ridge=ridge, prior=sums / counts.clamp(min=1))


class _Normal:
    """The normal equations of rows that come in batches."""

    def __init__(self, codebooks: int, k: int, outputs: int, device: torch.device):
        self._shape = (codebooks, k, outputs)
        self._columns = codebooks * k
        self._factored = self._columns <= _FACTORED
        self._sums = torch.zeros(self._shape, dtype=torch.float64, device=device)
        self._counts = torch.zeros(self._columns, self._columns if self._factored else 1, dtype=torch.float64)
        self._counts = self._counts.to(device)
        self._indices = list[Tensor]()

    def add(self, indices: Tensor, targets: Tensor) -> None:
        codebooks, k, outputs = self._shape
        if (indices.shape[1], targets.shape[1]) != (codebooks, outputs):
            raise ValueError(
                f"refit batches must all be of {codebooks} codebooks and {outputs} outputs,"
                f" not {indices.shape[1]} and {targets.shape[1]}"
            )
        self._sums += summed(indices, targets.detach(), k)
        if self._factored:
            self._counts += coincidences(indices, k)
        else:
            self._counts += summed(indices, targets.new_ones(len(targets), 1), k).flatten()[:, None]
            self._indices.append(indices.to(torch.uint8))

    def table(self, ridge: float, prior: Tensor | None) -> Tensor:
        if prior is None:
            return self._solved(self._sums.flatten(0, 1), ridge).view(self._shape)
        if prior.shape != self._shape:
            raise ValueError(f"refit prior must be of shape {list(self._shape)}, not {list(prior.shape)}")
        prior = prior.detach().double().to(self._sums.device)
        flat = prior.flatten(0, 1)
        return prior + self._solved(self._sums.flatten(0, 1) - self._multiplied(flat), ridge).view(self._shape)

    def _multiplied(self, x: Tensor) -> Tensor:
        """G^T G x, of x [C K, M]."""
        if self._factored:
            return self._counts @ x
        sums = torch.zeros_like(self._sums)
        for part in self._indices:
            sums += summed(part, gathered(part, x.view(self._shape)), self._shape[1])
        return sums.flatten(0, 1)

    def _solved(self, right: Tensor, ridge: float) -> Tensor:
        if not self._factored:
            diagonal = self._counts[:, 0] + ridge
            return conjugate_gradients(lambda x: self._multiplied(x) + ridge * x, right, diagonal, _ACCURACY)
        matrix = self._counts.clone()
        matrix.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            raise ValueError(f"refit ridge must be large enough for a stable solution, not {ridge}")
        return torch.cholesky_solve(right, factor)


def _check(indices: Tensor, targets: Tensor, k: int) -> None:
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise TypeError(f"refit indices must be integers, not {indices.dtype}")
    if not targets.is_floating_point():
        raise TypeError(f"refit targets must be floats, not {targets.dtype}")
    if indices.ndim != 2 or targets.ndim != 2 or len(indices) != len(targets):
        raise ValueError(
            f"refit indices and targets must be [rows, codebooks] and [rows, outputs],"
            f" not {list(indices.shape)} and {list(targets.shape)}"
        )
    if indices.numel() == 0:
        return
    low, high = (int(end) for end in indices.aminmax())
    if low < 0 or high >= k:
        raise ValueError(f"refit indices must be from 0 to {k - 1}, not {low if low < 0 else high}")
    if not targets.isfinite().all():
        raise ValueError("refit targets must be finite")
