"""Sums of products, and how wide they get."""

import functools
from typing import TYPE_CHECKING

from hwlut.fixed import Fixed, signed_bits
from hwlut.units.codes import result_dtype
from hwlut.units.families import Family
from hwlut.units.multiplier import Multiplier

if TYPE_CHECKING:
    import torch

__all__ = ["accumulator", "dot", "extremes"]

_PAIRS = 1 << 20  # of which all products are taken for their extremes


def dot(multiplier: Multiplier, a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
    """``sum over k of multiplier(a[..., k], b[..., k])``: what a component of `multiplier` with ``terms`` computes.

    Codes of any integer dtypes and of shapes that broadcast, to int32 where `accumulator` allows it for that many
    products, else int64. It is ``approx_matmul(a[..., None, :], b[..., :, None], multiplier)`` of `hwlut.ops`, which is
    the one for large matrices: here all products are held at once. A Requantize that follows is called on the result.

    Raises TypeError for other tensors and ValueError for codes outside their formats and for scalars.
    """
    products = multiplier(a, b)
    if not products.dim():
        raise ValueError("dot codes must have at least one dimension, not shape ()")
    format = accumulator(multiplier, max(1, products.shape[-1]))
    return products.sum(-1, dtype=result_dtype(format))


@functools.lru_cache(maxsize=64)
def extremes(multiplier: Multiplier) -> tuple[int, int]:
    """A range that holds every product: from the least to the greatest one where the family is exact or there are at
    most 2^20 pairs of codes, else that of the product's format.
    """
    a, b = multiplier.a, multiplier.b
    if multiplier.family is Family.EXACT:  # linear in either operand: the extremes lie at the corners
        corners = [x * y for x in (a.min, a.max) for y in (b.min, b.max)]
        return min(corners), max(corners)
    if multiplier.pairs <= _PAIRS:
        products = multiplier.products()
        return int(products.min()), int(products.max())
    return multiplier.product.min, multiplier.product.max


def accumulator(multiplier: Multiplier, terms: int) -> Fixed:
    """The narrowest format of sums of 1 to `terms` products of `multiplier`: two's complement where these are signed.

    Proof: each product lies in the range [low, high] of `extremes`, so a sum of n of them lies in [n low, n high], and
    for n from 1 to `terms` in [min(low, terms low), max(high, terms high)], as both ends are linear in n. Where low and
    high are products, these ends are sums, which nothing narrower holds. Registers of this width may add modulo 2^bits
    in any order, even where a part of the sum leaves the range: the whole one is congruent to it and lies in the range.
    """
    low, high = extremes(multiplier)
    lowest, highest = min(low, terms * low), max(high, terms * high)
    if multiplier.product.signed:
        return Fixed(signed_bits(lowest, highest))
    return Fixed(max(1, highest.bit_length()), signed=False)
