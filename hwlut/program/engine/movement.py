"""Engine: what moves numbers, and pooling."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F

from hwlut.program.engine.prepared import (
    Compute,
    Place,
    as_integers,
    fits_float32,
    prefers_real,
    prepared,
    tensor_of,
    within,
)
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.patches import MaximumPool, Patched, Patches, SumPool

__all__: list[str] = []


@prefers_real.register(Reshape)
@prefers_real.register(Permute)
@prefers_real.register(Slice)
@prefers_real.register(Concatenate)
@prefers_real.register(Pad)
@prefers_real.register(Patches)
@prefers_real.register(MaximumPool)
def _(node: Reshape, place: Place) -> bool | None:
    return place.real


@prefers_real.register
def _(node: SumPool, place: Place) -> bool | None:
    return place.real is not False and fits_float32(place.span)


@prepared.register(Reshape)
@prepared.register(Permute)
@prepared.register(Slice)
def _(node: Reshape, place: Place) -> Compute:
    return lambda value: place.given(node(value))


@prepared.register(Concatenate)
@prepared.register(Pad)
@prepared.register(Patches)
def _(node: Concatenate, place: Place) -> Compute:
    return lambda *values: node(*(value.to(place.dtype) for value in values))


@prepared.register
def _(node: Gather, place: Place) -> Compute:
    table = tensor_of(node.table, place.device, place.dtype)
    return lambda index: F.embedding(as_integers(index).to(torch.int32), table)


@prepared.register
def _(node: MaximumPool, place: Place) -> Compute:
    """Padded by what no patch has less than."""
    return lambda value: place.given(_pooled(value, node, node.dilation, place.spans[0][0], torch.maximum))


@prepared.register
def _(node: SumPool, place: Place) -> Compute:
    """In float32 where it holds all sums, of some places too."""
    low, high = min(0, place.span[0]), max(0, place.span[1])
    real = place.real is not False and fits_float32((low, high))
    dtype = torch.float32 if real else torch.int32 if within((1 << 31) - 1, (low, high)) else torch.int64
    ones = (1,) * len(node.kernel)
    return lambda value: place.given(_pooled(value.to(dtype), node, ones, node.fill, torch.add))


def _pooled(
    x: torch.Tensor,
    node: Patched,
    dilation: tuple[int, ...],
    fill: int,
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Patches combined one axis after the other, which takes the sum of the kernel's sizes, not their product."""
    pads = [width for each in reversed(node.padding) for width in (each, each)]
    x = torch.constant_pad_nd(x, pads, fill) if any(pads) else x
    for axis, (k, s, d) in enumerate(zip(node.kernel, node.stride, dilation), 2):
        ends, before = x.shape[axis] - d * (k - 1), (slice(None),) * axis
        x = functools.reduce(combine, [x[before + (slice(at * d, ends + at * d, s),)] for at in range(k)])
    return x
