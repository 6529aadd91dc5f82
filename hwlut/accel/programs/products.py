"""Products that are drawn: with weights, and of two activations."""

import dataclasses
import math
from typing import Any

from hwlut.accel.programs.sketch import Sketch
from hwlut.fixed import Fixed, signed_bits
from hwlut.units.families import Family
from hwlut.units.movement import Permute, Reshape
from hwlut.units.multiplier import Multiplier
from hwlut.units.nodes import Span
from hwlut.units.products import Convolve, Linear, MatrixProduct, Weighted
from hwlut.units.reductions import Entries
from hwlut.units.tile import Operation

__all__ = ["convolution", "linear", "matrix_product"]

_PRODUCTS = 20_000


def _multiplier(sketch: Sketch, *spans: Span) -> Multiplier:
    """One that takes numbers of a span, or of two: the tile's, or an exact one within one of the tile's."""
    found = [
        each
        for each in sketch.tile.multipliers
        if all(end.min <= low and high <= end.max for end, (low, high) in zip((each.a, each.b), spans))
    ]
    sketch.need(found)
    own: Multiplier = sketch.one(found)
    if own.family is not Family.EXACT or sketch.chance(0.6):
        return own
    a, b = (_within(sketch, format, span) for format, span in zip((own.a, own.b), (*spans, (0, 1))))
    return Multiplier(family="exact", a=a, b=b)


def _within(sketch: Sketch, format: Fixed, span: Span) -> Fixed:
    """A format within another that holds a span."""
    least = max(2, signed_bits(*span) if format.signed else span[1].bit_length())
    return Fixed(sketch.integer(least, format.bits + 1), signed=format.signed)


def _weights(sketch: Sketch, multiplier: Multiplier, span: Span, *shape: int) -> dict[str, Any]:
    """Fields of `Weighted` that takes numbers of a span."""
    low, high = multiplier.b.min, multiplier.b.max
    if sketch.chance(0.3):
        low, high = low // 4, max(1, high // 4)
    fields: dict[str, Any] = {"weights": sketch.rng.integers(low, high + 1, shape), "multiplier": multiplier}
    count, most = math.prod(shape[1:]), max(map(abs, span))
    wide = signed_bits(0, count * most * max(-low, high)) <= sketch.tile.value_bits
    if wide and sketch.has(Operation.SUBTRACT, Operation.MULTIPLY) and sketch.chance(0.4):
        fields["zeros"] = tuple(sketch.rng.integers(low, high + 1, sketch.one((1, shape[0]))).tolist())
    if sketch.chance(0.5):
        fields["constants"] = sketch.rng.integers(-1000, 1001, shape[0])
    return fields


def _held(sketch: Sketch, product: str) -> None:
    """Needs a product's sums to be an accumulator's, also before zero points are taken away."""
    node: Any = sketch.nodes[-1]
    spans = [sketch.spans[name] for name in node.operands]
    count = sketch.values[node.operands[0]].shape[-1]
    forms = [node]
    if isinstance(node, Weighted):
        forms.append(dataclasses.replace(node, zeros=(0,)))
        count = node.weights[0].size
    sketch.need(all(each.accumulator(*spans).bits <= sketch.tile.accumulator_bits for each in forms))
    sketch.need(sketch.values[product].numel() * count <= _PRODUCTS)


def linear(sketch: Sketch) -> None:
    """A matrix product with weights."""
    name = sketch.pick(lambda each: 2 * sketch.shape(each)[-1] <= sketch.tile.weights)
    multiplier = _multiplier(sketch, sketch.spans[name])
    count = sketch.shape(name)[-1]
    _held(sketch, sketch.add(Linear, name, **_weights(sketch, multiplier, sketch.spans[name], sketch.size(), count)))


def convolution(sketch: Sketch) -> None:
    """A convolution along all axes but that of channels."""
    name = sketch.pick(lambda each: 2 <= len(sketch.shape(each)) <= 4)
    multiplier = _multiplier(sketch, sketch.spans[name])
    channels, *sizes = sketch.shape(name)
    groups = sketch.one([each for each in range(1, channels + 1) if channels % each == 0])
    kernel = tuple(sketch.integer(1, min(5, size + 3)) for size in sizes)
    sketch.need(2 * channels // groups * math.prod(kernel) <= sketch.tile.weights)
    outputs = groups * sketch.integer(1, 1 + max(1, 12 // groups))
    fill = sketch.integer(multiplier.a.min, multiplier.a.max + 1) if sketch.chance(0.5) else 0
    span = min(fill, sketch.spans[name][0]), max(fill, sketch.spans[name][1])
    convolve = sketch.add(
        Convolve,
        name,
        **_weights(sketch, multiplier, span, outputs, channels // groups, *kernel),
        stride=sketch.steps(sizes),
        padding=sketch.widths(sizes),
        dilation=sketch.steps(sizes),
        groups=groups,
        fill=fill,
    )
    _held(sketch, convolve)


def matrix_product(sketch: Sketch) -> None:
    """A product of two activations: of a value and itself, of its heads, or with another or with constants."""
    a = sketch.pick(lambda each: len(sketch.shape(each)) >= 2)
    sketch.need(sketch.tile.multipliers)
    kind = sketch.one(("itself", "heads", "another", "constants"))
    if kind == "heads":
        a = _heads(sketch, a)
    count = sketch.shape(a)[-1]
    sketch.need(count <= sketch.tile.operands)
    if kind == "another":
        b = sketch.pick(
            lambda each: len(sketch.shape(each)) == len(sketch.shape(a)) and sketch.shape(each)[-2] == count
        )
    elif kind == "constants":
        format = sketch.one(sketch.tile.multipliers).b
        b = sketch.add(Entries, sketch.rng.integers(format.min, format.max + 1, (count, sketch.size())))
    else:
        b = _transposed(sketch, a)
    multiplier = _multiplier(sketch, sketch.spans[a], sketch.spans[b])
    zeros = [0, 0]
    if sketch.has(*Operation):
        zeros = [sketch.integer(end.min, end.max + 1) * sketch.chance(0.5) for end in (multiplier.a, multiplier.b)]
    most = count + sketch.integer(0, 3)
    product = sketch.add(MatrixProduct, a, b, multiplier=multiplier, a_zero=zeros[0], b_zero=zeros[1], most=most)
    # What zero points add is summed up among the values.
    node: Any = sketch.nodes[-1]
    sketch.need(node.accumulator(sketch.spans[a], sketch.spans[b]).bits < sketch.tile.value_bits)
    _held(sketch, product)


def _heads(sketch: Sketch, name: str) -> str:
    """[..., heads, rows, n / heads] of [..., rows, n]."""
    *batch, rows, count = sketch.shape(name)
    heads = sketch.one([each for each in range(1, count + 1) if count % each == 0])
    cut = sketch.add(Reshape, name, (-1, *batch, rows, heads, count // heads))
    axes = len(batch) + 4
    return sketch.add(Permute, cut, (*range(axes - 3), axes - 2, axes - 3, axes - 1))


def _transposed(sketch: Sketch, name: str) -> str:
    axes = len(sketch.shape(name)) + 1
    return sketch.add(Permute, name, (*range(axes - 2), axes - 1, axes - 2))
