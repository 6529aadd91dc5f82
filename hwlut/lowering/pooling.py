"""Stages of pooling and means."""

import math
from typing import Any

import numpy as np

from hwlut.lowering.elementwise import Operator
from hwlut.lowering.movement import joined
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, for_kinds
from hwlut.units.movement import Permute, Reshape
from hwlut.units.patches import MaximumPool, SumPool
from hwlut.units.reductions import Sum

__all__: list[str] = []


class _Pool(Operator):
    """A pool over the last 1 to 3 axes."""

    @property
    def _axes(self) -> int:
        return len(self.sizes[0]) - 2

    def _each(self, name: str, default: int | None = None) -> tuple[int, ...]:
        """An argument as one number an axis."""
        value = self.operation.arguments.get(name)
        if value is None or value == ():
            return self._each("kernel_size") if default is None else (default,) * self._axes
        value = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(value) * self._axes if len(value) == 1 else tuple(value)

    def check(self) -> None:
        kernel, stride, padding = self._each("kernel_size"), self._each("stride"), self._each("padding", 0)
        dilation = self._each("dilation", 1)
        parts = zip(self.sizes[0][2:], kernel, stride, padding, dilation)
        whole = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in parts)
        if self.operation.shape[2:] != whole:
            raise ValueError(f"must give {whole} places, whole patches alone, not {self.operation.shape[2:]}")

    def _geometry(self) -> dict[str, Any]:
        return {
            "kernel": self._each("kernel_size"),
            "stride": self._each("stride"),
            "padding": self._each("padding", 0),
        }


@for_kinds("max_pool1d", "max_pool2d", "max_pool3d")
class Maximum(_Pool):
    """The greatest number of each patch."""

    moves = True

    def lower(self, context: Context, x: Number) -> Number:
        x = context.builder.positive(x)
        if self.inputs[0] in context.wishes:
            x = context.builder.on(x, context.wishes[self.inputs[0]])
        dilation = self._each("dilation", 1)
        name = context.builder.add(MaximumPool, self.name, x.name, **self._geometry(), dilation=dilation)
        return Number(name, x.dims, x.scale, x.offset, x.axis)


@for_kinds("avg_pool1d", "avg_pool2d", "avg_pool3d")
class Average(_Pool):
    """The mean of each patch, as a sum of another scale."""

    def _each(self, name: str, default: int | None = None) -> tuple[int, ...]:
        found = super()._each(name, default)
        if name not in ("kernel_size", "stride") or any(super()._each("padding", 0)):
            return found
        # A kernel beyond all there is, as ceil_mode lets there be, is of all there is.
        return tuple(map(min, found, self.sizes[0][2:]))

    def check(self) -> None:
        super().check()
        if any(self._each("padding", 0)) and not self.operation.arguments.get("count_include_pad", True):
            raise ValueError("must count what is padded")

    def lower(self, context: Context, x: Number) -> Number:
        x = context.builder.centred(x)
        name = context.builder.add(SumPool, self.name, x.name, **self._geometry(), fill=0)
        count = self.operation.arguments.get("divisor_override") or math.prod(self._each("kernel_size"))
        return Number(name, x.dims, x.scale / count, x.offset, x.axis)


@for_kinds("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
class Adaptive(Operator):
    """The mean of patches that lie side by side."""

    def _kernel(self) -> tuple[int, ...]:
        return tuple(size // count for size, count in zip(self.sizes[0][2:], self.operation.shape[2:]))

    def check(self) -> None:
        if any(size % count for size, count in zip(self.sizes[0][2:], self.operation.shape[2:])):
            raise ValueError(f"must divide {self.sizes[0][2:]}, not give {self.operation.shape[2:]}")

    def lower(self, context: Context, x: Number) -> Number:
        x, kernel = context.builder.centred(x), self._kernel()
        fields = {"kernel": kernel, "stride": kernel, "padding": (0,) * len(kernel), "fill": 0}
        name = context.builder.add(SumPool, self.name, x.name, **fields)
        return Number(name, x.dims, x.scale / math.prod(kernel), x.offset, x.axis)


@for_kinds("mean", "sum")
class Mean(Operator):
    """The mean over axes, as a sum of another scale, or the sum."""

    @property
    def along(self) -> list[int]:
        """The axes, from 0."""
        given, dims = self.operation.arguments.get("dim"), len(self.sizes[0])
        return sorted(axis % dims for axis in given or range(dims))

    def check(self) -> None:
        if 0 in self.along:
            raise ValueError("must not be over the batch")

    def lower(self, context: Context, x: Number) -> Number:
        builder, along, shape = context.builder, self.along, self.sizes[0]
        if x.axis in along:
            x = joined(context, self.inputs[0], x)
        x = builder.centred(x)
        kept = [axis for axis in range(len(shape)) if axis not in along]
        order, count = [*kept, *along], math.prod(shape[axis] for axis in along)
        name = x.name
        if order != sorted(order):
            name = builder.add(Permute, f"{self.name}_order", name, tuple(order))
        if len(along) > 1:
            name = builder.add(Reshape, f"{self.name}_rows", name, (*self.free([shape[axis] for axis in kept]), count))
        name = builder.add(Sum, self.name, name, count)
        name = builder.add(Reshape, f"{self.name}_shape", name, self.free(self.operation.shape))
        axis, scale = None, x.scale / count if self.operation.kind == "mean" else x.scale
        if x.axis is not None:
            keeps = bool(self.argument("keepdim"))
            axis = x.axis if keeps else kept.index(x.axis)
        return Number(name, len(self.operation.shape), np.asarray(scale), x.offset, axis)
