"""Nodes of programs as ONNX operators: what each kind becomes stands with its group, under `emit`."""

import functools
from collections.abc import Sequence

import numpy as np

from hwlut.program.onnx.graph import Graph, Shape, Value, broadcast
from hwlut.units.nodes import Extent, Node
from hwlut.units.program import Program

__all__ = ["MOST_CODES", "emit", "inlined", "refused", "tabulated"]

MOST_CODES = 1 << 16
"""Most entries of a table in place of a unit."""


def refused(graph: Graph, must: str) -> ValueError:
    """The error of a node that the file cannot have."""
    return ValueError(f"export_onnx node {graph.path!r} must {must}")


@functools.singledispatch
def emit(node: Node, graph: Graph, *operands: Value) -> tuple[str, Shape]:
    """Add a node to the graph: the name and the shape of its result."""
    raise refused(graph, f"be of a kind that standard operators compute, not {type(node).__name__}")


def inlined(graph: Graph, program: Program, operands: Sequence[Value]) -> list[Value]:
    """The outputs of a program whose inputs are `operands`."""
    values = {port.name: value for port, value in zip(program.inputs, operands)}
    for node in program.nodes:
        with graph.within(node.name):
            name, shape = emit(node, graph, *(values[operand] for operand in node.operands))
        values[node.name] = Value(name, program.spans[node.name], shape)
    results = [values[port.name] for port in program.outputs]
    return results if program.extent is Extent.TENSORS else _expanded(graph, results, operands)


def _expanded(graph: Graph, results: list[Value], operands: Sequence[Value]) -> list[Value]:
    """Results of the shape that the operands broadcast to."""
    shape = broadcast(*(value.shape for value in operands))
    if len(operands) == 1 and all(result.shape == shape for result in results):
        return results
    whole = functools.reduce(lambda a, b: graph.op("Add", a, b), [value.name for value in operands])
    sizes = graph.sizes(whole, 0)
    return [Value(graph.op("Expand", each.name, sizes), each.span, shape) for each in results]


def tabulated(graph: Graph, unit: object, value: Value) -> str | None:
    """The results of a unit of codes by a table; None where the value takes too many."""
    import torch

    low, high = value.span
    if high - low >= MOST_CODES or not callable(unit):
        return None
    table = unit(torch.arange(low, high + 1)).numpy().astype(np.int64)
    return graph.looked_up(table, value.name, low)
