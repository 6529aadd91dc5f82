"""Operations along rows, which are the last axis of a value."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwlut.fields import array, integer
from hwlut.unit import Resources
from hwlut.units.nodes import Extent, Node, Span, format_of, operand

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_PLACES", "Entries", "Maximum", "Sum"]

MOST_PLACES = 1 << 20
"""Of the longest row."""


@dataclass(frozen=True, eq=False)
class Sum(Node, op="sum"):
    """The sum of each row of at most `most` places, as a row of one."""

    extent = Extent.ROWS
    of: str = operand()
    most: int = integer(1, MOST_PLACES)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        self.check(value)
        return value.sum(-1, keepdim=True)

    def check(self, value: "torch.Tensor") -> None:
        """ValueError where rows are longer than `most`."""
        if not value.dim():
            raise ValueError(f"Program node {self.name!r} must take rows, not one number")
        if (places := value.shape[-1]) > self.most:
            raise ValueError(f"Program node {self.name!r} rows must have at most {self.most} places, not {places}")

    def span(self, value: Span) -> Span:
        low, high = value
        return min(low, self.most * low), max(high, self.most * high)

    def adder_bits(self, value: Span) -> int:
        return format_of(self.span(value)).bits


@dataclass(frozen=True, eq=False)
class Maximum(Node, op="maximum"):
    """The greatest number of each row, as a row of one."""

    extent = Extent.ROWS
    of: str = operand()

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return value.amax(-1, keepdim=True)

    def span(self, value: Span) -> Span:
        return value

    def adder_bits(self, value: Span) -> int:
        return format_of(value).bits


@dataclass(frozen=True, eq=False)
class Entries(Node, op="entries"):
    """An array of constants: its last axis lies along the rows, the others along the axes before."""

    extent = Extent.ROWS
    values: np.ndarray = array(None)

    def __call__(self) -> "torch.Tensor":
        import torch

        return torch.tensor(self.values, dtype=torch.int64)

    def span(self) -> Span:
        return int(self.values.min()), int(self.values.max())

    @property
    def latency(self) -> int:
        return 1

    def cost(self) -> Resources:  # type: ignore[override]
        bits = format_of(self.span()).bits
        return Resources(storage_bits=self.values.size * bits, multiplier_bits=0, adder_bits=0, latency=0)

    def levels(self) -> int:
        return 0
