"""Stages of what is computed from whole rows: softmax and normalization."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.lowering.elementwise import Operator, numpy_of
from hwlut.lowering.numbers import Grid, Number
from hwlut.lowering.stage import Context, Stage, for_kinds
from hwlut.program import layer_norm, rms_norm, softmax
from hwlut.units import Program
from hwlut.units.movement import Permute, Reshape
from hwlut.units.operations import Apply

__all__ = ["normalized", "root_mean_square", "weighted"]

_SCORES = 12
"""Bits whose step scores have; they are wider, so that rows far below all that was seen are not hidden as a whole."""

_NOTHING = 12.0
"""How far below the highest score of a row one has a share that 16 bits do not hold."""

_LONGEST = 1 << 16
"""Row of a normalization."""

_SEGMENTS = 8
"""Of the tables of softmax; those of normalization have twice as many. Both are then off by less than 0.1 %."""


def _applied(context: Context, stage: Stage, x: Number, program: Program) -> Number:
    """The rows of a number through a program."""
    name = context.builder.add(Apply, stage.name, x.name, program)
    return Number.on(name, x.dims, Grid.binary(program.output))


@for_kinds("softmax")
class Softmax(Operator):
    """Softmax, of scores to shares of `value_bits`; a score that is minus infinity has the lowest code."""

    @property
    def rows(self) -> Any:
        return self.operation.kind, self.sizes[0][self.argument("dim")]

    def counted(self, value: torch.Tensor) -> torch.Tensor:
        return value[value > value.amax(self.argument("dim"), keepdim=True) - _NOTHING]

    def lower(self, context: Context, x: Number) -> Number:
        axis, dims = self.argument("dim") % x.dims, x.dims
        fine, wide = (context.holding(self.inputs[0], most).step for most in (_SCORES, None))
        grid = Grid(Fixed(context.value_bits), max(min(fine, 1.0), wide))
        x = context.builder.on(x, grid)
        order = [place for place in range(dims) if place != axis] + [axis]
        if axis != dims - 1:
            x = Number.on(context.builder.add(Permute, f"{self.name}_rows", x.name, tuple(order)), dims, grid)
        made = softmax(input=grid.fixed, output=context.shares, most=self.sizes[0][axis], segments=_SEGMENTS)
        x = _applied(context, self, x, made)
        if axis != dims - 1:
            back = tuple(order.index(place) for place in range(dims))
            name = context.builder.add(Permute, f"{self.name}_back", x.name, back)
            x = Number(name, dims, x.scale, x.offset)
        return x


def normalized(
    context: Context, stage: Stage, x: Number, core: Callable[..., Program], eps: float, size: int
) -> Number:
    """Rows, normalized by a program."""
    grid = context.holding(stage.inputs[0])
    # A row of n numbers has none beyond sqrt(n) of its deviations.
    output = context.spanning(-(size**0.5) / 2, size**0.5 / 2).fixed
    unit = grid.unit  # what is normalized may be in any unit, where eps is
    eps *= (unit.step / grid.step) ** 2
    return _applied(context, stage, context.builder.on(x, grid), core(unit.fixed, output, size, eps))


def weighted(found: Number, weight: torch.Tensor | None, bias: torch.Tensor | None, axis: int) -> Number:
    """A number with the weight and the bias of each place of an axis."""
    if weight is None and bias is None:
        return found
    scale = found.scale if weight is None else found.scale * numpy_of(weight)
    offset = found.offset if bias is None else found.offset + numpy_of(bias)
    scale, offset = (each.copy() for each in np.broadcast_arrays(scale, offset))
    return Number(found.name, found.dims, scale, offset, axis)


def root_mean_square(context: Context, stage: Stage, x: Number, eps: float) -> Number:
    """Rows divided by the root of the mean of their squares and `eps`."""
    return normalized(context, stage, x, _rms, eps, stage.sizes[0][-1])


def _rms(input: Fixed, output: Fixed, size: int, eps: float) -> Program:
    return rms_norm(input=input, output=output, size=size, eps=eps, segments=2 * _SEGMENTS)


def _layer(input: Fixed, output: Fixed, size: int, eps: float) -> Program:
    return layer_norm(input=input, output=output, size=size, eps=eps, segments=2 * _SEGMENTS)


@for_kinds("layer_norm", "rms_norm")
class Norm(Operator):
    """Layer normalization, or by the root mean square; weight and bias are a scale and an offset of each place."""

    def check(self) -> None:
        shape = self.argument("normalized_shape")
        if len(shape) != 1:
            raise ValueError(f"must be of the last axis alone, not of {len(shape)}")

    @property
    def rows(self) -> Any:
        return self.operation.kind, self.sizes[0][-1], self.argument("eps")

    def lower(self, context: Context, x: Number) -> Number:
        eps, core = self.argument("eps"), _layer if self.operation.kind == "layer_norm" else _rms
        eps = torch.finfo(torch.float32).eps if eps is None else eps
        size = self.sizes[0][-1]
        return self._weighted(normalized(context, self, x, core, eps, size), x.dims - 1)

    def _weighted(self, found: Number, axis: int) -> Number:
        weight, bias = (
            self.argument(name) if name in self.operation.arguments else None for name in ("weight", "bias")
        )
        return weighted(found, weight, bias, axis)


@for_kinds("group_norm")
class GroupNorm(Norm):
    """Layer normalization of each group of channels, with its places, as one row."""

    def check(self) -> None:
        if math.prod(self.sizes[0][1:]) // self.argument("num_groups") > _LONGEST:
            raise ValueError(f"must be of groups of at most {_LONGEST} numbers")

    @property
    def rows(self) -> Any:
        return None

    def lower(self, context: Context, x: Number) -> Number:
        builder, shape, groups = context.builder, self.sizes[0], self.argument("num_groups")
        size = math.prod(shape[1:]) // groups
        x = builder.on(x, context.holding(self.inputs[0]))
        name = builder.add(Reshape, f"{self.name}_rows", x.name, self.free((shape[0], groups, size)))
        rows = Number(name, 3, x.scale, x.offset)
        found = normalized(context, self, rows, _layer, self.argument("eps"), size)
        name = builder.add(Reshape, f"{self.name}_places", found.name, self.free(shape))
        return self._weighted(Number(name, len(shape), found.scale, found.offset), 1)
