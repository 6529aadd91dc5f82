"""Stages of masks: which places count, and what stands in the others."""

from typing import Any

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.lowering.elementwise import Operator, numpy_of
from hwlut.lowering.numbers import MASKED, Grid, Number, far_codes
from hwlut.lowering.stage import Context, Place, for_kinds
from hwlut.units.operations import Constant, Equal, Less, Multiply, Select

__all__: list[str] = []

_TRUTH = Grid(Fixed(1, signed=False), 1.0)


class _Masked(Operator):
    """What takes masks, which are any integers but 0 where they hold."""

    def _mask(self, context: Context, given: Any, inputs: tuple[Number, ...]) -> str:
        """The name of a value that is 1 where a mask holds, else 0."""
        builder = context.builder
        if not isinstance(given, Place):
            return builder.entries(f"{self.name}_mask", (numpy_of(given) != 0).astype(np.int64))
        name = inputs[given].name
        if builder.spans[name] != (0, 1):
            zero = builder.add(Constant, f"{self.name}_zero", 0)
            name = builder.add(Equal, f"{self.name}_unset", name, zero)
            name = builder.add(Equal, f"{self.name}_set", name, zero)
        return name


@for_kinds("bitwise_not", "logical_not")
class Not(_Masked):
    """1 where a mask is 0."""

    def check(self) -> None:
        if self.operation.dtype != torch.bool:
            raise ValueError("must be of a mask")

    def real(self, *inputs: torch.Tensor) -> Any:
        return inputs[0] == 0

    def lower(self, context: Context, x: Number) -> Number:
        zero = context.builder.add(Constant, f"{self.name}_zero", 0)
        return Number.on(context.builder.add(Equal, self.name, x.name, zero), x.dims, _TRUTH)


@for_kinds("and", "bitwise_and", "logical_and", "or", "bitwise_or", "logical_or")
class Both(_Masked):
    """Masks that hold where both do, or one."""

    def check(self) -> None:
        if self.operation.dtype != torch.bool:
            raise ValueError("must be of masks")

    def real(self, *inputs: torch.Tensor) -> Any:
        return super().real(*(each != 0 for each in inputs))

    def lower(self, context: Context, *inputs: Number) -> Number:
        builder = context.builder
        a, b = (self._mask(context, self.argument(name), inputs) for name in ("self", "other"))
        if self.operation.kind.endswith("and"):
            name = builder.add(Multiply, self.name, a, b)
        else:
            name = builder.add(Select, self.name, a, builder.add(Constant, f"{self.name}_one", 1), b)
        return Number.on(name, len(self.operation.shape), _TRUTH)


@for_kinds("eq", "ne", "lt", "le", "gt", "ge")
class Compared(Operator):
    """Where numbers are as others, or less or more, by codes of `value_bits`; integers by themselves."""

    def lower(self, context: Context, *inputs: Number) -> Number:
        builder, kind = context.builder, self.operation.kind
        sides = [self.argument(name) for name in ("self", "other")]
        constants = [numpy_of(each) for each in sides if not isinstance(each, Place)]
        whole = [number.axis is None and (number.scale, number.offset) == (1, 0) for number in inputs]
        ends = [end for name in self.inputs for end in context.ranges[name]]
        integers = all(whole) and all((each % 1 == 0).all() for each in constants)
        grid = Grid(Fixed(32), 1.0) if integers else context.spanning(min(ends), max(ends))
        a, b = (self._side(context, each, inputs, grid) for each in sides)
        if kind in ("gt", "le"):
            a, b = b, a
        name = builder.add(Equal if kind in ("eq", "ne") else Less, self.name, a, b)
        if kind in ("ne", "le", "ge"):
            name = builder.add(Equal, f"{self.name}_not", name, builder.add(Constant, f"{self.name}_zero", 0))
        return Number.on(name, len(self.operation.shape), _TRUTH)

    def _side(self, context: Context, given: Any, inputs: tuple[Number, ...], grid: Grid) -> str:
        if isinstance(given, Place):
            return context.builder.on(inputs[given], grid).name
        return context.builder.constant(f"{self.name}_constant", numpy_of(given), grid, 0).name


@for_kinds("where", "masked_fill")
class Chosen(_Masked):
    """One of two numbers where a mask holds, the other elsewhere."""

    def _given(self) -> tuple[Any, Any, Any]:
        """The mask, and the numbers where it holds and elsewhere."""
        if self.operation.kind == "where":
            return self.argument("condition"), self.argument("self"), self.argument("other")
        return self.argument("mask"), self.argument("value"), self.argument("self")

    def real(self, *inputs: torch.Tensor) -> Any:
        mask = self.operation.arguments["condition" if self.operation.kind == "where" else "mask"]
        sources = zip(self.sources, inputs)
        return super().real(*(value != 0 if source == mask else value for source, value in sources))

    def lower(self, context: Context, *inputs: Number) -> Number:
        builder = context.builder
        given, *numbers = self._given()
        mask = self._mask(context, given, inputs)
        constants = [None if isinstance(each, Place) else numpy_of(each) for each in numbers]
        if all(each is not None and each.size == 1 for each in constants):
            a, b = (max(float(each.ravel()[0]), MASKED) for each in constants if each is not None)
            if a == b:
                raise ValueError(f"must choose between different numbers, not {a} and {b}")
            return Number(mask, len(self.operation.shape), np.array(a - b), np.array(b))
        grid = context.holding(self.name)
        names = [
            builder.on(inputs[each], grid).name
            if isinstance(each, Place)
            else builder.entries(f"{self.name}_value", far_codes(numpy_of(each), grid))
            for each in numbers
        ]
        return Number.on(builder.add(Select, self.name, mask, *names), len(self.operation.shape), grid)
