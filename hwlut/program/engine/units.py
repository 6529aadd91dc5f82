"""Engine: units on values, by tables and kernels."""

import functools
from typing import Any

import torch

from hwlut.fixed import Fixed
from hwlut.ops import lookup, lut_matmul, lut_tables, requantize, table
from hwlut.program.engine.prepared import Compute, Place, as_integers, by_definition, prefers_real, prepared, tensor_of
from hwlut.unit import Unit
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.nodes import Span
from hwlut.units.operations import Apply
from hwlut.units.requantize import Requantize

__all__ = ["TABLE_BITS", "applied", "by_table", "fits_kernel", "rescaled"]

TABLE_BITS = 16
"""Most input bits of a unit that is worth a table of its results."""

_SUMS = torch.int32, torch.int64, torch.float32, torch.float64


@prefers_real.register
def _(node: Rescale, place: Place) -> bool | None:
    return None


@prefers_real.register
def _(node: Apply, place: Place) -> bool | None:
    return None if isinstance(node.unit, Requantize) else False


@prepared.register
def _(node: Rescale, place: Place) -> Compute:
    return rescaled(node, place)


@prepared.register
def _(node: Apply, place: Place) -> Compute:
    return applied(node.unit, node, place)


@prepared.register
def _(node: LookUp, place: Place) -> Compute:
    tables = lut_tables(node.unit, place.device)
    return lambda value: place.given(lut_matmul(value.to(torch.int8), tables))


@functools.singledispatch
def applied(unit: Unit, node: Apply, place: Place) -> Compute:
    """What computes the node that applies the unit: by default a table where its input has few bits."""
    of: Any = unit
    return by_table(node, place) if of.input.bits <= TABLE_BITS else by_definition(node, place)


@applied.register
def _(unit: Requantize, node: Apply, place: Place) -> Compute:
    return rescaled(node, place)


def by_table(node: Apply, place: Place) -> Compute:
    """By the unit's results for all inputs; as float32 the same bytes are looked up."""
    unit: Any = node.unit
    input: Fixed = unit.input
    held = table(unit, None, place.device)
    if not place.real:
        return lambda value: lookup(as_integers(value), held, input.min)
    bits = held.float().view(torch.int32)
    return lambda value: lookup(as_integers(value), bits, input.min).view(torch.float32)


def fits_kernel(sums: Span) -> bool:
    """Whether the kernel of Requantize takes numbers of this span."""
    return sums[0] >= -(1 << 31) and sums[1] < 1 << 31


def rescaled(node: Rescale | Apply, place: Place, ends: Span | None = None) -> Compute:
    """By the kernel, with results held within `ends` where they are given: `place` has the span of that."""
    unit = node.unit
    assert isinstance(unit, Requantize)
    if not fits_kernel(place.spans[0]):
        return by_definition(node, place)
    low, high = (unit.output.min, unit.output.max) if ends is None else ends
    multipliers, shifts = (tensor_of(each, place.device, torch.int32) for each in (unit.multipliers, unit.shifts))
    axis = node.axis if isinstance(node, Rescale) else -1

    def run(value: torch.Tensor) -> torch.Tensor:
        sums = value if value.dtype in _SUMS else value.to(torch.int32)
        arguments = multipliers, shifts, unit.zero_point, low, high, unit.rounding.value, axis, place.dtype
        return requantize(sums, *arguments)

    return run
