"""Stages of transposed convolutions."""

import numpy as np

from hwlut.lowering.layers import LayerStage, bias_of
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, for_modules
from hwlut.lowering.weights import convolved, multiplied_with, weights_of
from hwlut.nn.approx.transposed import ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d
from hwlut.ops.forms import swapped
from hwlut.units.movement import Pad, Reshape, Slice

__all__: list[str] = []


@for_modules(ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d)
class TransposedStage(LayerStage):
    """A transposed convolution, as one of turned weights on inputs with zeros between and around them.

    The layer multiplies no such zeros, so that their products must be none by the multiplier, too.
    """

    def check(self) -> None:
        super().check()
        if len(self.operation.shape) != len(self.module.kernel_size) + 2:
            raise ValueError("must have a batch of inputs")

    def lower(self, context: Context, x: Number) -> Number:
        layer, grid, builder = self.module, self._grid(), context.builder
        weights = weights_of(layer.weight_quantizer, swapped(layer.weight, layer.groups))
        weights.codes = np.flip(weights.codes, tuple(range(2, weights.codes.ndim))).copy()
        if (multiplied_with(layer.multiplier, grid.zero, weights.codes) != grid.zero * weights.codes).any():
            raise ValueError("products of zero must be none, or a transposed convolution sees them between its inputs")
        spread = Number.on(self._spread(context, builder.on(x, grid).name, grid.zero), x.dims, grid)
        ones = (1,) * len(layer.kernel_size)
        places = {"stride": ones, "padding": (0,) * len(ones), "dilation": tuple(layer.dilation)}
        bias = bias_of(layer)
        return convolved(builder, self.name, spread, grid, weights, layer.multiplier, bias, layer.groups, places)

    def _spread(self, context: Context, name: str, zero: int) -> str:
        """The inputs with zeros after each but the last, and around, as many as the result needs."""
        layer, builder = self.module, context.builder
        batch, sizes, out = self.sizes[0][:2], self.sizes[0][2:], self.operation.shape[2:]
        stride = layer.stride
        if max(stride) > 1:
            parts = [each for size in sizes for each in (size, 1)]
            name = builder.add(Reshape, f"{self.name}_apart", name, self.free((*batch, *parts)))
            widths = [each for step in reversed(stride) for each in (0, step - 1, 0, 0)]
            name = builder.add(Pad, f"{self.name}_spread", name, tuple(widths), zero)
            spread = [size * step for size, step in zip(sizes, stride)]
            name = builder.add(Reshape, f"{self.name}_zeros", name, self.free((*batch, *spread)))
        widths = []
        for axis, (size, step, kernel, dilation, padding) in enumerate(
            zip(sizes, stride, layer.kernel_size, layer.dilation, layer.padding)
        ):
            reach = dilation * (kernel - 1)
            before = reach - padding
            after = out[axis] + reach - before - size * step
            if min(before, after) < 0:
                stop = size * step + min(after, 0)
                name = builder.add(Slice, f"{self.name}_cut", name, axis + 2, max(-before, 0), stop, 1)
            widths = [max(before, 0), max(after, 0), *widths]
        return builder.add(Pad, f"{self.name}_padded", name, tuple(widths), zero) if any(widths) else name
