"""Engine: arithmetic place by place and along rows, in the narrowest type that holds all between."""

import dataclasses

import torch

from hwlut.fixed import Rounding
from hwlut.program.engine.prepared import Compute, Place, fits_float32, prefers_real, prepared, within
from hwlut.units.nodes import WORD, Node, Span
from hwlut.units.operations import (
    Add,
    Bits,
    Clamp,
    Equal,
    LeadingOne,
    Less,
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.reductions import Maximum, Sum

__all__: list[str] = []

_INT32 = (1 << 31) - 1


@prefers_real.register(Add)
@prefers_real.register(Subtract)
@prefers_real.register(Multiply)
@prefers_real.register(Clamp)
@prefers_real.register(Maximum)
@prefers_real.register(Sum)
def _(node: Node, place: Place) -> bool:
    return place.real is not False and fits_float32(*place.spans, place.span)


def _type(place: Place, *between: Span, real: bool = True) -> torch.dtype:
    """In which operands, result and what lies `between` are held: with `real`, float32 where the result may be."""
    held = *place.spans, place.span, *between
    if real and place.real is not False and fits_float32(*held):
        return torch.float32
    return torch.int32 if within(_INT32, *held) else torch.int64


def _as(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`value` in `dtype`, into which numbers without dimensions go by themselves."""
    return value if value.dtype is torch.int64 and not value.dim() else value.to(dtype)


def _computed(node: Node, place: Place, dtype: torch.dtype) -> Compute:
    """By the definition, which adds, compares and shifts in any dtype."""
    return lambda *values: place.given(node(*(_as(value, dtype) for value in values)))


@prepared.register(Add)
@prepared.register(Subtract)
@prepared.register(Multiply)
def _(node: Node, place: Place) -> Compute:
    return _computed(node, place, _type(place))


@prepared.register
def _(node: ShiftLeft, place: Place) -> Compute:
    return _computed(node, place, _type(place, real=False) if place.spans[1][1] < 31 else torch.int64)


@prepared.register
def _(node: ShiftRight, place: Place) -> Compute:
    value, (least, most) = place.spans
    if node.rounding is not Rounding.HALF_EVEN and least == most:
        return _shifted_right(node, place, least)
    size = max(map(abs, value))
    # Doubled, and with a rounding by half even the difference from the next multiple of 2^by too.
    between = 0 if node.rounding is Rounding.FLOOR else 4 * (size + (1 << most))
    return _computed(node, place, _type(place, (0, between), real=False) if most < 31 else torch.int64)


def _shifted_right(node: ShiftRight, place: Place, by: int) -> Compute:
    """By one amount: half of its step is added before."""
    half = 0 if node.rounding is Rounding.FLOOR else 1 << by >> 1
    low, high = place.spans[0]
    dtype = _type(place, (low + half, high + half), real=False) if by < 31 else torch.int64

    def run(value: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
        held = _as(value, dtype)
        shifted = (held + half).bitwise_right_shift_(by) if half else held >> by
        return place.given(shifted.expand(torch.broadcast_shapes(shifted.shape, amounts.shape)))

    return run


@prepared.register
def _(node: Bits, place: Place) -> Compute:
    narrow = node.count < 32 and node.low < 32
    return _computed(node, place, _type(place, real=False) if narrow else torch.int64)


@prepared.register
def _(node: Clamp, place: Place) -> Compute:
    if place.spans == (place.span,):
        return lambda value: place.given(value)
    # Its own span ends where the operand's does or before, so it fits where low and high may not.
    dtype = _type(place)
    return lambda value: place.given(_as(value, dtype).clamp(*place.span))


@prepared.register
def _(node: Less, place: Place) -> Compute:
    dtype = _type(place, real=False)
    return lambda a, b: torch.lt(_as(a, dtype), _as(b, dtype)).to(place.dtype)


@prepared.register
def _(node: Equal, place: Place) -> Compute:
    dtype = _type(place, real=False)
    return lambda a, b: torch.eq(_as(a, dtype), _as(b, dtype)).to(place.dtype)


@prepared.register
def _(node: Select, place: Place) -> Compute:
    dtype = _type(dataclasses.replace(place, spans=place.spans[1:]))
    return lambda condition, a, b: place.given(torch.where(condition != 0, _as(a, dtype), _as(b, dtype)))


@prepared.register
def _(node: LeadingOne, place: Place) -> Compute:
    dtype = _type(place, real=False)
    most = 31 if dtype is torch.int32 else WORD + 1
    powers = torch.tensor([1 << k for k in range(1, most)], dtype=dtype, device=place.device)
    return lambda value: torch.bucketize(value.to(dtype).contiguous(), powers, right=True).to(place.dtype)


@prepared.register
def _(node: Maximum, place: Place) -> Compute:
    return lambda value: place.given(node(value))


@prepared.register
def _(node: Sum, place: Place) -> Compute:
    dtype = _type(place, (min(0, place.span[0]), max(0, place.span[1])))

    def run(value: torch.Tensor) -> torch.Tensor:
        node.check(value)
        return place.given(_as(value, dtype).sum(-1, keepdim=True, dtype=dtype))

    return run
