"""The convolutions."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.approx.forms import Convolution, Form
from hwlut.nn.approx.layer import ApproxLayer, check_activations
from hwlut.nn.approx.spec import Approximate
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxConv1d", "ApproxConv2d", "ApproxConv3d"]


class _ApproxConv(ApproxLayer):
    """A padded zero has the code of zero, and is multiplied as the others."""

    in_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int
    padding_mode: Any

    def __init__(
        self,
        *arguments: Any,
        multiplier: Multiplier,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
        **options: Any,
    ):
        spec = Approximate(multiplier, activations, weights, gradient)
        self.base.__init__(self, *arguments, **options)
        self._make(spec)

    def _make(self, spec: Approximate) -> None:
        super()._make(spec)
        check_activations(self.activation_quantizer, ("tensor",))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        check_channels(self, input)
        return self._product(input)

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        dims = len(self.kernel_size)
        x = x if x.dim() == dims + 2 else x.unsqueeze(0)
        pads = self._pads()
        if self.padding_mode != "zeros":
            x = F.pad(x, [side for pad in reversed(pads) for side in pad], self.padding_mode)
            pads = ((0, 0),) * dims
        sizes = tuple(x.shape[2:])
        return Convolution(sizes, self.kernel_size, self.stride, pads, self.dilation, self.groups), x

    def _pads(self) -> tuple[tuple[int, int], ...]:
        """Before and after, for each dimension; of an odd number, "same" puts the larger part after."""
        if isinstance(self.padding, tuple):
            return tuple((pad, pad) for pad in self.padding)
        if self.padding == "valid":
            return tuple((0, 0) for _ in self.kernel_size)
        spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
        return tuple((span // 2, span - span // 2) for span in spans)

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return unbatched(y, x)

    def _bias(self) -> torch.Tensor:
        return super()._bias().view(-1, *(1 for _ in self.kernel_size))


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


def check_channels(layer: Any, x: torch.Tensor) -> None:
    """Refuse inputs that are neither [B, C, *sizes] nor [C, *sizes]."""
    dims = len(layer.kernel_size)
    if x.dim() not in (dims + 1, dims + 2) or x.shape[-dims - 1] != layer.in_channels:
        kind, wanted = type(layer).__name__, f"[batch, {layer.in_channels}, {dims} sizes], the batch optional"
        raise ValueError(f"{kind} input must be {wanted}, not {list(x.shape)}")


def unbatched(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`y` with a batch only where `x` has one."""
    return y if y.dim() == x.dim() else y.squeeze(0)
