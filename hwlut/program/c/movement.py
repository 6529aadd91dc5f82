"""Movements of numbers, rows and look-ups of programs as C."""

import math

import numpy as np

from hwlut.fixed import Rounding
from hwlut.program.c.arrays import Array, Axis, aligned, copied, index, nest, strides_of
from hwlut.program.c.products import Constants
from hwlut.program.c.terms import Term, kind_of, literal
from hwlut.units.applied import Rescale
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Slice
from hwlut.units.reductions import Maximum, Sum

__all__ = ["concatenate", "expanded", "gather", "pad", "permute", "reduced", "rescale", "slice_"]


def expanded(y: Array, x: Array) -> list[str]:
    """Statements for x in the shape of y, to which it broadcasts."""
    return copied(y, x, y.shape, strides_of(y.shape), aligned(x.shape, y.shape))


def permute(node: Permute, y: Array, x: Array) -> list[str]:
    of = strides_of(x.shape)
    return copied(y, x, y.shape, strides_of(y.shape), [of[axis] for axis in node.order])


def slice_(node: Slice, y: Array, x: Array) -> list[str]:
    of, axis = strides_of(x.shape), node.axis % len(x.shape)
    start = node.start * of[axis]
    of[axis] *= node.step
    return copied(y, x, y.shape, strides_of(y.shape), of, 0, start)


def concatenate(node: Concatenate, y: Array, *xs: Array) -> list[str]:
    axis, to = node.axis % len(y.shape), strides_of(y.shape)
    lines, before = [], 0
    for x in xs:
        # Counted from the end, axes of all are the same.
        own = x.shape[axis - len(y.shape)] if len(x.shape) >= len(y.shape) - axis else 1
        whole = [*y.shape[:axis], own, *y.shape[axis + 1 :]]
        lines += copied(y, x, whole, to, aligned(x.shape, whole), before * to[axis])
        before += own
    return lines


def pad(node: Pad, y: Array, x: Array) -> list[str]:
    to, axes = strides_of(y.shape), len(y.shape)
    offset = sum(width * to[axes - 1 - place] for place, width in enumerate(node.widths[::2]))
    axis = Axis("i", y.size)
    filled = nest([axis], [y.put(index([(axis, 1)]), literal(node.value))])
    return filled + copied(y, x, x.shape, to, strides_of(x.shape), offset)


def gather(node: Gather, y: Array, x: Array, constants: Constants) -> list[str]:
    width = node.table.shape[1]
    table, place, column = constants("table", node.table), Axis("i", x.size), Axis("j", width)
    row = x.at(index([(place, 1)]))
    offset = f" * {width}" if width > 1 else ""
    value = table.at(f"(ptrdiff_t){row.text}{offset}" + (" + j" if width > 1 else ""))
    return nest([place, column], [y.put(index([(place, width), (column, 1)]), value)])


def reduced(node: Sum | Maximum, y: Array, x: Array) -> list[str]:
    """Statements for the sum or the maximum of each row."""
    places = x.size // y.size
    row, place = Axis("row", y.size), Axis("i", places)
    value = x.at(index([(row, places), (place, 1)]))
    if isinstance(node, Sum):
        span = node.span(x.span)
        span = min(span[0], 0), max(span[1], 0)
        lines = [f"{kind_of(span)} sum = 0;", *nest([place], [f"sum += {value.text};"])]
        return nest([row], [*lines, y.put(index([(row, 1)]), Term("sum", span))])
    inner = [f"if ({value.text} > most)", f"    most = {value.text};"]
    lines = [f"{value.kind} most = {literal(x.span[0]).text};", *nest([place], inner)]
    return nest([row], [*lines, y.put(index([(row, 1)]), Term("most", x.span))])


_ROUNDED = {
    Rounding.HALF_UP: "kept + (2 * (scaled - kept * one) >= one)",
    Rounding.HALF_EVEN: "kept + (2 * (scaled - kept * one) + (kept & 1) > one)",
    Rounding.FLOOR: "kept",
}


def rescale(node: Rescale, y: Array, x: Array, constants: Constants) -> list[str]:
    """Statements for a `Requantize` of several channels."""
    unit, axis = node.unit, node.axis % len(x.shape)
    outer, channel = Axis("i", math.prod(x.shape[:axis])), Axis("channel", unit.channels)
    inner = Axis("j", math.prod(x.shape[axis + 1 :]))
    place = index([(outer, channel.size * inner.size), (channel, inner.size), (inner, 1)])
    multiplier = constants("multipliers", np.array(unit.multipliers))
    shift = constants("shifts", np.array(unit.shifts)).at(index([(channel, 1)])).text
    format = unit.output
    lines = [
        f"const int64_t scaled = {x.at(place).to('int64_t')} * {multiplier.at(index([(channel, 1)])).text};",
        f"const int64_t kept = shift_right_64(scaled, {shift});",
        *[f"const int64_t one = (int64_t)1 << {shift};"] * (unit.rounding is not Rounding.FLOOR),
        f"const int64_t value = {_ROUNDED[unit.rounding]} + ({unit.zero_point});",
    ]
    low, high = (literal(end).text for end in (format.min, format.max))
    held = f"(value < {low} ? {low} : value > {high} ? {high} : value)"
    kind = kind_of((format.min, format.max))
    lines.append(y.put(place, Term(held if kind == "int64_t" else f"(int32_t){held}", (format.min, format.max))))
    return nest([outer, channel, inner], lines)
