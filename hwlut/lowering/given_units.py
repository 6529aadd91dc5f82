"""Stages of softmax and layer normalization by units that the model has."""

from typing import Any

import torch

from hwlut.fixed import Fixed
from hwlut.lowering.numbers import Grid, Number
from hwlut.lowering.rows import normalized, weighted
from hwlut.lowering.stage import Context, Stage, for_modules
from hwlut.nn import PwlLayerNorm, PwlSoftmax
from hwlut.nn.activation import UnitActivation
from hwlut.program.given import layer_norm_by, softmax_by
from hwlut.units import Program, Pwl
from hwlut.units.operations import Apply

__all__: list[str] = []


def _unit(activation: UnitActivation) -> Pwl:
    """The unit at the scale of its quantizer; ValueError before that is calibrated."""
    if not activation.quantizer.calibrated:
        raise ValueError("units must have their scales, by hwlut.quant.calibrate")
    unit = activation.unit.at_scale(int(activation.quantizer.current_scale()))
    assert isinstance(unit, Pwl)
    return unit


class _ByUnits(Stage):
    @staticmethod
    def traced(module: Any) -> Any:
        return torch.neg  # of the same shape


@for_modules(PwlSoftmax)
class GivenSoftmax(_ByUnits):
    """Softmax by units of exp and of the reciprocal, along the last axis."""

    def check(self) -> None:
        _unit(self.module.exp)
        if self.module.dim % len(self.sizes[0]) != len(self.sizes[0]) - 1:
            raise ValueError(f"must be along the last axis, not {self.module.dim}")

    @property
    def rows(self) -> Any:
        return _unit(self.module.exp).digest, _unit(self.module.reciprocal).digest, self.sizes[0][-1]

    def lower(self, context: Context, x: Number) -> Number:
        exp, reciprocal = _unit(self.module.exp), _unit(self.module.reciprocal)
        grid = context.holding(self.inputs[0])
        made = softmax_by(exp, reciprocal, input=grid.fixed, output=context.shares, most=self.sizes[0][-1])
        x = context.builder.on(x, grid)
        return Number.on(context.builder.add(Apply, self.name, x.name, made), x.dims, Grid.binary(context.shares))


@for_modules(PwlLayerNorm)
class GivenLayerNorm(_ByUnits):
    """Layer normalization of the last axis by a unit of 1/sqrt; weight and bias are a scale and an offset."""

    def check(self) -> None:
        _unit(self.module.rsqrt)
        if self.module.dims != (-1,):
            raise ValueError(f"must be of the last axis alone, not of {len(self.module.dims)}")

    @property
    def rows(self) -> Any:
        return _unit(self.module.rsqrt).digest, self.sizes[0][-1], self.module.eps

    def lower(self, context: Context, x: Number) -> Number:
        layer, rsqrt = self.module, _unit(self.module.rsqrt)

        def core(input: Fixed, output: Fixed, size: int, eps: float) -> Program:
            return layer_norm_by(rsqrt, input=input, output=output, size=size, eps=eps)

        found = normalized(context, self, x, core, layer.eps, self.sizes[0][-1])
        return weighted(found, layer.weight, layer.bias, x.dims - 1)
