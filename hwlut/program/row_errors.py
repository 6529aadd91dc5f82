"""How far rows of softmax and of normalizations are from the exact ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["NormalizationErrors", "SoftmaxErrors", "normalization_errors", "softmax_errors"]


@dataclass(frozen=True)
class SoftmaxErrors:
    """Each the largest over all rows.

    largest: absolute difference of a place. row_sum: absolute difference of a row's sum from 1. divergence:
    Kullback-Leibler divergence, in nats, of the given row, made to sum to 1, from the exact one. That way round it is
    finite where the given row has zeros.
    """

    largest: float
    row_sum: float
    divergence: float


@dataclass(frozen=True)
class NormalizationErrors:
    """Each the largest over all rows, and relative.

    largest: largest absolute difference in a row, of its largest exact size. rms: root of the mean squared difference
    in a row, of the same root of the exact row.
    """

    largest: float
    rms: float


def softmax_errors(given: "torch.Tensor", exact: "torch.Tensor") -> SoftmaxErrors:
    """Errors of `given` real rows (float64, along the last axis) from the exact softmax, of the same shape.

    Raises ValueError for a given row that sums to 0 or less.
    """
    import torch

    total = given.sum(-1, keepdim=True)
    if (total <= 0).any():
        raise ValueError("softmax rows must have sums above 0")
    share = given / total
    return SoftmaxErrors(
        largest=float((given - exact).abs().max()),
        row_sum=float((total - 1).abs().max()),
        divergence=float((torch.special.xlogy(share, share / exact).sum(-1)).max()),
    )


def normalization_errors(given: "torch.Tensor", exact: "torch.Tensor") -> NormalizationErrors:
    """Errors of `given` real rows (float64, along the last axis) from the exact ones, of one shape, none all zero."""
    difference = given - exact
    largest = difference.abs().amax(-1) / exact.abs().amax(-1)
    rms = difference.square().mean(-1).sqrt() / exact.square().mean(-1).sqrt()
    return NormalizationErrors(largest=float(largest.max()), rms=float(rms.max()))
