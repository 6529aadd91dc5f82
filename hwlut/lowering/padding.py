"""Stages of constants around tensors."""

import math

from hwlut.lowering.elementwise import Operator
from hwlut.lowering.movement import joined
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, for_kinds
from hwlut.units.movement import Pad, Slice

__all__: list[str] = []

_NEAR = 1e-6
"""Of a step, to which a value counts as a code."""


@for_kinds("pad", "constant_pad_nd")
class Padded(Operator):
    """One number before and after places of axes; a negative width cuts."""

    moves = True

    def _widths(self) -> tuple[int, ...]:
        return tuple(self.argument("pad"))

    def _value(self) -> float:
        value = self.argument("value")
        return 0.0 if value is None else float(value)

    def check(self) -> None:
        if (mode := self.operation.arguments.get("mode", "constant")) != "constant" and any(self._widths()):
            raise ValueError(f"must have mode constant, not {mode}")
        if not math.isfinite(self._value()):
            raise ValueError("must be by a finite number")
        for axis, pair in self._pairs():
            if self.sizes[0][axis] % self.batch == 0 and any(pair):
                raise ValueError("must not be along the batch")

    def _pairs(self) -> list[tuple[int, tuple[int, int]]]:
        """Each axis that is padded, the last one first."""
        widths, dims = self._widths(), len(self.sizes[0])
        return [(dims - 1 - place, (widths[2 * place], widths[2 * place + 1])) for place in range(len(widths) // 2)]

    def lower(self, context: Context, x: Number) -> Number:
        builder, widths = context.builder, self._widths()
        if not any(widths):
            return x
        x = joined(context, self.inputs[0], x)
        if self.inputs[0] in context.wishes:
            x = builder.on(x, context.wishes[self.inputs[0]])
        x = builder.positive(x)
        steps = (self._value() - x.offset) / x.scale
        if abs(steps - round(float(steps))) > _NEAR:
            x = builder.centred(x)
        name = x.name
        for axis, (before, after) in self._pairs():
            if min(before, after) < 0:
                stop = self.sizes[0][axis] + min(after, 0)
                name = builder.add(Slice, f"{self.name}_cut", name, axis, max(-before, 0), stop, 1)
        if any(width > 0 for width in widths):
            code = round((self._value() - float(x.offset)) / float(x.scale))
            name = builder.add(Pad, self.name, name, tuple(max(width, 0) for width in widths), code)
        return Number(name, x.dims, x.scale, x.offset)
