"""Labels of channels: which can only go together, which cannot go, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

__all__ = ["Array", "Labels", "Value", "varying"]

Array = torch.Tensor
"""int64, with the dimensions of a tensor, each of its size or, where labels do not vary along it, of 1."""


@dataclass(frozen=True)
class Value:
    """A tensor by the labels of its places: one for each array.

    shape: of the tensor. A dimension of more than one place along which no array varies keeps its size. fixed: whether
    the tensor follows from the model alone. zero: whether it is zero at the places of parameters that are.
    """

    shape: tuple[int, ...]
    arrays: tuple[Array, ...] = ()
    fixed: bool = False
    zero: bool = False

    @property
    def weight(self) -> bool:
        """Whether a product with the tensor is one with parameters: nothing comes of places where these are zero."""
        return self.fixed and self.zero

    @property
    def rank(self) -> int:
        return len(self.shape)

    def along(self, dim: int) -> tuple[Array, ...]:
        """The arrays that vary along a dimension."""
        return tuple(array for array in self.arrays if array.shape[dim] > 1)

    def carrying(self, arrays: Iterable[Array]) -> "Value":
        """The same tensor with other labels."""
        return replace(self, arrays=tuple(arrays))


_WHOLE = "they can only go all at once"


def varying(array: Array) -> tuple[int, ...]:
    """The dimensions along which the labels of an array vary."""
    return tuple(dim for dim, size in enumerate(array.shape) if size > 1)


class Labels:
    """Labels, which are numbers, in sets that only grow: what is in one set goes at once, or stays.

    A set is told by its root, the least of its labels. A label that stays keeps its whole set.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(0, np.int64)
        self._stay: list[tuple[np.ndarray, str]] = []
        self._joined: list[tuple[np.ndarray, str]] = []

    def new(self, count: int) -> Array:
        """int64 [count]: labels that are in no set yet."""
        start = len(self._parents)
        self._parents = np.concatenate([self._parents, np.arange(start, start + count)])
        return torch.arange(start, start + count)

    def roots(self, array: Array) -> Array:
        """The roots of an array's labels, in its shape."""
        return torch.from_numpy(self._find(array.numpy()))

    def compact(self, array: Array) -> Array:
        """The roots of an array's labels, without the dimensions along which they are all the same.

        Where there is one root in all places, it stays: nothing would be left without it.
        """
        array = self.roots(array)
        for dim in varying(array):
            first = array.narrow(dim, 0, 1)
            if bool((array == first).all()):
                array = first
                if array.numel() == 1:
                    self.stay(array, "")
        return array

    def unify(self, first: Array, second: Array) -> None:
        """The labels at each place go with one another; the shapes are broadcast."""
        a, b = np.broadcast_arrays(first.numpy(), second.numpy())
        a, b = a.ravel(), b.ravel()
        while True:
            a, b = self._find(a), self._find(b)
            apart = a != b
            if not apart.any():
                return
            a, b = a[apart], b[apart]
            np.minimum.at(self._parents, np.maximum(a, b), np.minimum(a, b))

    def stay(self, array: Array, reason: str) -> None:
        """None of the labels can go, and why; nothing says that it follows from what is joined."""
        if array.numel():
            self._stay.append((np.unique(self._find(array.numpy())), reason))

    def pin(self, array: Array, dims: Sequence[int], reason: str) -> None:
        """The dimensions do not shrink: what goes, goes along all of them, or stays if labels vary along no other."""
        array = self.compact(array)
        pinned = [dim for dim in varying(array) if dim in dims]
        if not pinned:
            return
        if len(pinned) == len(varying(array)):
            self.stay(array, reason)
            return
        first = array
        for dim in pinned:
            first = first.narrow(dim, 0, 1)
        self.unify(array, first)
        self._joined.append((np.unique(self._find(array.numpy())), reason))

    def staying(self) -> dict[int, str]:
        """The roots of the sets that stay, and why."""
        told, joined = self._reasons([each for each in self._stay if each[1]]), self._reasons(self._joined)
        return {root: told.get(root) or joined.get(root, _WHOLE) for root in self._reasons(self._stay)}

    def _reasons(self, noted: list[tuple[np.ndarray, str]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for labels, reason in noted:
            for root in self._find(labels).tolist():
                found.setdefault(root, reason)
        return found

    def _find(self, labels: np.ndarray) -> np.ndarray:
        roots = self._parents[labels]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                return roots
            self._parents[labels] = above
            roots = above
