"""Movement, patches and pools of a program in ONNX."""

import functools
import itertools
import math

import numpy as np

from hwlut.program.onnx.graph import Dimension, Graph, Shape, Value, broadcast
from hwlut.program.onnx.look_up import looked_up
from hwlut.program.onnx.nodes import emit, refused
from hwlut.program.onnx.shift import requantized
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.nodes import WORD
from hwlut.units.patches import MaximumPool, Patches, SumPool

__all__ = ["patched", "windows"]

_END = (1 << 31) - 1
_POOLED = {np.float32: 1 << 24, np.float64: 1 << 53}


@emit.register
def _(node: LookUp, graph: Graph, value: Value) -> tuple[str, Shape]:
    return looked_up(graph, value, node.unit)


@emit.register
def _(node: Rescale, graph: Graph, value: Value) -> tuple[str, Shape]:
    return requantized(graph, value, node.unit, node.axis), value.shape


@emit.register
def _(node: Gather, graph: Graph, index: Value) -> tuple[str, Shape]:
    return graph.looked_up(node.table, index.name), (*index.shape, node.table.shape[1])


@emit.register
def _(node: Reshape, graph: Graph, value: Value) -> tuple[str, Shape]:
    free = [size for size in value.shape if not isinstance(size, int)]
    if free and -1 not in node.shape:
        raise refused(graph, f"leave the batch free by a size of -1, not {node.shape}")
    left: Dimension = None
    before = math.prod(size for size in value.shape if isinstance(size, int))
    after = math.prod(size for size in node.shape if size != -1)
    if not free:
        left = before // after
    elif len(free) == 1 and before == after:
        left = free[0]
    shape = tuple(left if size == -1 else size for size in node.shape)
    return graph.op("Reshape", value.name, graph.constant(node.shape)), shape


@emit.register
def _(node: Permute, graph: Graph, value: Value) -> tuple[str, Shape]:
    return graph.op("Transpose", value.name, perm=list(node.order)), tuple(value.shape[axis] for axis in node.order)


@emit.register
def _(node: Slice, graph: Graph, value: Value) -> tuple[str, Shape]:
    ends = [graph.constant([each]) for each in (node.start, node.stop, node.axis, node.step)]
    shape = list(value.shape)
    size = shape[node.axis]
    places = range(node.start, min(node.stop, size), node.step) if isinstance(size, int) else None
    shape[node.axis] = None if places is None else len(places)
    return graph.op("Slice", value.name, *ends), tuple(shape)


@emit.register
def _(node: Concatenate, graph: Graph, *values: Value) -> tuple[str, Shape]:
    axis = node.axis % len(values[0].shape)
    others = [(*value.shape[:axis], 1, *value.shape[axis + 1 :]) for value in values]
    names = [value.name for value in values]
    if len(set(others)) > 1:
        bounds = [graph.constant([end]) for end in (0, 1, axis)]
        firsts = [graph.op("Slice", name, *bounds) for name in names]
        sizes = graph.sizes(functools.reduce(lambda a, b: graph.op("Add", a, b), firsts), 0)
        names = [graph.op("Expand", name, sizes) for name in names]
    shape = list(broadcast(*others))
    along = [value.shape[axis] for value in values]
    shape[axis] = sum(along) if all(isinstance(size, int) for size in along) else None  # type: ignore[arg-type]
    return graph.op("Concat", *names, axis=axis), tuple(shape)


@emit.register
def _(node: Pad, graph: Graph, value: Value) -> tuple[str, Shape]:
    pairs = list(zip(node.widths[::2], node.widths[1::2]))[::-1]
    shape = list(value.shape)
    for axis, (before, after) in enumerate(pairs, len(shape) - len(pairs)):
        shape[axis] = _plus(shape[axis], before + after)
    return _padded(graph, value.name, pairs, node.value), tuple(shape)


@emit.register
def _(node: Patches, graph: Graph, value: Value) -> tuple[str, Shape]:
    return patched(graph, value, node.kernel, node.stride, node.padding, node.dilation, node.fill)


@emit.register
def _(node: MaximumPool, graph: Graph, value: Value) -> tuple[str, Shape]:
    shape = (*value.shape[:2], *windows(value, node.kernel, node.stride, node.padding, node.dilation))
    held = graph.bytes(value)
    largest = max(-value.span[0], value.span[1])
    dtype = next((dtype for dtype, most in _POOLED.items() if largest <= most), None)
    if any(width >= size for width, size in zip(node.padding, node.kernel)) or (held is None and dtype is None):
        found = _places(graph, value.name, node.kernel, node.stride, node.padding, node.dilation, -(1 << (WORD - 1)))
        return graph.op("ReduceMax", found, graph.constant([-1]), keepdims=0), shape
    name, zero = held or (graph.cast(value.name, dtype), 0)
    found = graph.op(
        "MaxPool",
        name,
        kernel_shape=list(node.kernel),
        strides=list(node.stride),
        pads=[*node.padding, *node.padding],
        dilations=list(node.dilation),
    )
    result = graph.cast(found, np.int64)
    return graph.op("Sub", result, graph.constant(zero)) if zero else result, shape


@emit.register
def _(node: SumPool, graph: Graph, value: Value) -> tuple[str, Shape]:
    # A sum of places is the difference of two running sums; these may wrap around, and their difference is right.
    # The running sums leave out their own place, so each axis has one place more.
    name = _padded(graph, value.name, [(width, width + 1) for width in node.padding], node.fill)
    for axis, (size, step) in enumerate(zip(node.kernel, node.stride), 2):
        running = graph.op("CumSum", name, graph.constant(axis), exclusive=1)
        after, before = (
            graph.op("Slice", running, *(graph.constant([each]) for each in (start, stop, axis, step)))
            for start, stop in ((size, _END), (0, -size))
        )
        name = graph.op("Sub", after, before)
    ones = (1,) * len(node.kernel)
    return name, (*value.shape[:2], *windows(value, node.kernel, node.stride, node.padding, ones))


def windows(
    value: Value,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Shape:
    """How many places a kernel has along each axis of [N, C, *in]."""
    reach = zip(value.shape[2:], kernel, stride, padding, dilation)
    return tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1 if isinstance(size, int) else None for size, k, s, p, d in reach
    )


def patched(
    graph: Graph,
    value: Value,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    fill: int,
) -> tuple[str, Shape]:
    """Each patch of [N, C, *in] as a row [N, *out, C times places of the kernel], channel by channel."""
    found = _places(graph, value.name, kernel, stride, padding, dilation, fill)
    axes = len(kernel)
    rows = graph.op("Transpose", found, perm=[0, *range(2, axes + 2), 1, axes + 2])
    channels = value.shape[1]
    row = channels * math.prod(kernel) if isinstance(channels, int) else None
    shape = (value.shape[0], *windows(value, kernel, stride, padding, dilation), row)
    return graph.reshaped(rows, graph.sizes(rows, 0, axes + 1), -1), shape


def _places(
    graph: Graph,
    name: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    fill: int,
) -> str:
    """[N, C, *out, places of the kernel] of [N, C, *in]."""
    padded = _padded(graph, name, [(width, width) for width in padding], fill)
    axes, last = graph.constant(range(2, len(kernel) + 2)), graph.constant([-1])
    found = []
    for place in itertools.product(*map(range, kernel)):
        starts = [at * d for at, d in zip(place, dilation)]
        stops = [start - d * (k - 1) or _END for start, d, k in zip(starts, dilation, kernel)]
        taken = graph.op("Slice", padded, *map(graph.constant, (starts, stops)), axes, graph.constant(stride))
        found.append(graph.op("Unsqueeze", taken, last))
    return graph.op("Concat", *found, axis=-1)


def _padded(graph: Graph, name: str, pairs: list[tuple[int, int]], fill: int) -> str:
    """`fill` before and after the last axes."""
    if not any(map(any, pairs)):
        return name
    widths = [before for before, _ in pairs] + [after for _, after in pairs]
    axes = graph.constant(range(-len(pairs), 0))
    return graph.op("Pad", name, graph.constant(widths), graph.constant(fill), axes)


def _plus(size: Dimension, width: int) -> Dimension:
    return size + width if isinstance(size, int) else None if width else size
