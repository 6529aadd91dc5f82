"""Products with weights: matrix products and convolutions."""

import dataclasses
from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Mode
from hwlut.accel.compiler.array import in_order, in_weights
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.graph import Entry
from hwlut.accel.compiler.lane import Stage
from hwlut.accel.compiler.multipliers import check_sums, multiplier_for, multiplier_number
from hwlut.accel.compiler.step import begun, target
from hwlut.accel.compiler.words import weights
from hwlut.units.families import Family
from hwlut.units.nodes import Span
from hwlut.units.patches import patches
from hwlut.units.products import Convolve, Weighted
from hwlut.units.tile import Operation

__all__ = ["weighted"]


def weighted(builder: Builder, entry: Entry) -> Chain:
    """A matrix product or a convolution with weights."""
    node: Any = entry.node
    x, shape, elements = _taken(builder, entry)
    x = builder.readable(x)
    span = builder.spans[entry.operands[0]]
    if isinstance(node, Convolve) and any(node.padding):
        span = min(span[0], node.fill), max(span[1], node.fill)
    node = _lowered(builder, node, span)
    number = multiplier_for(builder, node.multiplier, span, _ends(node.weights))
    lows, highs = dataclasses.replace(node, zeros=(0,), constants=None).terms(span)
    check_sums(builder, int(lows.sum(1).min()), int(highs.sum(1).max()))
    fields: dict[str, Any] = {}
    if node.constants is not None:
        constants = torch.tensor(node.constants, dtype=torch.int64).reshape(len(x), 1, -1)
        fields["offset"] = in_order(constants, elements)
    if any(node.zeros):
        builder.need(Operation.SUBTRACT)
        correction = _zeros(builder, x, span, node.zeros)
        fields |= {"operation": Operation.SUBTRACT, "y": in_order(correction, elements).numpy()}
    chain = begun(builder, entry, shape, Stage.OPERATION, **fields)
    where = target(builder, chain)
    x = builder.countable(x)
    matrix = node.weights.reshape(len(x), -1, x.shape[-1]).astype(np.int64)
    in_weights(
        builder, chain.lane, where, x, elements,
        lambda group, start, stop: matrix[group, start:stop].T,
        lambda words: weights(builder.tile, words[:, :, None], builder.tile.weight_bits),
        mode=Mode.ARRAY, multiplier=number,
    )  # fmt: skip
    return chain


def _ends(weights: np.ndarray) -> Span:
    return int(weights.min()), int(weights.max())


def _lowered(builder: Builder, node: Weighted, span: Span) -> Weighted:
    """The node of weights less their zero points, where the tile has an exact multiplier for these."""
    if node.multiplier.family is not Family.EXACT or not any(node.zeros):
        return node
    zeros = np.array(node.zeros).reshape(-1, *(1,) * (node.weights.ndim - 1))
    weights = node.weights.astype(np.int64) - zeros
    number = multiplier_number(builder.tile, node.multiplier, span, _ends(weights))
    if number is None:
        return node
    return dataclasses.replace(node, multiplier=builder.tile.multipliers[number], weights=weights, zeros=(0,))


def _zeros(builder: Builder, x: torch.Tensor, span: Span, zeros: tuple[int, ...]) -> torch.Tensor:
    """Places [groups, positions, outputs] of what zero points of weights take away: they times the sum of operands."""
    if len(set(zeros)) == 1:
        return builder.sums(x, span, zeros[0])[..., None]
    builder.check_bits(*_ends(np.outer([x.shape[-1] * end for end in span], zeros)))
    numbers = builder.numbers(torch.tensor(zeros)).reshape(len(x), 1, -1)
    found = builder.sums(x, span, 1)[..., None]
    return builder.combined(Operation.MULTIPLY, *torch.broadcast_tensors(found, numbers))


def _taken(builder: Builder, entry: Entry) -> tuple[torch.Tensor, tuple[int, ...], torch.Tensor]:
    """Places of operands [groups, positions, K], the result's shape, and the results' numbers [groups, positions,
    outputs]."""
    node: Any = entry.node
    outputs = len(node.weights)
    if not isinstance(node, Convolve):
        x = builder.places[entry.operands[0]]
        rows = x.reshape(1, -1, x.shape[-1])
        return rows, (*x.shape[:-1], outputs), torch.arange(rows.shape[1] * outputs).reshape(1, -1, outputs)
    x = builder.padded(entry.operands[0], node.padding, node.fill)
    kernel = tuple(node.weights.shape[2:])
    found = patches(x, kernel, node.stride, (0,) * len(kernel), node.dilation, 0)  # [1, C, *out, places]
    shape = (1, outputs, *found.shape[2:-1])
    rows = found[0].reshape(node.groups, -1, *shape[2:], found.shape[-1]).movedim(1, -2)
    rows = rows.reshape(node.groups, -1, rows.shape[-2] * rows.shape[-1])
    elements = torch.arange(int(np.prod(shape))).reshape(node.groups, outputs // node.groups, -1).mT
    return rows, shape, elements
