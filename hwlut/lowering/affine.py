"""Stages of sums and factors, of activations and of constants, batch normalization among them."""

import math

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.lowering.calls import sources_of
from hwlut.lowering.elementwise import Operator, numpy_of
from hwlut.lowering.numbers import FAR, INFINITE, MASKED, Grid, Number, far_codes
from hwlut.lowering.stage import Context, Place, for_kinds
from hwlut.units.movement import Reshape
from hwlut.units.nodes import Node
from hwlut.units.operations import Add, Clamp, Multiply

__all__: list[str] = []

_WIDE = 30
"""Most bits of what is added: what lies far beyond a sum, as a mask does, is not held to the sum's codes."""


class _Affine(Operator):
    """x times a factor and plus an offset that follow from the model alone; both one number, or one a channel."""

    def check(self) -> None:
        for source, shape in sources_of(self.operation):
            if source in self.constants and len(shape) == len(self.operation.shape) and shape[0] not in (0, 1):
                if len(self.constants[source]()) == shape[0] and self.operation.shape[0] == shape[0]:
                    raise ValueError("must have constants that are the same for every sample")

    @staticmethod
    def _along(x: Number, values: np.ndarray) -> tuple[np.ndarray, int] | None:
        """Values that broadcast against `x`, as one a channel of an axis; None where they lie along several."""
        values = values.reshape((1,) * (x.dims - values.ndim) + values.shape)
        axes = [axis for axis in range(values.ndim) if values.shape[axis] > 1]
        if len(axes) > 1 or (axes and x.axis not in (None, axes[0])):
            return None
        return values.ravel(), axes[0] if axes else 0

    def _placed(self, context: Context, kind: type[Node], x: Number, codes: np.ndarray) -> str:
        """x and codes by a node, where they broadcast to the result; of one sample, if that is several rows of x."""
        entries = context.builder.entries(f"{self.name}_constant", codes)
        rows = len(codes) if codes.ndim == len(self.operation.shape) else 1
        if rows == 1:
            return context.builder.add(kind, self.name, x.name, entries)
        shape = self.sizes[0]
        if len(shape) != codes.ndim or shape[0] != rows * self.batch:
            raise ValueError(f"constant must be of one sample, not of shape {codes.shape}")
        name = context.builder.add(Reshape, f"{self.name}_samples", x.name, (-1, rows, *shape[1:]))
        name = context.builder.add(kind, self.name, name, entries)
        return context.builder.add(Reshape, f"{self.name}_rows", name, (-1, *self.operation.shape[1:]))

    @staticmethod
    def _scaled(x: Number, factor: np.ndarray, offset: np.ndarray, axis: int) -> Number:
        """`factor` and `offset` are one number, or one a channel of the axis."""
        factor, offset = (each.reshape(()) if each.size == 1 else each for each in (factor, offset))
        scale, moved = x.scale * factor, x.offset * factor + offset
        if scale.ndim or moved.ndim:
            scale, moved = np.broadcast_arrays(scale, moved)
            return Number(x.name, x.dims, scale.copy(), moved.copy(), axis if x.axis is None else x.axis)
        return Number(x.name, x.dims, np.asarray(scale), np.asarray(moved))


@for_kinds("batch_norm", "cudnn_batch_norm", "native_batch_norm")
class BatchNorm(_Affine):
    """Batch normalization by the statistics that are kept: folded into the scale and the offset of its channels."""

    def lower(self, context: Context, x: Number) -> Number:
        given = {name: self.argument(name) for name in ("weight", "bias", "running_mean", "running_var", "eps")}
        factor = 1 / np.sqrt(numpy_of(given["running_var"]) + given["eps"])
        if given["weight"] is not None:
            factor = factor * numpy_of(given["weight"])
        offset = -numpy_of(given["running_mean"]) * factor
        if given["bias"] is not None:
            offset = offset + numpy_of(given["bias"])
        return self._scaled(x, factor, offset, 1)

    def check(self) -> None:
        super().check()
        if any(isinstance(self.argument(name), Place) or self.argument(name) is None for name in ("running_mean",)):
            raise ValueError("must have running statistics")


@for_kinds("neg")
class Negative(_Affine):
    """-x."""

    def lower(self, context: Context, x: Number) -> Number:
        return self._scaled(x, np.array(-1.0), np.array(0.0), 0)


@for_kinds("add", "sub", "rsub")
class Sum(_Affine):
    """a + b or a - b: of two activations, aligned to one step; a constant is an offset, or an array of that step."""

    def counted(self, value: torch.Tensor) -> torch.Tensor:
        return torch.where(value < -INFINITE, MASKED, value) if value.is_floating_point() else value

    def lower(self, context: Context, *inputs: Number) -> Number:
        kind, weight = self.operation.kind, float(self.argument("alpha"))
        signs = {"add": (1.0, weight), "sub": (1.0, -weight), "rsub": (-weight, 1.0)}[kind]
        numbers: list[Number] = []
        constants: list[np.ndarray] = []
        reaches: list[float] = []
        for each, sign in zip((self.argument("self"), self.argument("other")), signs):
            if isinstance(each, Place):
                number = inputs[each]
                numbers.append(number if sign == 1 else self._scaled(number, np.array(sign), np.array(0.0), 0))
                reaches.append(max(map(abs, context.ranges[self.inputs[each]])) * abs(sign))
            else:
                constants.append(numpy_of(each) * sign)
        if constants and numbers[0].dims == len(self.operation.shape):
            if (along := self._along(numbers[0], constants[0])) is not None and np.abs(along[0]).max() < FAR:
                return self._scaled(numbers[0], np.ones_like(along[0]), *along)
        grid, dims = context.holding(self.name), len(self.operation.shape)
        terms = [context.builder.on(each, self._wide(grid, reach)) for each, reach in zip(numbers, reaches)]
        if constants:
            return Number.on(self._placed(context, Add, terms[0], far_codes(constants[0], grid)), dims, grid)
        return Number.on(context.builder.add(Add, self.name, *(each.name for each in terms)), dims, grid)

    @staticmethod
    def _wide(grid: Grid, reach: float) -> Grid:
        """The grid with as many bits as hold numbers twice as great as `reach`."""
        bits = math.frexp(reach / grid.step)[1] + 2
        return Grid(Fixed(min(max(bits, grid.format.bits), _WIDE)), grid.step)


@for_kinds("mul", "div")
class Factor(_Affine):
    """a * b of two activations, or by what follows from the model alone; a / b by the latter."""

    def check(self) -> None:
        super().check()
        if self.operation.kind == "div" and (
            not isinstance(self.argument("self"), Place) or isinstance(self.argument("other"), Place)
        ):
            raise ValueError("must be by what follows from the model alone")
        if self.operation.arguments.get("rounding_mode") is not None:
            raise ValueError("must not be rounded")

    def lower(self, context: Context, *inputs: Number) -> Number:
        a, b = self.argument("self"), self.argument("other")
        if isinstance(a, Place) and isinstance(b, Place):
            return self._product(context, inputs[a], inputs[b])
        place, constant = (a, b) if isinstance(a, Place) else (b, a)
        number, factor = inputs[place], numpy_of(constant)
        factor = 1 / factor if self.operation.kind == "div" else factor
        along = self._along(number, factor) if number.dims == len(self.operation.shape) else None
        if along is not None:
            return self._scaled(number, along[0], np.zeros_like(along[0]), along[1])
        grid = context.spanning(float(factor.min()), float(factor.max()))
        number = self._factor(context, number, self.inputs[0])
        name = self._placed(context, Multiply, number, np.rint(factor / grid.step))
        return Number(name, len(self.operation.shape), number.scale * grid.step, np.zeros(()))

    def _product(self, context: Context, a: Number, b: Number) -> Number:
        first, second = self._factor(context, a, self.inputs[0]), self._factor(context, b, self.inputs[-1])
        name = context.builder.add(Multiply, self.name, first.name, second.name)
        return Number(name, max(a.dims, b.dims), first.scale * second.scale, np.zeros(()))

    @staticmethod
    def _factor(context: Context, number: Number, name: str) -> Number:
        """A number as one of at most `value_bits`, in which 0 is zero."""
        low, high = context.builder.spans[number.name]
        if number.axis is not None or max(-low, high + 1) > 1 << (context.value_bits - 1) or number.offset.any():
            number = context.builder.on(number, context.holding(name))
        return context.builder.centred(number)


@for_kinds("prelu")
class Slanted(_Affine):
    """x where it is positive, else x times a factor, one or one a channel."""

    def lower(self, context: Context, x: Number) -> Number:
        builder, weight = context.builder, numpy_of(self.argument("weight"))
        grid = context.holding(self.name)
        x = builder.centred(x)
        low, high = builder.spans[x.name]
        names = []
        for label, ends, factor in (("above", (0, max(high, 0)), np.ones(1)), ("below", (min(low, 0), 0), weight)):
            held = builder.add(Clamp, f"{self.name}_{label}", x.name, *ends)
            number = self._scaled(Number(held, x.dims, x.scale, x.offset, x.axis), factor, np.zeros_like(factor), 1)
            names.append(builder.on(number, grid).name)
        return Number.on(builder.add(Add, self.name, *names), x.dims, grid)
