"""Look-ups in ONNX: distances or comparisons, ArgMin, Gather, a sum."""

import numpy as np

from hwlut.program.onnx.graph import Graph, Shape, Value
from hwlut.program.onnx.shift import requantized
from hwlut.units.lut_matmul import Encoder, LutMatmul
from hwlut.units.lut_standard import first_entries, leaves, prototypes, squares

__all__ = ["looked_up"]


def looked_up(graph: Graph, value: Value, unit: LutMatmul) -> tuple[str, Shape]:
    """The name and the shape of the results of rows, along the last axis."""
    counted = graph.op("Sub", value.name, graph.constant(unit.zero_point)) if unit.zero_point else value.name
    rows = graph.reshaped(graph.cast(counted, np.float32), -1, unit.features)
    if unit.padding:
        zero = graph.constant(0, np.float32)
        rows = graph.op("Pad", rows, graph.constant([0, unit.padding]), zero, graph.constant([-1]))
    indices = _leaves(graph, rows, unit) if unit.encoder is Encoder.TREE else _nearest(graph, rows, unit)
    places = graph.op("Add", indices, graph.constant(first_entries(unit)))
    entries = graph.op("Gather", graph.narrow(unit.table.reshape(-1, unit.outputs)), places)
    sums = graph.op("ReduceSum", graph.cast(entries, np.int32), graph.constant([1]), keepdims=0)
    if unit.bias is not None:
        sums = graph.op("Add", sums, graph.constant(unit.bias, np.int32))
    shape = (*value.shape[:-1], unit.outputs)
    result = graph.reshaped(graph.cast(sums, np.int64), graph.sizes(value.name, 0, -1), unit.outputs)
    if unit.requantize is None:
        return result, shape
    held = unit.accumulator
    return requantized(graph, Value(result, (held.min, held.max), shape), unit.requantize), shape


def _nearest(graph: Graph, rows: str, unit: LutMatmul) -> str:
    """Indices [N, C] of the nearest prototypes; ArgMin takes the first of equal distances."""
    parts = graph.reshaped(rows, -1, unit.codebooks, unit.v)
    if unit.encoder is Encoder.L2:
        products, squared = squares(unit)
        turned = graph.cast(graph.op("Transpose", parts, perm=[1, 0, 2]), products.dtype)
        products_of = graph.op("MatMul", turned, graph.constant(products, products.dtype))
        distances = graph.op("Add", products_of, graph.constant(squared, squared.dtype))
        return graph.op("Transpose", graph.op("ArgMin", distances, axis=-1, keepdims=0), perm=[1, 0])
    apart = graph.op("Unsqueeze", parts, graph.constant([2]))
    away = graph.op("Abs", graph.op("Sub", apart, graph.constant(prototypes(unit), np.float32)))
    reduced = "ReduceSum" if unit.encoder is Encoder.L1 else "ReduceMax"
    return graph.op("ArgMin", graph.op(reduced, away, graph.constant([-1]), keepdims=0), axis=-1, keepdims=0)


def _leaves(graph: Graph, rows: str, unit: LutMatmul) -> str:
    """Indices [N, C] of the leaves that padded rows go to."""
    thresholds, inputs, first = leaves(unit)
    held, one = graph.constant(thresholds, np.float32), graph.constant(1)
    node = graph.constant(np.zeros_like(first))
    for level in inputs:
        compared = graph.op("Gather", rows, graph.constant(level), axis=1)
        threshold = graph.op("Gather", held, graph.op("Add", node, graph.constant(first)))
        reached = graph.cast(graph.op("GreaterOrEqual", compared, threshold), np.int64)
        below = graph.op("Add", graph.op("Add", node, node), one)
        node = graph.op("Add", below, reached)
    return graph.op("Sub", node, graph.constant(unit.k - 1))
