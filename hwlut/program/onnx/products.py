"""Matrix products and convolutions of a program in ONNX."""

import dataclasses

import numpy as np

from hwlut.program.onnx.factors import INT32, factors_of, grouped
from hwlut.program.onnx.graph import Graph, Shape, Value, broadcast
from hwlut.program.onnx.movement import patched, windows
from hwlut.program.onnx.nodes import emit, refused
from hwlut.units.families import Family
from hwlut.units.multiplier import Multiplier
from hwlut.units.products import Convolve, Linear, MatrixProduct, Weighted

__all__ = ["float_type"]

_TF32 = 1 << 11  # integers up to here are TF32 numbers, as which some devices multiply float32


@emit.register
def _(node: Linear, graph: Graph, value: Value) -> tuple[str, Shape]:
    found = _rows(graph, node, value, node.weights.T.astype(np.int64), np.array(node.zeros, np.int64))
    return _plus_constants(graph, node, found), (*value.shape[:-1], len(node.weights))


@emit.register
def _(node: Convolve, graph: Graph, value: Value) -> tuple[str, Shape]:
    kernel = node.weights.shape[2:]
    shape = (value.shape[0], len(node.weights), *windows(value, kernel, node.stride, node.padding, node.dilation))
    span = value.span
    if any(node.padding):
        span = min(span[0], node.fill), max(span[1], node.fill)
    value = dataclasses.replace(value, span=span)
    if node.multiplier.family is Family.EXACT and (found := _convolved(graph, node, value)) is not None:
        return found, shape
    rows, row_shape = patched(graph, value, kernel, node.stride, node.padding, node.dilation, node.fill)
    taken = Value(rows, span, row_shape)
    weights, zeros = node.weights.reshape(len(node.weights), -1).T.astype(np.int64), np.array(node.zeros, np.int64)
    if node.groups > 1:
        found = _of_groups(graph, node, taken, weights, zeros)
    else:
        found = _rows(graph, node, taken, weights, zeros)
    axes = len(kernel)
    found = _plus_constants(graph, node, found)
    return graph.op("Transpose", found, perm=[0, axes + 1, *range(1, axes + 1)]), shape


def _of_groups(graph: Graph, node: Convolve, taken: Value, weights: np.ndarray, zeros: np.ndarray) -> str:
    """Sums [N, *out, outputs] of rows whose groups have weights of their own: matrices [groups, rows, K] by these."""
    groups, each = node.groups, len(weights)
    parted = graph.op("Transpose", graph.reshaped(taken.name, -1, groups, each), perm=[1, 0, 2])
    by_group = weights.reshape(each, groups, -1).transpose(1, 0, 2)
    zeros = np.broadcast_to(zeros, len(node.weights)).reshape(groups, 1, -1)
    found = _rows(graph, node, Value(parted, taken.span, (groups, None, each)), by_group, zeros)
    flat = graph.reshaped(graph.op("Transpose", found, perm=[1, 0, 2]), -1, len(node.weights))
    return graph.reshaped(flat, graph.sizes(taken.name, 0, -1), len(node.weights))


def _plus_constants(graph: Graph, node: Weighted, name: str) -> str:
    return name if node.constants is None else graph.op("Add", name, graph.integers(node.constants))


def _convolved(graph: Graph, node: Convolve, value: Value) -> str | None:
    """By ConvInteger, whose padding is its zero point; None where its types do not hold the numbers."""
    held, weights = graph.bytes(value), _weight_bytes(node.weights, np.array(node.zeros))
    if held is None or weights is None or len(set(node.zeros)) > 1:
        return None
    fill = node.fill if any(node.padding) else 0
    counted = node.weights.reshape(len(node.weights), -1).astype(np.int64) - node.zeros[0]
    if max(abs(end - fill) for end in value.span) * int(np.abs(counted).sum(1).max()) > INT32:
        return None
    (codes, zero), (shifted, weight_zero) = held, weights
    found = graph.op(
        "ConvInteger",
        codes,
        graph.constant(shifted, np.uint8),
        graph.constant(zero + fill, np.uint8),
        graph.constant(weight_zero, np.uint8),
        strides=list(node.stride),
        pads=[*node.padding, *node.padding],
        dilations=list(node.dilation),
        group=node.groups,
    )
    constants = fill * counted.sum(1) + (0 if node.constants is None else node.constants.astype(np.int64))
    found = graph.cast(found, np.int64)
    if not constants.any():
        return found
    return graph.op("Add", found, graph.integers(constants.reshape(-1, *(1,) * (node.weights.ndim - 2))))


def _weight_bytes(weights: np.ndarray, zeros: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Weights in uint8 and the number there that stands for their zero, or for 0 where zeros differ."""
    zero = int(zeros.flat[0]) if (zeros == zeros.flat[0]).all() else 0
    moved = max(0, -int(weights.min()), -zero)
    if max(int(weights.max()), zero) + moved > 255:
        return None
    return weights.astype(np.int64) + moved, zero + moved


def _rows(graph: Graph, node: Weighted, value: Value, weights: np.ndarray, zeros: np.ndarray) -> str:
    """``sum over k of m(a, w) - zero * a``, int64 [..., n], of rows [..., K] and weights [..., K, n]."""
    if node.multiplier.family is not Family.EXACT:
        found = _by_factors(graph, node.multiplier, value, weights)
        return _less_zeros(graph, found, value.name, zeros)
    largest = max(map(abs, value.span))
    held, moved = graph.bytes(value), _weight_bytes(weights, zeros)
    if held is not None and moved is not None:
        one = bool((zeros == zeros.flat[0]).all())
        counted = weights - zeros.flat[0] if one else weights
        if largest * int(np.abs(counted).sum(-2).max()) <= INT32:
            found = _integer_product(graph, *held, graph.constant(moved[0], np.uint8), moved[1])
            return found if one else _less_zeros(graph, found, value.name, zeros)
    counted = weights - zeros
    dtype = float_type(largest, int(np.abs(counted).max()), largest * int(np.abs(counted).sum(-2).max()))
    product = graph.op("MatMul", graph.cast(value.name, dtype), graph.constant(counted, dtype))
    return graph.cast(product, np.int64)


def float_type(a: int, b: int, total: int) -> type:
    """The type in which a product of matrices is exact, of numbers up to `a` and `b` and partial sums up to `total`."""
    if max(a, b) <= _TF32 and total <= 1 << 24:
        return np.float32
    return np.float64 if total <= 1 << 53 else np.int64


def _integer_product(graph: Graph, a: str, a_zero: int, b: str, b_zero: int) -> str:
    """Of uint8 matrices whose zeros stand for 0, int64; int32 must hold it."""
    zeros = [graph.constant(zero, np.uint8) for zero in (a_zero, b_zero)]
    return graph.cast(graph.op("MatMulInteger", a, b, *zeros), np.int64)


def _less_zeros(graph: Graph, found: str, rows: str, zeros: np.ndarray) -> str:
    if not zeros.any():
        return found
    sums = graph.op("ReduceSum", rows, graph.constant([-1]))
    return graph.op("Sub", found, graph.op("Mul", sums, graph.integers(zeros)))


def _indices(graph: Graph, value: Value, low: int) -> str:
    return graph.op("Sub", value.name, graph.constant(low)) if low else value.name


def _by_factors(graph: Graph, multiplier: Multiplier, value: Value, weights: np.ndarray) -> str:
    """Sums of products by an approximate multiplier, as those of its factors."""
    factors, places = factors_of(graph, multiplier), weights - multiplier.b.min
    index = _indices(graph, value, multiplier.a.min)
    fixed = factors.q[places].sum(-2, keepdims=weights.ndim > 2)
    total = graph.op("ReduceSum", graph.looked_up(factors.p, index), graph.constant([-1]))
    total = graph.op("Add", total, graph.integers(fixed))
    *batch, count, outputs = weights.shape
    for weight, u, v in grouped(graph, factors, count):
        rows = graph.op("Gather", graph.constant(u, np.uint8), index)
        rows = graph.reshaped(rows, graph.sizes(value.name, 0, -1), count * u.shape[1])
        columns = np.swapaxes(v[places], -1, -2).reshape(*batch, -1, outputs)
        product = _integer_product(graph, rows, 128, graph.constant(columns, np.uint8), 128)
        total = graph.op("Add", total, _times(graph, product, weight))
    return total


def _times(graph: Graph, name: str, weight: int) -> str:
    return name if weight == 1 else graph.op("Mul", name, graph.constant(weight))


@emit.register
def _(node: MatrixProduct, graph: Graph, a: Value, b: Value) -> tuple[str, Shape]:
    if min(len(a.shape), len(b.shape)) < 2:
        raise refused(graph, "multiply matrices, not vectors")
    shape = (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if node.multiplier.family is not Family.EXACT:
        return _approximate(graph, node, a, b), shape
    largest = [max(abs(end - zero) for end in value.span) for value, zero in ((a, node.a_zero), (b, node.b_zero))]
    total = node.most * largest[0] * largest[1]
    held = graph.bytes(a), graph.bytes(b)
    if held[0] is not None and held[1] is not None and total <= INT32:
        zeros = held[0][1] + node.a_zero, held[1][1] + node.b_zero
        if all(0 <= zero <= 255 for zero in zeros):
            return _integer_product(graph, held[0][0], zeros[0], held[1][0], zeros[1]), shape
    dtype = float_type(largest[0], largest[1], total)
    counted = [graph.cast(_counted(graph, value, zero), dtype) for value, zero in ((a, node.a_zero), (b, node.b_zero))]
    return graph.cast(graph.op("MatMul", *counted), np.int64), shape


def _counted(graph: Graph, value: Value, zero: int) -> str:
    return graph.op("Sub", value.name, graph.constant(zero)) if zero else value.name


def _approximate(graph: Graph, node: MatrixProduct, a: Value, b: Value) -> str:
    factors, rank = factors_of(graph, node.multiplier), len(b.shape)
    places = _indices(graph, a, node.multiplier.a.min), _indices(graph, b, node.multiplier.b.min)
    along = graph.constant([-1]), graph.constant([-2])
    sums = [graph.op("ReduceSum", graph.looked_up(each, i), axis)
            for each, i, axis in zip((factors.p, factors.q), places, along)]  # fmt: skip
    total = graph.op("Add", *sums)
    for weight, u, v in grouped(graph, factors, node.most):
        rows = graph.op("Gather", graph.constant(u, np.uint8), places[0])
        rows = graph.reshaped(rows, graph.sizes(a.name, 0, -1), -1)
        columns = graph.op("Gather", graph.constant(v, np.uint8), places[1])
        columns = graph.op("Transpose", columns, perm=[*range(rank - 1), rank, rank - 1])
        columns = graph.reshaped(columns, graph.sizes(b.name, 0, -2), -1, graph.sizes(b.name, rank - 1))
        total = graph.op("Add", total, _times(graph, _integer_product(graph, rows, 128, columns, 128), weight))
    if node.b_zero:
        rest = graph.op("ReduceSum", _counted(graph, a, node.a_zero), along[0])
        total = graph.op("Sub", total, _times(graph, rest, node.b_zero))
    if node.a_zero:
        total = graph.op("Sub", total, _times(graph, graph.op("ReduceSum", b.name, along[1]), node.a_zero))
    return total
