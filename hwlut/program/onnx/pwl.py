"""A Pwl of many codes in ONNX, line by line on int64."""

import numpy as np

from hwlut.program.onnx.graph import Graph, Value
from hwlut.program.onnx.shift import Amount, shifted
from hwlut.units.nodes import WORD
from hwlut.units.pwl import Pwl, Symmetry

__all__ = ["on_lines"]

_SPAN = -(1 << WORD), 1 << WORD  # of accumulators, which Pwl proves


def on_lines(graph: Graph, value: Value, unit: Pwl) -> str:
    """The results of a Pwl at its one scale."""
    (scale,) = unit.scales
    point = unit.point(scale)
    at = value.name if unit.symmetry is Symmetry.NONE else graph.op("Abs", value.name)
    apart = graph.op("Unsqueeze", at, graph.constant([-1]))
    reached = graph.op("GreaterOrEqual", apart, graph.constant(unit.breakpoint_codes(scale)))
    segment = graph.op("ReduceSum", graph.cast(reached, np.int64), graph.constant([-1]), keepdims=0)
    slopes = np.array(unit.slopes, np.int64) << (point - unit.slope.frac - scale)
    intercepts = np.array(unit.intercepts, np.int64) << (point - unit.intercept.frac)
    product = graph.op("Mul", graph.looked_up(slopes, segment), at)
    acc = _mirrored(graph, graph.op("Add", product, graph.looked_up(intercepts, segment)), value, unit, point)
    if unit.output is None:
        return acc
    format = unit.output_format(scale)
    drop = point - format.frac
    if drop < 0:
        acc = graph.op("Mul", acc, graph.constant(1 << -drop))
    else:
        acc = shifted(graph, acc, _SPAN, Amount.of(graph, drop), unit.rounding)
    return graph.op("Clip", acc, graph.constant(format.min), graph.constant(format.max))


def _mirrored(graph: Graph, acc: str, value: Value, unit: Pwl, point: int) -> str:
    """The accumulator with what symmetry does where a code is negative."""
    if unit.symmetry in (Symmetry.NONE, Symmetry.EVEN):
        return acc
    (scale,) = unit.scales
    if unit.symmetry is Symmetry.IDENTITY:
        below = graph.op("Min", value.name, graph.constant(0))
        return graph.op("Add", acc, graph.op("Mul", below, graph.constant(1 << (point - scale))))
    whole = 0 if unit.symmetry is Symmetry.ODD else 1 << point
    negative = graph.op("Less", value.name, graph.constant(0))
    return graph.op("Where", negative, graph.op("Sub", graph.constant(whole), acc), acc)
