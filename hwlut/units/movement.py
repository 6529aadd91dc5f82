"""Operations that move the numbers of tensors and change none."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwlut.fields import array, integer, integers
from hwlut.unit import Resources
from hwlut.units.nodes import WORD, Extent, Node, Span, format_of, operand, operands

if TYPE_CHECKING:
    import torch

__all__ = ["Concatenate", "Gather", "Pad", "Permute", "Reshape", "Slice"]

_SIZE = 1 << 31
_AXES = 16


class _Movement(Node):
    """The span is that of what is moved, and it costs nothing."""

    extent = Extent.TENSORS

    def span(self, *spans: Span) -> Span:
        return min(low for low, _ in spans), max(high for _, high in spans)

    def levels(self, *spans: Span) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Reshape(_Movement, op="reshape"):
    """The numbers in order as a tensor of another shape, of which one size may be -1: what is left."""

    of: str = operand()
    shape: tuple[int, ...] = integers(-1, _SIZE)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return value.reshape(self.shape)

    def validate(self) -> None:
        if self.shape.count(-1) > 1:
            raise ValueError(f"shape must have -1 at most once, not {self.shape}")


@dataclass(frozen=True, eq=False)
class Permute(_Movement, op="permute"):
    """Axis `order[i]` becomes axis i."""

    of: str = operand()
    order: tuple[int, ...] = integers(0, _AXES - 1)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return value.permute(self.order)

    def validate(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"order must have each axis once, not {self.order}")


@dataclass(frozen=True, eq=False)
class Slice(_Movement, op="slice"):
    """Every `step`-th place of an axis, from `start` to before `stop`."""

    of: str = operand()
    axis: int = integer(-_AXES, _AXES - 1)
    start: int = integer(0, _SIZE)
    stop: int = integer(0, _SIZE)
    step: int = integer(1, _SIZE)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        places: list[slice] = [slice(None)] * value.dim()
        places[self.axis] = slice(self.start, self.stop, self.step)
        return value[tuple(places)]


@dataclass(frozen=True, eq=False)
class Concatenate(_Movement, op="concatenate"):
    """Tensors after each other along an axis; their other axes broadcast."""

    of: tuple[str, ...] = operands()
    axis: int = integer(-_AXES, _AXES - 1)

    def __call__(self, *values: "torch.Tensor") -> "torch.Tensor":
        import torch

        axis = self.axis % values[0].dim()
        ones = [value.narrow(axis, 0, 1).shape for value in values]
        shape = torch.broadcast_shapes(*ones)
        whole = [value.expand(*shape[:axis], value.shape[axis], *shape[axis + 1 :]) for value in values]
        return torch.cat(whole, axis)


@dataclass(frozen=True, eq=False)
class Pad(_Movement, op="pad"):
    """`value` before and after the last axes: `widths` are pairs, those of the last axis first."""

    of: str = operand()
    widths: tuple[int, ...] = integers(0, _SIZE)
    value: int = integer(-(1 << (WORD - 1)), (1 << (WORD - 1)) - 1)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.constant_pad_nd(value, self.widths, self.value)  # F.pad takes the value by way of a float64

    def validate(self) -> None:
        if len(self.widths) % 2:
            raise ValueError(f"widths must be pairs, not {self.widths}")

    def span(self, *spans: Span) -> Span:
        return super().span(*spans, (self.value, self.value))


@dataclass(frozen=True, eq=False)
class Gather(Node, op="gather"):
    """The row of a table at each index: an embedding."""

    extent = Extent.TENSORS
    of: str = operand()
    table: np.ndarray = array(2)

    def __call__(self, index: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.tensor(self.table, dtype=torch.int64, device=index.device)[index]

    def span(self, index: Span) -> Span:
        if index[0] < 0 or index[1] >= len(self.table):
            raise ValueError(f"of must be from 0 to {len(self.table) - 1}, not {index[0]} to {index[1]}")
        return int(self.table.min()), int(self.table.max())

    def cost(self, index: Span) -> Resources:  # type: ignore[override]
        bits = format_of(self.span(index)).bits
        return Resources(storage_bits=self.table.size * bits, multiplier_bits=0, adder_bits=0, latency=0)
