"""Where the numbers of values lie: one integer a number, which nodes that move numbers move as they do these.

A place is an address of values, of inputs or of operands, or a number that is known, each in a range of its own.
"""

import dataclasses
import enum
from typing import TYPE_CHECKING

import numpy as np

from hwlut.units.movement import Pad
from hwlut.units.nodes import Node
from hwlut.units.patches import Patches

if TYPE_CHECKING:
    import torch

__all__ = ["Space", "addresses", "at_end", "known", "literal", "moved", "numbers", "only_space", "places_of", "spaces"]

_RANGE = 1 << 28
_LITERAL = 1 << 60
_MOST = 1 << 47


class Space(enum.IntEnum):
    VALUES = 0
    INPUTS = 1
    OPERANDS = 2
    LITERAL = 3


def at_end(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """The shape of a batch with ones behind that for so many axes, as programs of codes and rows broadcast."""
    return (shape[0], *(1,) * (axes - len(shape)), *shape[1:])


def places_of(space: Space, addresses: "torch.Tensor") -> "torch.Tensor":
    """The places of addresses of a memory."""
    return addresses + space * _RANGE


def literal(number: int) -> int:
    """The place of a number that is known; ValueError beyond 48 bits."""
    if not -_MOST <= number < _MOST:
        raise ValueError(f"must stay within 48 bits, not have the number {number}")
    return _LITERAL + number


def numbers(values: "torch.Tensor") -> "torch.Tensor":
    """The places of numbers that are known."""
    for end in (int(values.min()), int(values.max())):
        literal(end)
    return values + _LITERAL


def known(places: "torch.Tensor") -> "torch.Tensor":
    """The numbers of such places."""
    return places - _LITERAL


def spaces(places: np.ndarray) -> np.ndarray:
    """The `Space` of each place."""
    return np.where(places >= _LITERAL >> 1, Space.LITERAL, places // _RANGE)


def only_space(places: np.ndarray) -> Space | None:
    """The one where all lie; None where they lie in several."""
    found = np.unique(spaces(places))
    return Space(int(found[0])) if len(found) == 1 else None


def addresses(places: np.ndarray) -> np.ndarray:
    """In the memory of each place, or the number that is known."""
    return np.where(places >= _LITERAL >> 1, places - _LITERAL, places % _RANGE)


def moved(node: Node, *operands: "torch.Tensor") -> "torch.Tensor":
    """The places of what a node moves."""
    if isinstance(node, Pad):
        node = dataclasses.replace(node, value=literal(node.value))
    elif isinstance(node, Patches):
        node = dataclasses.replace(node, fill=literal(node.fill))
    return node(*operands)
