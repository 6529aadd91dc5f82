"""Patches of tensors, as kernels of convolutions and pooling see them, and pooling."""

import itertools
import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from hwlut.fields import integer, integers
from hwlut.units.nodes import WORD, Extent, Node, Span, format_of, operand

if TYPE_CHECKING:
    import torch

__all__ = ["MaximumPool", "Patched", "Patches", "SumPool", "patches"]

_SIZE = 1 << 20
_DIMENSIONS = 3


def patches(
    x: "torch.Tensor",
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    fill: int,
) -> "torch.Tensor":
    """[N, C, *out, places of the kernel] of x [N, C, *in], with `fill` where the padding is.

    kernel, stride, padding, dilation: a number for each of the dimensions `in`.

    Raises ValueError for an input of other dimensions or one into which the kernel does not fit.
    """
    import torch

    if x.dim() != len(kernel) + 2:
        raise ValueError(f"patches of {len(kernel)} axes need [N, C, *in], not {list(x.shape)}")
    # F.pad takes the value by way of a float64.
    padded = torch.constant_pad_nd(x, [width for each in reversed(padding) for width in (each, each)], fill)
    for size, k, d in zip(padded.shape[2:], kernel, dilation):
        if size < (reach := d * (k - 1) + 1):
            raise ValueError(f"patches of {reach} places need as many with padding, not {size}")
    found = []
    for place in itertools.product(*map(range, kernel)):
        view = padded
        for axis, (at, k, s, d) in enumerate(zip(place, kernel, stride, dilation), 2):
            last = padded.shape[axis] - d * (k - 1) + at * d
            view = view[(slice(None),) * axis + (slice(at * d, last, s),)]
        found.append(view)
    return torch.stack(found, -1)


@dataclass(frozen=True, eq=False)
class Patched(Node):
    """What takes in patches of [N, C, *in]: `kernel`, `stride` and `padding` have a number for each of 1 to 3 axes."""

    extent = Extent.TENSORS
    of: str = operand()
    _: KW_ONLY
    kernel: tuple[int, ...] = integers(1, _SIZE)
    stride: tuple[int, ...] = integers(1, _SIZE)
    padding: tuple[int, ...] = integers(0, _SIZE)

    def validate(self) -> None:
        if not 1 <= len(self.kernel) <= _DIMENSIONS:
            raise ValueError(f"kernel must have from 1 to {_DIMENSIONS} sizes, not {self.kernel}")
        for key in ("stride", "padding"):
            if len(given := getattr(self, key)) != len(self.kernel):
                raise ValueError(f"{key} must be {len(self.kernel)} numbers, as the kernel is, not {given}")

    @property
    def _ones(self) -> tuple[int, ...]:
        return (1,) * len(self.kernel)


@dataclass(frozen=True, eq=False)
class MaximumPool(Patched, op="maximum_pool"):
    """The greatest number of each patch, in each channel; padding is never the greatest, and no patch all of it."""

    _: KW_ONLY
    dilation: tuple[int, ...] = integers(1, _SIZE)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        padding = -(1 << WORD)  # below any number
        found = patches(value, self.kernel, self.stride, self.padding, self.dilation, padding).amax(-1)
        if bool((found == padding).any()):
            raise ValueError(f"Program node {self.name!r} must have no patches of padding alone")
        return found

    def span(self, value: Span) -> Span:
        return value

    def adder_bits(self, value: Span) -> int:
        return format_of(value).bits * (math.prod(self.kernel) - 1)


@dataclass(frozen=True, eq=False)
class SumPool(Patched, op="sum_pool"):
    """The sum of each patch, in each channel; padding counts `fill`."""

    _: KW_ONLY
    fill: int = integer(-(1 << (WORD - 1)), (1 << (WORD - 1)) - 1)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return patches(value, self.kernel, self.stride, self.padding, self._ones, self.fill).sum(-1)

    def span(self, value: Span) -> Span:
        count = math.prod(self.kernel)
        return count * min(value[0], self.fill), count * max(value[1], self.fill)

    def adder_bits(self, value: Span) -> int:
        return format_of(self.span(value)).bits * (math.prod(self.kernel) - 1)


@dataclass(frozen=True, eq=False)
class Patches(Patched, op="patches"):
    """Each patch as a row [N, *out, C times places of the kernel], channel by channel, with `fill` in the padding."""

    _: KW_ONLY
    dilation: tuple[int, ...] = integers(1, _SIZE)
    fill: int = integer(-(1 << (WORD - 1)), (1 << (WORD - 1)) - 1)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        found = patches(value, self.kernel, self.stride, self.padding, self.dilation, self.fill)
        return found.movedim(1, -2).flatten(-2)

    def span(self, value: Span) -> Span:
        return min(value[0], self.fill), max(value[1], self.fill)

    def levels(self, value: Span) -> int:
        return 0
