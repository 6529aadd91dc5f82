"""The convolutions, each place of the result a row of inputs."""

from typing import Any, TypeVar

import torch
from torch.nn import functional as F

from hwlut.nn.geometry import batched, pads
from hwlut.nn.lut.layer import LutLayer
from hwlut.nn.lut.spec import Lookup

__all__ = ["LutConv1d", "LutConv2d"]

_Conv = TypeVar("_Conv", bound="_LutConv")
_POINTWISE = 4


class _LutConv(LutLayer):
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    padding_mode: Any

    def __init__(self, *arguments: Any, lookup: Lookup, device: Any = None, **options: Any):
        like: Any = self.base(*arguments, **options, device="meta")
        if like.groups != 1:
            raise ValueError(f"{type(self).__name__} groups must be 1, not {like.groups}")
        places = like.weight[0, 0].numel()
        v = lookup.v or (places if places > 1 else _POINTWISE)
        super().__init__(lookup, like.in_channels * places, like.out_channels, v, like.bias is not None, device)
        self.in_channels, self.out_channels, self.kernel_size = like.in_channels, like.out_channels, like.kernel_size
        self.stride, self.padding, self.dilation = like.stride, like.padding, like.dilation
        self.padding_mode = like.padding_mode

    @classmethod
    def like(cls: type[_Conv], dense: Any, lookup: Lookup) -> _Conv:
        """One of the sizes of `dense`."""
        geometry = {name: getattr(dense, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")}
        return cls(
            dense.in_channels,
            dense.out_channels,
            dense.kernel_size,
            bias=dense.bias is not None,
            lookup=lookup,
            device=dense.weight.device,
            **geometry,
        )

    def _padded(self, x: torch.Tensor, zero: float) -> torch.Tensor:
        around = [side for pad in reversed(pads(self)) for side in pad]
        if self.padding_mode == "zeros":
            return F.pad(batched(self, x), around, value=zero)
        return F.pad(batched(self, x).float(), around, self.padding_mode).to(x.dtype)

    def _rows(self, padded: torch.Tensor) -> torch.Tensor:
        n, windows = len(self.kernel_size), padded
        for d, (kernel, stride, dilation) in enumerate(zip(self.kernel_size, self.stride, self.dilation), 2):
            span = dilation * (kernel - 1) + 1
            if windows.shape[d] < span:
                sizes = list(padded.shape[2:])
                raise ValueError(f"{type(self).__name__} input must be as large as the kernel, not of sizes {sizes}")
            windows = windows.unfold(d, span, stride)[..., ::dilation]
        # [B, C, *out, *kernel]: the kernel's places of a channel lie together.
        return windows.movedim(1, n + 1).flatten(n + 1).flatten(0, n)

    def _joined(self, g: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        places = g.flatten(0, 1)[: self.features].unflatten(1, (shape[0], -1)).movedim(1, 0)
        flat = (1,) if len(shape) == 3 else ()  # folding is for images alone
        geometry = ((*flat, *each) for each in (shape[2:], self.kernel_size, self.dilation, self.stride))
        size, kernel, dilation, stride = geometry
        return F.fold(places, size, kernel, dilation, 0, stride).view(shape)

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        dims = len(self.kernel_size)
        reach = zip(x.shape[-dims:], pads(self), self.dilation, self.kernel_size, self.stride)
        sizes = [(size + sum(pad) - d * (k - 1) - 1) // step + 1 for size, pad, d, k, step in reach]
        y = y.view(-1, *sizes, self.outputs).movedim(-1, 1)
        return y if x.dim() == dims + 2 else y.squeeze(0)


class LutConv1d(_LutConv):
    """``nn.Conv1d`` by look-ups: its arguments, with one group, and `lookup`.

    A row holds the inputs of one place of the result, channel by channel; a padded zero has the code of zero.
    """

    base = torch.nn.Conv1d


class LutConv2d(_LutConv):
    """``nn.Conv2d`` by look-ups: its arguments, with one group, and `lookup`.

    A row holds the inputs of one place of the result, channel by channel; a padded zero has the code of zero.
    """

    base = torch.nn.Conv2d
