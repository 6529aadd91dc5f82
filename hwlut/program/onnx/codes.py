"""Operations on codes and along rows, and units, of a program in ONNX."""

import dataclasses
import functools

import numpy as np

from hwlut.fixed import Rounding
from hwlut.program.onnx.graph import Graph, Shape, Value, broadcast
from hwlut.program.onnx.look_up import looked_up
from hwlut.program.onnx.nodes import MOST_CODES, emit, inlined, refused, tabulated
from hwlut.program.onnx.pwl import on_lines
from hwlut.program.onnx.shift import Amount, requantized, shifted, shifted_left
from hwlut.unit import Unit
from hwlut.units.lut_matmul import LutMatmul
from hwlut.units.nodes import Extent
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.program import Program
from hwlut.units.pwl import Pwl
from hwlut.units.reductions import Entries, Maximum, Sum
from hwlut.units.requantize import Requantize

__all__ = ["applied"]


@emit.register
def _(node: Constant, graph: Graph) -> tuple[str, Shape]:
    return graph.constant(node.value), ()


@emit.register
def _(node: Entries, graph: Graph) -> tuple[str, Shape]:
    return graph.integers(node.values), node.values.shape


@emit.register(Add)
@emit.register(Subtract)
@emit.register(Multiply)
@emit.register(Less)
@emit.register(Equal)
def _(node: Add | Subtract | Multiply | Less | Equal, graph: Graph, a: Value, b: Value) -> tuple[str, Shape]:
    kinds = {Add: "Add", Subtract: "Sub", Multiply: "Mul", Less: "Less", Equal: "Equal"}
    result = graph.op(kinds[type(node)], a.name, b.name)
    return graph.cast(result, np.int64) if isinstance(node, Less | Equal) else result, broadcast(a.shape, b.shape)


@emit.register
def _(node: ShiftLeft, graph: Graph, value: Value, by: Value) -> tuple[str, Shape]:
    return shifted_left(graph, value.name, Amount.by(graph, by)), broadcast(value.shape, by.shape)


@emit.register
def _(node: ShiftRight, graph: Graph, value: Value, by: Value) -> tuple[str, Shape]:
    result = shifted(graph, value.name, value.span, Amount.by(graph, by), node.rounding)
    return result, broadcast(value.shape, by.shape)


@emit.register
def _(node: LeadingOne, graph: Graph, value: Value) -> tuple[str, Shape]:
    name, bits, raised = value.name, value.span[1].bit_length(), []
    for step in (32, 16):
        if bits > step:
            reached = graph.op("GreaterOrEqual", name, graph.constant(1 << step))
            name = graph.op("Where", reached, graph.op("Div", name, graph.constant(1 << step)), name)
            raised.append(graph.op("Where", reached, graph.constant(step), graph.constant(0)))
            bits = max(step, bits - step)
    positions = np.array([max(k.bit_length() - 1, 0) for k in range(1 << bits)])
    return functools.reduce(lambda a, b: graph.op("Add", a, b), raised, graph.looked_up(positions, name)), value.shape


@emit.register
def _(node: Select, graph: Graph, condition: Value, a: Value, b: Value) -> tuple[str, Shape]:
    result = graph.op("Where", graph.cast(condition.name, np.bool_), a.name, b.name)
    return result, broadcast(condition.shape, a.shape, b.shape)


@emit.register
def _(node: Clamp, graph: Graph, value: Value) -> tuple[str, Shape]:
    return graph.op("Clip", value.name, graph.constant(node.low), graph.constant(node.high)), value.shape


@emit.register
def _(node: Bits, graph: Graph, value: Value) -> tuple[str, Shape]:
    kept = shifted(graph, value.name, value.span, Amount.of(graph, node.low), Rounding.FLOOR)
    return graph.op("BitwiseAnd", kept, graph.constant((1 << node.count) - 1)), value.shape


@emit.register(Sum)
@emit.register(Maximum)
def _(node: Sum | Maximum, graph: Graph, value: Value) -> tuple[str, Shape]:
    if not value.shape:
        raise refused(graph, "take rows, not a constant")
    kind = "ReduceSum" if isinstance(node, Sum) else "ReduceMax"
    return graph.op(kind, value.name, graph.constant([-1])), (*value.shape[:-1], 1)


@emit.register
def _(node: Apply, graph: Graph, value: Value) -> tuple[str, Shape]:
    return applied(node.unit, graph, value)


@functools.singledispatch
def applied(unit: Unit, graph: Graph, value: Value) -> tuple[str, Shape]:
    """The name and the shape of the result of a unit of one input."""
    result = tabulated(graph, unit, value)
    if result is None:
        low, high = value.span
        raise refused(graph, f"give its {type(unit).__name__} at most {MOST_CODES} codes, not {high - low + 1}")
    return result, value.shape


@applied.register
def _(unit: Requantize, graph: Graph, value: Value) -> tuple[str, Shape]:
    return tabulated(graph, unit, value) or requantized(graph, value, unit), value.shape


@applied.register
def _(unit: Pwl, graph: Graph, value: Value) -> tuple[str, Shape]:
    return tabulated(graph, unit, value) or on_lines(graph, value, unit), value.shape


@applied.register
def _(unit: Program, graph: Graph, value: Value) -> tuple[str, Shape]:
    if unit.extent is Extent.CODES:
        (port,) = unit.inputs
        anywhere = unit.replace(inputs=(dataclasses.replace(port, shape=None),))
        if (name := tabulated(graph, anywhere, value)) is not None:
            return name, value.shape
    (result,) = inlined(graph, unit, [value])
    return result.name, result.shape


@applied.register
def _(unit: LutMatmul, graph: Graph, value: Value) -> tuple[str, Shape]:
    return looked_up(graph, value, unit)
