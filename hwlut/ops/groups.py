"""How values that share numbers lie in memory, as kernels/groups.h has it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

__all__ = ["Layout", "layout_of"]

_BLOCK = 32768  # as in kernels/blocks.h
_ROWS = 64


class Layout(NamedTuple):
    """Element i in memory, of `size`, belongs to group i / inner % groups."""

    groups: int
    inner: int
    size: int

    @property
    def rows(self) -> int:
        """Of partial results, when groups are reduced: one where each group lies in one piece."""
        if 1 < self.groups == self.size // max(self.inner, 1):
            return 1
        return max(1, min(_ROWS, -(-self.size // _BLOCK)))


def layout_of(x: torch.Tensor, kept: Sequence[int]) -> Layout | None:
    """That of groups with one value for each place along the dimensions `kept`, which ascend.

    Groups are numbered in the order of those dimensions. None where the kernels have no such layout: where x is no one
    run of memory, or the dimensions do not follow each other there.
    """
    order = list(range(x.dim()))
    if not x.is_contiguous():
        order.sort(key=x.stride, reverse=True)
        if not x.permute(order).is_contiguous():
            return None
    places = [order.index(d) for d in kept if x.shape[d] != 1]
    if not places:
        return Layout(1, x.numel(), x.numel())
    if places != list(range(places[0], places[0] + len(places))):
        return None
    inner = math.prod(x.shape[d] for d in order[places[-1] + 1 :])
    return Layout(math.prod(x.shape[d] for d in kept), inner, x.numel())
