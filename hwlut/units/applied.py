"""Units along an axis of a tensor."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwlut.fields import integer
from hwlut.fixed import Fixed
from hwlut.unit import Resources
from hwlut.units.lut_matmul import CODE, LutMatmul
from hwlut.units.nested import nested
from hwlut.units.nodes import Extent, Node, Span, operand
from hwlut.units.requantize import Requantize

if TYPE_CHECKING:
    import torch

__all__ = ["LookUp", "Rescale"]


class _Applied(Node):
    """What costs as its unit does, and takes codes of its input."""

    extent = Extent.TENSORS
    unit: LutMatmul | Requantize

    def _taken(self, value: Span, input: Fixed) -> None:
        if value[0] < input.min or value[1] > input.max:
            raise ValueError(f"of must be from {input.min} to {input.max}, not {value[0]} to {value[1]}")

    def cost(self, value: Span) -> Resources:  # type: ignore[override]
        return self.unit.cost()

    @property
    def latency(self) -> int:
        return self.unit.cost().latency


@dataclass(frozen=True, eq=False)
class LookUp(_Applied, op="look_up"):
    """Rows, along the last axis, through a `LutMatmul`."""

    of: str = operand()
    unit: LutMatmul = nested(LutMatmul)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return self.unit(value.flatten(0, -2)).long().unflatten(0, value.shape[:-1])

    def span(self, value: Span) -> Span:
        self._taken(value, CODE)
        format = self.unit.accumulator if self.unit.requantize is None else self.unit.requantize.output
        return format.min, format.max


@dataclass(frozen=True, eq=False)
class Rescale(_Applied, op="rescale"):
    """A `Requantize`, with one channel or one for each place of an axis."""

    of: str = operand()
    unit: Requantize = nested(Requantize)
    axis: int = integer(-16, 15)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return self.unit(value, axis=self.axis).long()

    def span(self, value: Span) -> Span:
        self._taken(value, self.unit.input)
        return self.unit.output.min, self.unit.output.max
