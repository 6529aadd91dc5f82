"""Nodes that lanes compute alone: operations of numbers, reductions, pooling, operators, and what a table gives."""

from typing import Any

import torch

from hwlut.accel.commands import Reduction
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.graph import Entry
from hwlut.accel.compiler.lane import Lane, Stage
from hwlut.accel.compiler.places import Space, known, only_space
from hwlut.accel.compiler.step import begun, target
from hwlut.accel.timing import operator as operator_times
from hwlut.units import operations as op
from hwlut.units.nodes import Extent, Node
from hwlut.units.patches import MaximumPool, patches
from hwlut.units.program import Program
from hwlut.units.reductions import Maximum
from hwlut.units.tile import Operation

__all__ = ["applied", "operated", "operator_number", "pooled", "reduced", "selected"]

_OPERATIONS: dict[type[Node], Operation] = {
    op.Add: Operation.ADD,
    op.Subtract: Operation.SUBTRACT,
    op.Multiply: Operation.MULTIPLY,
    op.Less: Operation.LESS,
    op.Equal: Operation.EQUAL,
    op.ShiftLeft: Operation.SHIFT_LEFT,
    op.ShiftRight: Operation.SHIFT_RIGHT,
    op.LeadingOne: Operation.LEADING_ONE,
    op.Bits: Operation.BITS,
}


def operated(builder: Builder, entry: Entry) -> Chain:
    """An operation of one or two numbers."""
    node: Any = entry.node
    operation = _OPERATIONS[type(node)]
    operands = [builder.places[name] for name in entry.operands]
    if isinstance(node, op.Bits):
        operands.append(builder.number(node.low))
    elif isinstance(node, op.LeadingOne):
        operands.append(builder.number(0))
    if operation not in builder.tile.operations:
        return _otherwise(builder, entry, operation)
    x, y = torch.broadcast_tensors(*operands)
    shape = tuple(x.shape)
    swap = only_space(x.numpy()) is Space.LITERAL
    if swap or (only_space(y.numpy()) is Space.INPUTS and only_space(x.numpy()) is Space.VALUES):
        x, y, swap = y, x, True
    x, y = builder.readable(x), builder.readable(y, Space.VALUES, Space.LITERAL)
    fields: dict[str, Any] = {"rounding": node.rounding} if isinstance(node, op.ShiftRight) else {}
    if isinstance(node, op.Bits):
        fields["bits"] = node.count
    chain = begun(builder, entry, shape, Stage.OPERATION, operation=operation, swap=swap, **fields)
    builder.take_y(chain.lane, y)
    _each(builder, chain, x)
    return chain


def _otherwise(builder: Builder, entry: Entry, operation: Operation) -> Chain:
    """An operation that lanes do not have: by an offset that is added, or by a table."""
    operands = [(name, builder.places[name]) for name in entry.operands]
    numbers = [each for each in operands if only_space(each[1].numpy()) is Space.LITERAL]
    others = [each for each in operands if each not in numbers]
    if len(others) == 1 or (len(operands) == 2 and operands[0][0] == operands[1][0]):
        name, x = others[0]
        added = operation is Operation.ADD or (operation is Operation.SUBTRACT and others[0] is operands[0])
        if added and numbers:
            x, offset = torch.broadcast_tensors(x, known(numbers[0][1]))
            offset = offset.flatten() if operation is Operation.ADD else -offset.flatten()
            chain = begun(builder, entry, tuple(x.shape), Stage.OFFSET, offset=offset)
            _each(builder, chain, builder.readable(x))
            return chain
        if (found := _passed(builder, entry, name)) is not None:
            return found
    raise builder.refusal(f"needs the operation {operation.value}, which the tile does not have")


def _each(builder: Builder, chain: Chain, x: torch.Tensor) -> None:
    """The work of a chain of which each result is of one number."""
    builder.vector(chain.lane, target(builder, chain), x.reshape(-1, 1))


def _passed(builder: Builder, entry: Entry, name: str) -> Chain | None:
    """A node that lanes do behind an operand that they only read."""
    x = builder.places[name]
    lane = Lane(torch.arange(x.numel()).reshape(x.shape), builder.spans[name])
    chain = Chain(builder, lane, name)
    if not chain.add(entry):
        return None
    chain.extend()
    _each(builder, chain, builder.readable(x))
    return chain


def applied(builder: Builder, entry: Entry) -> Chain:
    """A unit, a requantization or a clamp of each number, or an operator."""
    node: Any = entry.node
    unit = getattr(node, "unit", None)
    number = -1 if unit is None else operator_number(builder, unit)
    if number >= 0:
        return _operator(builder, entry, number)
    if (found := _passed(builder, entry, entry.operands[0])) is not None:
        return found
    what = "clamps" if unit is None else f"needs the {type(unit).__name__} of {unit.input} as an operator or a table"
    raise builder.refusal(f"{what}, which the tile does not have")


def operator_number(builder: Builder, unit: Any) -> int:
    """Which of the tile's operators a unit is; -1 for none."""
    digests = [each.digest for each in builder.tile.operators]
    return digests.index(unit.digest) if unit.digest in digests else -1


def _operator(builder: Builder, entry: Entry, number: int) -> Chain:
    x = builder.readable(builder.places[entry.operands[0]])
    unit: Any = builder.tile.operators[number]
    rows = isinstance(unit, Program) and unit.extent is Extent.ROWS
    count = x.shape[-1] if rows else 1
    chain = begun(builder, entry, tuple(x.shape), Stage.OPERATOR, operator=number)
    period = max(count, operator_times(unit).least)
    builder.vector(chain.lane, target(builder, chain), x.reshape(-1, count), period)
    return chain


def reduced(builder: Builder, entry: Entry) -> Chain:
    """A sum or a maximum of each row."""
    x = builder.places[entry.operands[0]]
    return _reduction(builder, entry, x, (*x.shape[:-1], 1), isinstance(entry.node, Maximum))


def pooled(builder: Builder, entry: Entry) -> Chain:
    """The sum or the maximum of each patch."""
    node: Any = entry.node
    greatest = isinstance(node, MaximumPool)
    name = entry.operands[0]
    fill = builder.spans[name][0] if greatest else node.fill
    ones = (1,) * len(node.kernel)
    x = builder.padded(name, node.padding, fill)
    dilation = node.dilation if greatest else ones
    x = patches(x, node.kernel, node.stride, (0,) * len(ones), dilation, 0)
    return _reduction(builder, entry, x, tuple(x.shape[:-1]), greatest)


def _reduction(builder: Builder, entry: Entry, x: torch.Tensor, shape: tuple[int, ...], greatest: bool) -> Chain:
    x = builder.readable(x)
    reduction = Reduction.MAXIMUM if greatest else Reduction.SUM
    chain = begun(builder, entry, shape, Stage.REDUCTION, reduction=reduction)
    builder.vector(chain.lane, target(builder, chain), x.reshape(-1, x.shape[-1]))
    return chain


def selected(builder: Builder, entry: Entry) -> Chain:
    """One of two numbers: the second, over which the first is written where the condition is not 0."""
    condition, a, b = torch.broadcast_tensors(*(builder.places[name] for name in entry.operands))
    chain = begun(builder, entry, tuple(a.shape), Stage.OPERATION)
    where = target(builder, chain, stream=False)
    builder.vector(chain.lane, where, builder.readable(b).reshape(-1, 1))
    over = chain.lane.copy(where=True)
    over.y = builder.readable(condition, Space.VALUES).flatten().numpy()
    builder.vector(over, where, builder.readable(a).reshape(-1, 1))
    return chain
