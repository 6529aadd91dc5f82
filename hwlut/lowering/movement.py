"""Stages of what moves numbers and changes none: shapes, orders, copies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hwlut.lowering.elementwise import Operator, numpy_of
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, for_kinds
from hwlut.units.movement import Concatenate, Permute, Reshape
from hwlut.units.nodes import Node

__all__ = ["Move", "Movement", "joined"]

Move = Callable[..., Any]
"""``move(kind, value, **fields)``: what a node of that kind makes of a value, or of a tuple of them."""


def joined(context: Context, name: str, number: Number) -> Number:
    """The number of the stage `name` by codes of one scale."""
    return number if number.axis is None else context.builder.on(number, context.grid(name))


class Movement(Operator):
    """Nodes that move, the same on codes and on real numbers."""

    moves = True

    def moved(self, move: Move, x: Any) -> Any:
        """The result, or a tuple of them, of `x`: a tensor, or the name of a value."""
        raise NotImplementedError

    def check(self) -> None:
        self.moved(lambda kind, value, **fields: value, None)

    def real(self, *inputs: torch.Tensor) -> Any:
        return self.moved(_on_tensors, inputs[0])

    def lower(self, context: Context, x: Number) -> Any:
        x = joined(context, self.inputs[0], x)

        def move(kind: type[Node], value: Any, **fields: Any) -> str:
            return context.builder.add(kind, self.name, value, **fields)

        found = self.moved(move, x.name)
        names = found if isinstance(found, tuple) else (found,)
        numbers = [
            Number(name, len(shape), x.scale, x.offset) for name, shape in zip(names, self.operation.shapes) if shape
        ]
        return tuple(numbers) if isinstance(found, tuple) else numbers[0]

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.sizes[0]


def _on_tensors(kind: type[Node], value: Any, **fields: Any) -> torch.Tensor:
    several = isinstance(value, tuple)
    made: Any = kind
    node = made("moved", ("x",) * len(value) if several else "x", **fields)
    return node(*value) if several else node(value)


@for_kinds("view", "reshape", "_unsafe_view", "unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")
class Reshaped(Movement):
    """Another shape."""

    def moved(self, move: Move, x: Any) -> Any:
        return move(Reshape, x, shape=self.free(self.operation.shape))


@for_kinds("permute", "transpose", "t", "swapaxes", "movedim", "numpy_T", "mT")
class Permuted(Movement):
    """Another order of axes."""

    def moved(self, move: Move, x: Any) -> Any:
        # Where each axis goes is seen on one whose sizes tell them apart.
        told = torch.empty(tuple(range(2, 2 + len(self._shape))), device="meta")
        arguments = {name: value for name, value in self.operation.arguments.items() if name != "self"}
        there = self.operation.target(told, **arguments)
        return move(Permute, x, order=tuple(size - 2 for size in there.shape))


@for_kinds("expand")
class Expanded(Movement):
    """Copies along axes of one place."""

    def moved(self, move: Move, x: Any) -> Any:
        shape, wanted = self._shape, self.operation.shape
        if len(wanted) > len(shape):
            shape = (1,) * (len(wanted) - len(shape)) + shape
            x = move(Reshape, x, shape=self.free(shape))
        for axis, (size, target) in enumerate(zip(shape, wanted)):
            if size != target:
                if target % self.batch == 0:
                    raise ValueError("must not be along the batch")
                x = move(Concatenate, (x,) * target, axis=axis)
        return x


@for_kinds("repeat")
class Repeated(Movement):
    """The whole several times along an axis."""

    def moved(self, move: Move, x: Any) -> Any:
        repeats = self.argument("repeats")
        shape = (1,) * (len(repeats) - len(self._shape)) + self._shape
        if len(shape) > len(self._shape):
            x = move(Reshape, x, shape=self.free(shape))
        for axis, count in enumerate(repeats):
            if count != 1:
                if shape[axis] % self.batch == 0 or count % self.batch == 0:
                    raise ValueError("must not be along the batch")
                x = move(Concatenate, (x,) * count, axis=axis)
        return x


@for_kinds("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
class Upsampled(Movement):
    """Each place several times along the last axes."""

    def moved(self, move: Move, x: Any) -> Any:
        shape = self._shape
        for axis in range(2, len(shape)):
            size, wanted = shape[axis], self.operation.shape[axis]
            if wanted % size:
                raise ValueError(f"must repeat whole places, not {size} as {wanted}")
            if wanted != size:
                x = move(Reshape, x, shape=self.free((*shape[: axis + 1], 1, *shape[axis + 1 :])))
                x = move(Concatenate, (x,) * (wanted // size), axis=axis + 1)
                shape = (*shape[:axis], wanted, *shape[axis + 1 :])
                x = move(Reshape, x, shape=self.free(shape))
        return x


@for_kinds("pixel_shuffle", "pixel_unshuffle")
class Shuffled(Movement):
    """Channels as blocks of places, or the other way."""

    def moved(self, move: Move, x: Any) -> Any:
        batch, channels, height, width = self._shape
        if self.operation.kind == "pixel_shuffle":
            r = self.argument("upscale_factor")
            x = move(Reshape, x, shape=self.free((batch, channels // r**2, r, r, height, width)))
            x = move(Permute, x, order=(0, 1, 4, 2, 5, 3))
        else:
            r = self.argument("downscale_factor")
            x = move(Reshape, x, shape=self.free((batch, channels, height // r, r, width // r, r)))
            x = move(Permute, x, order=(0, 1, 3, 5, 2, 4))
        return move(Reshape, x, shape=self.free(self.operation.shape))


@for_kinds("cat", "concat", "concatenate", "stack")
class Joined(Operator):
    """Tensors one after the other, aligned to one grid."""

    moves = True

    def check(self) -> None:
        if self.operation.shape[self._axis()] % self.batch == 0:
            raise ValueError("must not be along the batch")

    def _axis(self) -> int:
        return self.argument("dim") % len(self.operation.shape)

    def lower(self, context: Context, *inputs: Number) -> Number:
        builder, stacked = context.builder, self.operation.kind == "stack"
        grid = context.grid(self.name)
        names, dims = [], len(self.operation.shape)
        for source, shape in zip(self.operation.arguments["tensors"], self.operation.sizes["tensors"]):
            if source in self.sources:
                name = builder.on(inputs[self.sources.index(source)], grid).name
                if stacked:
                    shape = (*shape[: self._axis()], 1, *shape[self._axis() :])
                    name = builder.add(Reshape, f"{self.name}_part", name, self.free(shape))
            else:
                values = numpy_of(self.constants[source]())
                values = np.expand_dims(values, self._axis()) if stacked else values
                name = builder.constant(f"{self.name}_constant", values, grid, dims).name
            names.append(name)
        return Number.on(builder.add(Concatenate, self.name, tuple(names), self._axis()), dims, grid)
