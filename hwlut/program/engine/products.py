"""Engine: matrix products and convolutions by exact multipliers, as products of floats that round nothing."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from hwlut.ops.forms import Convolution
from hwlut.program.engine import approximate
from hwlut.program.engine.exactly import FLOAT32, FLOAT64
from hwlut.program.engine.prepared import Compute, Place, by_definition, prefers_real, prepared, tensor_of, within
from hwlut.units.families import Family
from hwlut.units.products import Convolve, Linear, MatrixProduct, Weighted

__all__: list[str] = []

_BLOCKS = 8
"""Most parts of a sum in float32 that are worth more than one in float64."""

_AT_ONCE = 1 << 28
"""Numbers of patches that are laid out at a time."""

_Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Of operands (padded), weights and constants."""


@prefers_real.register(Weighted)
@prefers_real.register(MatrixProduct)
def _(node: Weighted | MatrixProduct, place: Place) -> bool:
    return node.multiplier.family is Family.EXACT


@prepared.register
def _(node: Linear, place: Place) -> Compute:
    if node.multiplier.family is not Family.EXACT:
        return approximate.linear(node, place)
    return _weighted(node, place, F.linear, lambda value: value)


@prepared.register
def _(node: Convolve, place: Place) -> Compute:
    if node.multiplier.family is not Family.EXACT:
        return approximate.convolution(node, place)
    return _weighted(node, place, _convolution(node, place.device), _padding(node, place.device))


def _padding(node: Convolve, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """What puts the padding around that the product does not."""
    pads = [width for each in reversed(node.padding) for width in (each, each)]
    if not any(pads) or (device.type == "cpu" and not node.fill):
        return lambda value: value
    return lambda value: F.pad(value, pads, value=node.fill)


def _convolution(node: Convolve, device: torch.device) -> _Product:
    """On CPUs torch's own, which adds products up; those on GPUs may transform, so there it is a matrix product."""
    axes = len(node.stride)
    if device.type == "cpu":
        convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
        padding = 0 if node.fill else node.padding
        return lambda x, w, bias: convolve(x, w, bias, node.stride, padding, node.dilation, node.groups)

    def unfolded(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        sizes, kernel, none = tuple(x.shape[2:]), tuple(w.shape[2:]), ((0, 0),) * axes
        form = Convolution(sizes, kernel, node.stride, none, node.dilation, node.groups)
        columns = form.columns(w)
        many = x.shape[1] * math.prod(kernel) * math.prod(form.out_sizes)
        parts = x.split(max(1, _AT_ONCE // many))
        sums = torch.cat([form.result(form.rows(form.padded(part, None)) @ columns) for part in parts])
        return sums if bias is None else sums + bias.view(-1, *(1 for _ in range(axes)))

    return unfolded


def _weighted(
    node: Weighted, place: Place, product: _Product, padded: Callable[[torch.Tensor], torch.Tensor]
) -> Compute:
    """By the weights less their zeros."""
    held = node.accumulator(place.spans[0])
    single = within(FLOAT32, (held.min, held.max))
    if not within(FLOAT64, (held.min, held.max)):
        return by_definition(node, place)
    parts = [] if single or held.bits > 32 else _parts(node, place)
    dtype = torch.float32 if single or parts else torch.float64
    weights = tensor_of(node.weights, place.device, dtype)
    if any(node.zeros):
        weights -= tensor_of(node.zeros, place.device, dtype).view(-1, *(1 for _ in node.weights.shape[1:]))
    constants = None if node.constants is None else tensor_of(node.constants, place.device, torch.float64)
    if parts:
        return _in_parts(parts, weights, constants, place, product, padded)
    constants = None if constants is None else constants.to(dtype)

    def run(value: torch.Tensor) -> torch.Tensor:
        return place.given(product(padded(value.to(dtype)), weights, constants))

    return run


def _parts(node: Weighted, place: Place) -> list[int]:
    """Sizes of few parts of the second axis of the weights, for each of which float32 holds all sums; none if such are
    not to be found."""
    if isinstance(node, Convolve) and node.groups > 1:
        return []
    channels = node.weights.shape[1]
    low, high = (ends.reshape(len(ends), channels, -1) for ends in node.terms(place.spans[0]))
    sums = np.minimum(low, 0).sum(-1), np.maximum(high, 0).sum(-1)
    for count in range(2, min(_BLOCKS, channels) + 1):
        parts = [np.array_split(each, count, axis=1) for each in sums]
        if all(np.abs(part.sum(1)).max() <= FLOAT32 for each in parts for part in each):
            return [part.shape[1] for part in parts[0]]
    return []


def _in_parts(
    sizes: list[int],
    weights: torch.Tensor,
    constants: torch.Tensor | None,
    place: Place,
    product: _Product,
    padded: Callable[[torch.Tensor], torch.Tensor],
) -> Compute:
    """Sums of parts in float32, added up in int32; inputs have as many channels, in axis -1 or 1, as weights."""
    axis = 1 if weights.dim() > 2 else -1
    parts = [part.contiguous() for part in weights.split(sizes, 1)]
    shape = (-1, *(1 for _ in weights.shape[2:]))
    added = None if constants is None else constants.to(torch.int32).view(shape)

    def run(value: torch.Tensor) -> torch.Tensor:
        whole = padded(value.float()).split(sizes, axis)
        sums = (product(x, w, None).to(torch.int32) for x, w in zip(whole, parts))
        total = next(sums)
        for each in sums:
            total += each
        if added is not None:
            total += added
        return place.given(total)

    return run


@prepared.register
def _(node: MatrixProduct, place: Place) -> Compute:
    if node.multiplier.family is not Family.EXACT:
        return approximate.matrix_product(node, place)
    a, b = place.spans
    ends = [node.most * (x - node.a_zero) * (y - node.b_zero) for x in a for y in b]
    if not within(FLOAT64, (min(ends), max(ends))):
        return by_definition(node, place)
    dtype = torch.float32 if within(FLOAT32, (min(ends), max(ends))) else torch.float64

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        node.check(a)
        return place.given(_less(a, node.a_zero, dtype) @ _less(b, node.b_zero, dtype))

    return run


def _less(value: torch.Tensor, zero: int, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) - zero if zero else value.to(dtype)
