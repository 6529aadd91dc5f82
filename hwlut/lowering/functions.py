"""Stages of functions of one number: units, truth tables, and programs of range reduction."""

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.lowering.elementwise import Operator
from hwlut.lowering.layers import LayerStage
from hwlut.lowering.numbers import Grid, Number, grid_of
from hwlut.lowering.stage import Context, Place, Stage, for_kinds, for_modules
from hwlut.nn.activation import UnitActivation
from hwlut.program import range_reduced
from hwlut.units import Direct
from hwlut.units.operations import Apply

__all__ = ["tabled"]

_BITS = 12
"""Of the input codes of a truth table: the most that one has."""


@for_modules(UnitActivation)
class UnitStage(LayerStage):
    """A unit at the scale of its quantizer."""

    def _grid(self) -> Grid:
        return grid_of(self.module.quantizer)

    def lower(self, context: Context, x: Number) -> Number:
        scale = int(self.module.quantizer.current_scale())
        unit = self.module.unit.at_scale(scale)
        x = context.builder.on(x, self._grid())
        name = context.builder.add(Apply, self.name, x.name, unit)
        return Number(name, x.dims, np.array(2.0 ** -unit.output_format(scale).frac), np.zeros(()))


def tabled(context: Context, stage: Stage, x: Number) -> Number:
    """What the stage computes of one number, as a truth table of up to 12 bits to codes of what takes its results."""
    taken = context.holding(stage.inputs[0], _BITS)
    given = context.grid(stage.name)
    codes = np.arange(taken.format.min, taken.format.max + 1)
    with torch.no_grad():
        values = stage.real(torch.from_numpy(codes * taken.step)).double().nan_to_num().cpu().numpy()
    results = np.clip(np.rint(values / given.step) + given.zero, given.format.min, given.format.max)
    unit = Direct(
        input=Fixed(taken.format.bits, 0, taken.format.signed),
        output=Fixed(given.format.bits, 0, given.format.signed),
        values=tuple(results.astype(int).tolist()),
    )
    x = context.builder.on(x, taken)
    return Number.on(context.builder.add(Apply, stage.name, x.name, unit), x.dims, given)


@for_kinds(
    *("abs", "celu", "cos", "elu", "erf", "exp", "gelu", "hardsigmoid", "hardswish", "leaky_relu", "log", "log1p"),
    *("log_sigmoid", "mish", "pow", "selu", "sigmoid", "silu", "sin", "softplus", "softsign", "square", "tanh"),
)
class Function(Operator):
    """A function of torch as a truth table."""

    def check(self) -> None:
        if self.operation.kind == "pow" and isinstance(self.argument("exponent"), (Place, torch.Tensor)):
            raise ValueError("must have a number as its exponent")

    def lower(self, context: Context, x: Number) -> Number:
        return tabled(context, self, x)


@for_kinds("reciprocal", "rsqrt", "sqrt")
class Reduced(Operator):
    """A function whose results range over many octaves, by range reduction."""

    def lower(self, context: Context, x: Number) -> Number:
        taken, given = context.holding(self.inputs[0]), context.holding(self.name)
        unit = range_reduced(self.operation.kind, input=taken.fixed, output=given.fixed)
        x = context.builder.on(x, taken)
        return Number.on(context.builder.add(Apply, self.name, x.name, unit), x.dims, given)
