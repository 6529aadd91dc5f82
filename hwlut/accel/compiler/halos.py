"""What lies around a value: as many places before and after each axis as its takers pad it by."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Widths", "around", "interior"]

Widths = tuple[tuple[int, int], ...]
"""Places before and after each axis."""


def around(padding: tuple[int, ...]) -> Widths:
    """The widths of a padding on both sides of the axes from the third on."""
    return ((0, 0), (0, 0), *((width, width) for width in padding))


def interior(whole: "torch.Tensor", widths: Widths) -> "torch.Tensor":
    """What lies within so many places from the ends of each axis."""
    for axis, (before, after) in enumerate(widths):
        whole = whole.narrow(axis, before, whole.shape[axis] - before - after)
    return whole
