"""Linear layers and convolutions as matrix products of codes, and their gradients as torch's float ones."""

import dataclasses
import itertools
import math
from typing import Protocol

import torch

__all__ = ["Convolution", "Form", "Linear", "Matmul", "TransposedConvolution", "swapped"]

_Sizes = tuple[int, ...]


class Form(Protocol):
    """How operands x and w are arranged into matrices [..., M, K] and [..., K, N], and their product into a result."""

    @property
    def overlaps(self) -> int:
        """The most entries of the product that add up to one of the result."""

    def padded(self, codes: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        """The codes of x with those around them, `zero` (None: 0)."""

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        """Padded codes of x as [..., M, K]."""

    def columns(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes of w as [..., K, N]."""

    def result(self, product: torch.Tensor) -> torch.Tensor:
        """A product [..., M, N] in the shape of the result, added up where several entries belong to one place."""

    def steps(self, w_step: torch.Tensor) -> torch.Tensor:
        """Steps that broadcast against w, against the result."""

    def input_gradient(self, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Of the float form on operands of these values: from the result's gradient to that of x, without padding."""

    def weight_gradient(self, g: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        """Likewise, to that of w."""


@dataclasses.dataclass(frozen=True)
class Matmul:
    """x [..., M, K] times w [..., K, N], leading dimensions as in torch.matmul."""

    x_shape: torch.Size
    w_shape: torch.Size
    overlaps: int = 1

    def padded(self, codes: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        return codes

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        return padded

    def columns(self, codes: torch.Tensor) -> torch.Tensor:
        return codes

    def result(self, product: torch.Tensor) -> torch.Tensor:
        return product

    def steps(self, w_step: torch.Tensor) -> torch.Tensor:
        return w_step

    def input_gradient(self, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (g @ w.transpose(-1, -2)).sum_to_size(self.x_shape)

    def weight_gradient(self, g: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        return (padded.transpose(-1, -2) @ g).sum_to_size(self.w_shape)


@dataclasses.dataclass(frozen=True)
class Linear:
    """x [..., K] times w [N, K] transposed."""

    leading: _Sizes
    overlaps: int = 1

    def padded(self, codes: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        return codes

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        return padded.reshape(math.prod(self.leading), padded.shape[-1])

    def columns(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.t()

    def result(self, product: torch.Tensor) -> torch.Tensor:
        return product.view(*self.leading, product.shape[-1])

    def steps(self, w_step: torch.Tensor) -> torch.Tensor:
        return w_step.flatten() if w_step.dim() else w_step

    def input_gradient(self, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return g @ w

    def weight_gradient(self, g: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        return g.reshape(-1, g.shape[-1]).t() @ padded.reshape(-1, padded.shape[-1])


@dataclasses.dataclass(frozen=True)
class Convolution:
    """x [B, C, *sizes] with w [out, C / groups, *kernel]. Padded codes have their channels last.

    pads: before and after, for each dimension.
    """

    sizes: _Sizes
    kernel: _Sizes
    stride: _Sizes
    pads: tuple[tuple[int, int], ...]
    dilation: _Sizes
    groups: int
    overlaps: int = 1

    @property
    def padded_sizes(self) -> _Sizes:
        return tuple(size + sum(pad) for size, pad in zip(self.sizes, self.pads))

    @property
    def out_sizes(self) -> _Sizes:
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))
        return tuple((size - span) // step + 1 for size, span, step in zip(self.padded_sizes, spans, self.stride))

    def padded(self, codes: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        codes = codes.movedim(1, -1)
        if self.padded_sizes == self.sizes:
            return codes.contiguous()
        shape = (len(codes), *self.padded_sizes, codes.shape[-1])
        buffer = codes.new_zeros(shape) if zero is None else zero.to(codes.dtype).expand(shape).contiguous()
        buffer[self._inside].copy_(codes)
        return buffer

    @property
    def _inside(self) -> tuple[slice, ...]:
        inner = (slice(before, before + size) for size, (before, _) in zip(self.sizes, self.pads))
        return slice(None), *inner

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        n = len(self.sizes)
        windows = padded
        for d, (kernel, stride, dilation) in enumerate(zip(self.kernel, self.stride, self.dilation), 1):
            windows = windows.unfold(d, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
        windows = windows.unflatten(n + 1, (self.groups, -1))  # [B, *out, groups, C / groups, *kernel]
        windows = windows.permute(n + 1, *range(n + 1), *range(n + 3, 2 * n + 3), n + 2)
        return _ungrouped(windows.flatten(n + 2).flatten(1, n + 1))

    def columns(self, codes: torch.Tensor) -> torch.Tensor:
        grouped = codes.unflatten(0, (self.groups, -1)).flatten(3)  # [groups, out / groups, C / groups, kernel]
        return _ungrouped(grouped.permute(0, 3, 2, 1).flatten(1, 2))

    def result(self, product: torch.Tensor) -> torch.Tensor:
        grouped = product.unflatten(-2, (-1, *self.out_sizes))
        if self.groups > 1:
            grouped = grouped.movedim(0, -2).flatten(-2)
        return grouped.movedim(-1, 1)

    def steps(self, w_step: torch.Tensor) -> torch.Tensor:
        return w_step.view(-1, *(1 for _ in self.sizes)) if w_step.dim() else w_step

    def input_gradient(self, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        channels = w.shape[1] * self.groups
        x = g.new_empty(1).expand(len(g), channels, *self.padded_sizes)
        whole = _backward(g, x, w, self.stride, self.dilation, self.groups, of_input=True)
        return whole.movedim(1, -1)[self._inside].movedim(-1, 1)

    def weight_gradient(self, g: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        x = padded.movedim(-1, 1)
        w = g.new_empty(1).expand(g.shape[1], x.shape[1] // self.groups, *self.kernel)
        return _backward(g, x, w, self.stride, self.dilation, self.groups, of_input=False)


@dataclasses.dataclass(frozen=True)
class TransposedConvolution:
    """x [B, C, *sizes] with w [out, C / groups, *kernel], as a `Convolution` would spread its gradient.

    Each input meets each place of the kernel once, and what falls on one place of the result is added up; nothing is
    multiplied with the zeros between and around the inputs.

    padding: what is left out of the result on each side; out_sizes: its sizes.
    """

    sizes: _Sizes
    kernel: _Sizes
    stride: _Sizes
    padding: _Sizes
    dilation: _Sizes
    groups: int
    out_sizes: _Sizes

    @property
    def overlaps(self) -> int:
        return math.prod(self.kernel)

    def padded(self, codes: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        return codes

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        grouped = padded.unflatten(1, (self.groups, -1)).flatten(3)  # [B, groups, C / groups, places]
        return _ungrouped(grouped.permute(1, 0, 3, 2).flatten(1, 2))

    def columns(self, codes: torch.Tensor) -> torch.Tensor:
        grouped = codes.unflatten(0, (self.groups, -1)).flatten(3)  # [groups, out / groups, C / groups, kernel]
        return _ungrouped(grouped.permute(0, 2, 3, 1).flatten(2))

    def result(self, product: torch.Tensor) -> torch.Tensor:
        product = product.unsqueeze(0) if self.groups == 1 else product
        parts = product.unflatten(-1, (math.prod(self.kernel), -1)).unflatten(1, (-1, *self.sizes))
        parts = parts.movedim(0, -2).flatten(-2)  # [B, *sizes, kernel, out]
        whole = tuple(out + 2 * pad for out, pad in zip(self.out_sizes, self.padding))
        total = product.new_zeros(parts.shape[0], *whole, parts.shape[-1])
        for place, offsets in enumerate(itertools.product(*map(range, self.kernel))):
            reached = (
                slice(offset * dilation, offset * dilation + (size - 1) * stride + 1, stride)
                for offset, dilation, size, stride in zip(offsets, self.dilation, self.sizes, self.stride)
            )
            everywhere = (slice(None), *reached)
            total[everywhere] += parts[..., place, :]
        inside = (slice(None), *(slice(pad, pad + out) for out, pad in zip(self.out_sizes, self.padding)))
        return total[inside].movedim(-1, 1)

    def steps(self, w_step: torch.Tensor) -> torch.Tensor:
        return w_step.view(-1, *(1 for _ in self.sizes)) if w_step.dim() else w_step

    def input_gradient(self, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        channels = w.shape[1] * self.groups
        x = g.new_empty(1).expand(len(g), channels, *self.sizes)
        return self._backward(g, x, swapped(w, self.groups), of_input=True)

    def weight_gradient(self, g: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        w = g.new_empty(1).expand(padded.shape[1], g.shape[1] // self.groups, *self.kernel)
        return swapped(self._backward(g, padded, w, of_input=False), self.groups)

    def _backward(self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, of_input: bool) -> torch.Tensor:
        reach = zip(self.out_sizes, self.sizes, self.stride, self.padding, self.dilation, self.kernel)
        extra = tuple(o - ((i - 1) * s - 2 * p + d * (k - 1) + 1) for o, i, s, p, d, k in reach)
        return _backward(
            g, x, w, self.stride, self.dilation, self.groups, of_input=of_input, padding=self.padding, extra=extra
        )


def swapped(w: torch.Tensor, groups: int) -> torch.Tensor:
    """Weights of transposed convolutions from torch's [C, out / groups, ...] to [out, C / groups, ...], and back."""
    return w.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _ungrouped(matrices: torch.Tensor) -> torch.Tensor:
    """[groups, ...] without the first dimension where there is one group."""
    return matrices[0] if len(matrices) == 1 else matrices


def _backward(
    g: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    stride: _Sizes,
    dilation: _Sizes,
    groups: int,
    of_input: bool,
    padding: _Sizes | None = None,
    extra: _Sizes | None = None,
) -> torch.Tensor:
    """The gradient of torch's convolution by x or w; of its transposed one, where `extra` output padding is given."""
    none = [0] * len(stride)
    mask = [of_input, not of_input, False]
    geometry = stride, padding or none, dilation, extra is not None, extra or none, groups, mask
    gradients = torch.ops.aten.convolution_backward(g, x, w, None, *geometry)
    return gradients[0 if of_input else 1]
