"""The transposed convolutions."""

from typing import Any

import torch
from torch import nn

from hwlut.nn.approx.conv import Spatial
from hwlut.nn.geometry import batched
from hwlut.ops.forms import Form, TransposedConvolution, swapped

__all__ = ["ApproxConvTranspose1d", "ApproxConvTranspose2d", "ApproxConvTranspose3d"]


class _ApproxConvTranspose(Spatial):
    _output_padding: Any

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        return self._product(input, output_size)

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        output_size = choices[0] if choices else None
        whole, geometry = batched(self, x), (self.stride, self.padding, self.kernel_size)
        extra = self._output_padding(x, output_size, *geometry, len(self.kernel_size), self.dilation)
        sizes = tuple(whole.shape[2:])
        out = tuple(
            (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1
            for size, stride, padding, kernel, dilation, more in zip(sizes, *geometry, self.dilation, extra)
        )
        if min(out) < 1:
            raise ValueError(f"{type(self).__name__} result must have at least one place, not sizes {list(out)}")
        form = TransposedConvolution(
            sizes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups, out
        )
        return form, whole

    def _weights(self) -> torch.Tensor:
        return swapped(self.weight, self.groups)


class ApproxConvTranspose1d(_ApproxConvTranspose, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. Each input meets each place of the kernel once: the zeros that a convolution would see
    between and around the inputs are not multiplied. See `ApproxLayer`.
    """

    base = nn.ConvTranspose1d


class ApproxConvTranspose2d(_ApproxConvTranspose, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. Each input meets each place of the kernel once: the zeros that a convolution would see
    between and around the inputs are not multiplied. See `ApproxLayer`.
    """

    base = nn.ConvTranspose2d


class ApproxConvTranspose3d(_ApproxConvTranspose, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. Each input meets each place of the kernel once: the zeros that a convolution would see
    between and around the inputs are not multiplied. See `ApproxLayer`.
    """

    base = nn.ConvTranspose3d
