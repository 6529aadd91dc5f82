"""Operators on their inputs, and stages of bounds."""

import math
from typing import Any

import numpy as np
import torch

from hwlut.graph import Source
from hwlut.lowering.calls import called, sources_of
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, Stage, for_kinds
from hwlut.units.operations import Clamp

__all__ = ["Operator", "numpy_of"]


def numpy_of(value: Any) -> np.ndarray:
    """A number or a tensor as float64."""
    return value.detach().double().cpu().numpy() if isinstance(value, torch.Tensor) else np.array(float(value))


class Operator(Stage):
    """An operator of torch on its inputs, and on constants as the model has them now."""

    def real(self, *inputs: torch.Tensor) -> Any:
        fed = dict(zip(self.sources, inputs))
        shapes = dict(sources_of(self.operation))

        def tensor(source: Source) -> torch.Tensor:
            if source in fed:
                return fed[source]
            value = self.constants[source]()
            if value.dim() and value.shape[0] != shapes[source][0]:  # of one sample
                batch = len(inputs[0]) * self.batch // self.sizes[0][0]
                return value.repeat(batch, *(1,) * (value.dim() - 1))
            return value

        return called(self.operation, tensor)


@for_kinds("relu")
class Relu(Operator):
    """max(0, x), on codes of any scale."""

    def lower(self, context: Context, x: Number) -> Number:
        x = context.builder.centred(x)
        low, high = context.builder.spans[x.name]
        if low >= 0:
            return x
        name = context.builder.add(Clamp, self.name, x.name, 0, max(high, 0))
        return Number(name, x.dims, x.scale, x.offset, x.axis)


@for_kinds("hardtanh", "relu6", "clamp")
class Bounded(Operator):
    """x held between two real numbers, which are rounded to codes."""

    def check(self) -> None:
        if any(isinstance(self.operation.arguments[name], Source) for name in self._names()):
            raise ValueError("must have numbers as bounds, not tensors")

    def _names(self) -> tuple[str, ...]:
        return {"relu6": (), "clamp": ("min", "max")}.get(self.operation.kind, ("min_val", "max_val"))

    def _bounds(self) -> tuple[float, float]:
        """Infinite where there is none."""
        if self.operation.kind == "relu6":
            return 0.0, 6.0
        low, high = (self.argument(name) for name in self._names())
        return -math.inf if low is None else low, math.inf if high is None else high

    def lower(self, context: Context, x: Number) -> Number:
        builder, (low, high) = context.builder, self._bounds()
        x = builder.centred(x)
        if x.axis is not None:
            x = builder.on(x, context.grid(self.name))
            x = builder.centred(x)
        least, most = builder.spans[x.name]
        if low > most * float(x.scale) or high < least * float(x.scale):  # all are the bound
            x = builder.centred(builder.on(x, context.holding(self.name)))
            least, most = builder.spans[x.name]
        if math.isfinite(low):
            least, most = (max(each, round(low / float(x.scale))) for each in (least, most))
        if math.isfinite(high):
            least, most = (min(each, round(high / float(x.scale))) for each in (least, most))
        return Number(builder.add(Clamp, self.name, x.name, least, most), x.dims, x.scale, x.offset)
