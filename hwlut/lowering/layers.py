"""Stages of layers that multiply: quantized, approximate and looked up ones, and products of two activations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from hwlut.lowering.numbers import Grid, Number, grid_of
from hwlut.lowering.stage import Context, Stage, for_modules
from hwlut.lowering.weights import convolved, exact, geometry, multiplied, weights_of
from hwlut.nn import ApproxMatmul, LutLayer
from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.quantized import QuantizedProduct
from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.layers import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedLinear,
    QuantizedTransposedLinear,
)
from hwlut.quant import Quantizer
from hwlut.quant.formats import integers_of
from hwlut.units.applied import LookUp
from hwlut.units.movement import Permute
from hwlut.units.patches import Patches
from hwlut.units.products import MatrixProduct

__all__ = ["LayerStage", "bias_of", "chosen"]


def chosen(choice: FormatChoice | None, label: str) -> Quantizer:
    """The quantizer of the format that is selected; ValueError where there is none."""
    quantizer = None if choice is None or choice.shares is not None else choice.quantizer(choice.selected)
    if quantizer is None:
        raise ValueError(f"{label} must be quantized to one format")
    return quantizer


class LayerStage(Stage):
    """A layer, called on the one activation that it takes in."""

    def _grid(self) -> Grid:
        return grid_of(self.module.activation_quantizer)

    def wanted(self, place: int) -> Grid | None:
        return self._grid()

    def check(self) -> None:
        self._grid()


def bias_of(layer: torch.nn.Module) -> np.ndarray | None:
    """The bias as float64, if there is one."""
    bias = getattr(layer, "bias", None)
    return None if bias is None else bias.detach().double().cpu().numpy()


@for_modules(QuantizedLinear, QuantizedTransposedLinear, QuantizedConv1d, QuantizedConv2d, QuantizedConv3d)
class QuantizedStage(LayerStage):
    """A layer of quantized operands: exact products."""

    def _grid(self) -> Grid:
        return grid_of(chosen(self.module.input_choice, "activations"))

    def lower(self, context: Context, x: Number) -> Number:
        layer, grid = self.module, self._grid()
        weights = weights_of(chosen(layer.weight_choice, "weights"), layer.weight, layer.channel)
        x, multiplier = context.builder.on(x, grid), exact(grid.format, weights.format)
        if isinstance(layer, (QuantizedLinear, QuantizedTransposedLinear)):
            return multiplied(context.builder, self.name, x, grid, weights, multiplier, bias_of(layer))
        return convolved(
            context.builder, self.name, x, grid, weights, multiplier, bias_of(layer), layer.groups, geometry(layer)
        )


@for_modules(ApproxLayer)
class ApproxStage(LayerStage):
    """A layer by an approximate multiplier."""

    def lower(self, context: Context, x: Number) -> Number:
        layer, grid = self.module, self._grid()
        weights = weights_of(layer.weight_quantizer, layer.weight)
        x, multiplier = context.builder.on(x, grid), layer.multiplier
        if isinstance(layer, torch.nn.Linear):
            return multiplied(context.builder, self.name, x, grid, weights, multiplier, bias_of(layer))
        return convolved(
            context.builder, self.name, x, grid, weights, multiplier, bias_of(layer), layer.groups, geometry(layer)
        )


@for_modules(LutLayer)
class LookUpStage(LayerStage):
    """A layer of look-ups."""

    @staticmethod
    def traced(module: Any) -> Callable[..., torch.Tensor]:
        if not hasattr(module, "kernel_size"):
            return lambda x: F.linear(x, x.new_zeros(module.outputs, module.features))
        convolve: Any = F.conv1d if len(module.kernel_size) == 1 else F.conv2d

        def forward(x: torch.Tensor) -> torch.Tensor:
            weight = x.new_zeros(module.outputs, module.in_channels, *module.kernel_size)
            return convolve(x, weight, None, module.stride, module.padding, module.dilation)

        return forward

    def lower(self, context: Context, x: Number) -> Number:
        layer, grid, builder = self.module, self._grid(), context.builder
        x, dims = builder.on(x, grid), x.dims
        rows = x.name
        if convolution := hasattr(layer, "kernel_size"):
            rows = builder.add(
                Patches, f"{self.name}_rows", rows, kernel=tuple(layer.kernel_size), **geometry(layer), fill=grid.zero
            )
        found = builder.add(LookUp, self.name, rows, layer.unit())
        if convolution:
            found = builder.add(Permute, f"{self.name}_channels", found, (0, dims - 1, *range(1, dims - 1)))
        scale = layer.sum_step().detach().double().cpu().numpy()
        axis = None if scale.ndim == 0 else 1 if convolution else dims - 1
        return Number(found, dims, scale, np.zeros_like(scale), axis)


class _Product(Stage):
    """The product of two activations."""

    operands = 2

    def _quantizers(self) -> tuple[Quantizer, Quantizer]:
        raise NotImplementedError

    def check(self) -> None:
        self._quantizers()

    def wanted(self, place: int) -> Grid | None:
        return grid_of(self._quantizers()[place])

    def lower(self, context: Context, a: Number, b: Number) -> Number:
        grids = [grid_of(quantizer) for quantizer in self._quantizers()]
        multiplier = getattr(self.module, "multiplier", None)
        if multiplier is None:
            multiplier = exact(*(integers_of(grid.format) for grid in grids))
        a, b = (context.builder.on(number, grid) for number, grid in zip((a, b), grids))
        found = context.builder.add(
            MatrixProduct,
            self.name,
            a.name,
            b.name,
            multiplier=multiplier,
            a_zero=grids[0].zero,
            b_zero=grids[1].zero,
            most=self.sizes[0][-1],
        )
        scale = np.array(grids[0].step * grids[1].step)
        return Number(found, max(a.dims, b.dims), scale, np.zeros_like(scale))


@for_modules(QuantizedProduct)
class QuantizedProductStage(_Product):
    """Of quantized operands."""

    def _quantizers(self) -> tuple[Quantizer, Quantizer]:
        module = self.module
        return chosen(module.input_choice, "first operand"), chosen(module.weight_choice, "second operand")


@for_modules(ApproxMatmul)
class ApproxMatmulStage(_Product):
    """By an approximate multiplier."""

    def _quantizers(self) -> tuple[Quantizer, Quantizer]:
        return self.module.activation_quantizer, self.module.weight_quantizer
