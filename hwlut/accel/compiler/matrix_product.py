"""Products of two activations, whose zero points are taken out behind."""

import dataclasses
from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Mode, WSource
from hwlut.accel.compiler.array import Block, drained
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.emission import Target
from hwlut.accel.compiler.graph import Entry
from hwlut.accel.compiler.lane import Lane, Stage
from hwlut.accel.compiler.multipliers import check_sums, multiplier_for
from hwlut.accel.compiler.operands import loaded
from hwlut.accel.compiler.places import Space, only_space
from hwlut.accel.compiler.step import begun, target
from hwlut.units.nodes import Span
from hwlut.units.products import MatrixProduct
from hwlut.units.tile import Operation

__all__ = ["matrix_product"]


def matrix_product(builder: Builder, entry: Entry) -> Chain:
    """A product of two activations, of which the second lies in the memory of operands."""
    given: Any = entry.node
    a, b = (builder.places[name] for name in entry.operands)
    spans = [builder.spans[name] for name in entry.operands]
    count = a.shape[-1]
    lowered = builder.lowered.get(entry.operands[1], 0)
    node = dataclasses.replace(given, b_zero=given.b_zero - lowered, most=count)
    number = multiplier_for(builder, node.multiplier, *spans)
    node = dataclasses.replace(node, multiplier=builder.tile.multipliers[number])
    low, high = dataclasses.replace(node, a_zero=0, b_zero=0).span(*spans)
    check_sums(builder, min(0, low), max(0, high))
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    x, b = builder.readable(a), b if only_space(b.numpy()) is Space.OPERANDS else builder.readable(b)
    array = {"mode": Mode.ARRAY, "multiplier": number, "w_source": WSource.OPERANDS}
    fields: dict[str, Any] = {}
    if node.a_zero or node.b_zero:
        builder.need(Operation.SUBTRACT)
        correction = _zero_points(builder, node, x, b, spans, array)
        fields = {"operation": Operation.SUBTRACT, "y": correction.expand(shape).flatten().numpy()}
        fields["offset"] = node.a_zero * node.b_zero * count
    chain = begun(builder, entry, shape, Stage.OPERATION, node.span(*spans), **fields)
    where = target(builder, chain)
    x = builder.countable(x)
    rows = torch.arange(x[..., 0].numel()).reshape(x.shape[:-1]).expand(*batch, -1).flatten(0, -2).numpy()
    elements = torch.arange(chain.lane.index.numel()).reshape(-1, *shape[-2:]).numpy()
    of = torch.arange(int(np.prod(b.shape[:-2]))).reshape(b.shape[:-2]).expand(batch).flatten().numpy()
    for columns, some, words in loaded(builder, b.reshape(-1, *b.shape[-2:])):
        blocks = [
            Block(word, np.concatenate(rows[of == matrix]), np.concatenate(elements[of == matrix][:, :, start:stop]))
            for word, (matrix, start, stop) in zip(words, some)
        ]
        drained(builder, chain.lane, where, x, blocks, columns, **array)
    return chain


def _zero_points(
    builder: Builder, node: MatrixProduct, a: torch.Tensor, b: torch.Tensor, spans: list[Span], array: dict[str, Any]
) -> torch.Tensor:
    """Places of what zero points take away but for a constant: each times the other operand's sum."""
    by_b = builder.sums(a, spans[0], node.b_zero)[..., None] if node.b_zero else None
    by_a = None
    if node.a_zero and only_space(b.numpy()) is Space.OPERANDS:
        by_a = _column_sums(builder, node.a_zero, b, spans[1], array)[..., None, :]
    elif node.a_zero:
        by_a = builder.sums(b.mT, spans[1], node.a_zero)[..., None, :]
    if by_a is None or by_b is None:
        found = by_b if by_a is None else by_a
        assert found is not None
        return found
    count, (a_span, b_span) = b.shape[-2], spans
    ends = [count * (node.b_zero * x + node.a_zero * y) for x in a_span for y in b_span]
    builder.check_bits(min(ends), max(ends))
    axes = max(by_a.dim(), by_b.dim())
    by_a, by_b = (each.reshape((1,) * (axes - each.dim()) + tuple(each.shape)) for each in (by_a, by_b))
    return builder.combined(Operation.ADD, *torch.broadcast_tensors(by_a, by_b))


def _column_sums(builder: Builder, zero: int, b: torch.Tensor, span: Span, array: dict[str, Any]) -> torch.Tensor:
    """Places [..., outputs] of the sums of exact products of a zero point and operands [..., K, outputs]."""
    count = b.shape[-2]
    ends = [zero * count * end for end in span]
    builder.check_bits(min(*ends), max(*ends))
    check_sums(builder, min(*ends), max(*ends))
    found = builder.buffer((*b.shape[:-2], b.shape[-1]))
    lane = Lane(torch.arange(found.numel()), (min(*ends), max(*ends)))
    x = builder.buffer((1,))
    builder.fill(x, zero)
    elements = np.arange(found.numel()).reshape(-1, 1, b.shape[-1])
    for columns, some, words in loaded(builder, b.reshape(-1, *b.shape[-2:])):
        blocks = [
            Block(word, np.zeros(1, np.int64), elements[matrix, :, start:stop])
            for word, (matrix, start, stop) in zip(words, some)
        ]
        drained(builder, lane, Target.of(found), x.expand(1, count), blocks, columns, **array)
    return found
