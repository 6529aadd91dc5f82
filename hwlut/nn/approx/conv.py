"""The convolutions."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.geometry import batched, pads
from hwlut.ops.forms import Convolution, Form

__all__ = ["ApproxConv1d", "ApproxConv2d", "ApproxConv3d", "Spatial"]


class Spatial(ApproxLayer):
    """What convolutions, and transposed ones, have in common."""

    in_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y if y.dim() == x.dim() else y.squeeze(0)

    def _bias(self) -> torch.Tensor:
        return super()._bias().view(-1, *(1 for _ in self.kernel_size))


class _ApproxConv(Spatial):
    padding_mode: Any

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._product(input)

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        x, around = batched(self, x), pads(self)
        if self.padding_mode != "zeros":
            x = F.pad(x, [side for pad in reversed(around) for side in pad], self.padding_mode)
            around = tuple((0, 0) for _ in around)
        sizes = tuple(x.shape[2:])
        form = Convolution(sizes, self.kernel_size, self.stride, around, self.dilation, self.groups)
        if min(form.out_sizes) < 1:
            raise ValueError(f"{type(self).__name__} input must be as large as the kernel, not of sizes {list(sizes)}")
        return form, x


class ApproxConv1d(_ApproxConv, nn.Conv1d):
    """``nn.Conv1d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. A padded zero has the code of zero, and is multiplied like all others. See `ApproxLayer`.
    """

    base = nn.Conv1d


class ApproxConv2d(_ApproxConv, nn.Conv2d):
    """``nn.Conv2d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. A padded zero has the code of zero, and is multiplied like all others. See `ApproxLayer`.
    """

    base = nn.Conv2d


class ApproxConv3d(_ApproxConv, nn.Conv3d):
    """``nn.Conv3d`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step. A padded zero has the code of zero, and is multiplied like all others. See `ApproxLayer`.
    """

    base = nn.Conv3d
