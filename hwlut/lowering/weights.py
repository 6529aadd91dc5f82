"""Weights as codes, and the products of programs with them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.lowering.builder import Builder
from hwlut.lowering.numbers import Grid, Number
from hwlut.quant import Quantizer
from hwlut.quant.formats import integers_of
from hwlut.units import Multiplier
from hwlut.units.products import Convolve, Linear, Weighted

__all__ = ["Weights", "convolved", "exact", "geometry", "multiplied", "multiplied_with", "weights_of"]

_BIAS = 1 << 30
_NARROW = 1 << 16


class Weights:
    """codes: int [outputs, ...]. steps, zeros: one, or one an output. format: of the integers that hold the codes."""

    def __init__(self, codes: np.ndarray, steps: np.ndarray, zeros: np.ndarray, format: Fixed):
        self.codes, self.steps, self.zeros, self.format = codes, steps, zeros, format


def weights_of(quantizer: Quantizer, weight: torch.Tensor, channel: int = 0) -> Weights:
    """The weight's codes, with its output channels first, as `quantizer` has them.

    Raises ValueError for steps that are neither one nor one an output channel.
    """
    granularity = quantizer.granularity
    if granularity.kind not in ("tensor", "channel") or (
        granularity.kind == "channel" and granularity.axis % weight.dim() != channel
    ):
        raise ValueError(f"weights must have one step, or one an output channel, not {quantizer.extra_repr()}")
    if not bool(weight.isfinite().all()):
        raise ValueError("weights must be finite")
    codes, step, zero = (each.detach().cpu() for each in quantizer.quantize(weight.detach()))
    codes = codes.movedim(channel, 0).contiguous()
    steps, zeros = step.double().flatten().numpy(), zero.flatten().numpy().astype(np.int64)
    return Weights(codes.numpy(), steps, zeros if zeros.any() else zeros[:1], integers_of(quantizer.format))


def exact(a: Fixed, b: Fixed) -> Multiplier:
    """The exact multiplier of these operands, at least 2 bits wide each."""
    a, b = (Fixed(max(2, each.bits), signed=each.signed) for each in (a, b))
    return Multiplier(family="exact", a=a, b=b)


def multiplied_with(multiplier: Multiplier, a: int, codes: np.ndarray) -> np.ndarray:
    """Products of one code and codes of weights, by a multiplier."""
    return multiplier(torch.tensor(a), torch.from_numpy(codes)).numpy()


def multiplied(
    builder: Builder,
    name: str,
    x: Number,
    grid: Grid,
    weights: Weights,
    multiplier: Multiplier,
    bias: np.ndarray | None,
) -> Number:
    """A linear layer of `x`, which is on `grid`."""
    return _product(builder, Linear, name, x, x.dims - 1, grid, weights, multiplier, bias)


def convolved(
    builder: Builder,
    name: str,
    x: Number,
    grid: Grid,
    weights: Weights,
    multiplier: Multiplier,
    bias: np.ndarray | None,
    groups: int,
    places: Mapping[str, tuple[int, ...]],
) -> Number:
    """A convolution of `x`, which is on `grid`; places: its `geometry`."""
    fields = {**places, "groups": groups, "fill": grid.zero}
    return _product(builder, Convolve, name, x, 1, grid, weights, multiplier, bias, **fields)


def _product(
    builder: Builder,
    kind: type[Weighted],
    name: str,
    x: Number,
    axis: int,
    grid: Grid,
    weights: Weights,
    multiplier: Multiplier,
    bias: np.ndarray | None,
    **fields: Any,
) -> Number:
    """A product of `x` with weights, whose outputs lie along the axis."""
    codes, scale, offset, constants = _sums(grid, weights, bias)
    zeros = tuple(weights.zeros.tolist())
    found = builder.add(
        kind, name, x.name, multiplier=multiplier, weights=codes, zeros=zeros, constants=constants, **fields
    )
    return Number(found, x.dims, scale, offset, axis if scale.ndim else None)


def geometry(layer: Any) -> dict[str, tuple[int, ...]]:
    """Stride, padding and dilation of a convolution; ValueError where it does not pad both sides alike, with zeros."""
    if layer.padding_mode != "zeros":
        raise ValueError(f"padding_mode must be zeros, not {layer.padding_mode}")
    padding = layer.padding
    if isinstance(padding, str):
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size)]
        padding = tuple(each // 2 for each in total) if layer.padding == "same" else (0,) * len(total)
        if layer.padding == "same" and any(each % 2 for each in total):
            raise ValueError("padding must be the same on both sides, not that of an even kernel")
    return {"stride": tuple(layer.stride), "padding": tuple(padding), "dilation": tuple(layer.dilation)}


def _sums(
    grid: Grid, weights: Weights, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The weights, scale and offset of the sums, each one number or one an output, and the constants in them.

    Where a bias is 2^30 steps or more, as where a channel has died, its step is coarser, and the weights too. Where
    sums are so narrow that a bias is no whole number of them, what is left of it is in the offset.
    """
    codes, steps = weights.codes, grid.step * weights.steps
    if bias is not None and (reach := np.abs(bias / steps).max()) >= _BIAS:
        coarser = np.maximum(1.0, np.abs(bias / steps) / _BIAS)
        zeros = weights.zeros.reshape(-1, *(1,) * (codes.ndim - 1))
        away = (codes - zeros) / coarser.reshape(-1, *(1,) * (codes.ndim - 1))
        codes, steps = np.rint(away).astype(np.int64) + zeros, steps * coarser
        if not np.isfinite(reach):
            raise ValueError("bias must be finite in steps of its sums")
    scale = steps if steps.size > 1 else steps.reshape(())
    rows = codes.reshape(len(codes), -1).astype(np.int64) - weights.zeros[:, None]
    constants, offset = -grid.zero * rows.sum(1), np.zeros_like(scale)
    if bias is not None:
        whole = np.rint(bias / scale)
        constants = constants + whole.astype(np.int64)
        if np.abs(rows).sum(1).max() * (grid.format.max - grid.format.min) < _NARROW:
            scale = np.broadcast_to(scale, bias.shape).copy()
            offset = bias - whole * scale
    return codes, scale, offset, constants if constants.any() else None
