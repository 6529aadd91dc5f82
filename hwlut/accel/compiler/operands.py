"""The memory of operands: second operands of products of two activations, by words of columns."""

import math
from collections.abc import Iterator, Sequence

import torch

from hwlut.accel.compiler.array import tiles
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.lane import Stage
from hwlut.accel.compiler.multipliers import multiplier_number
from hwlut.accel.compiler.places import Space, addresses, only_space, places_of
from hwlut.units.families import Family
from hwlut.units.products import MatrixProduct

__all__ = ["loaded", "operand_places", "taken_as_operand"]


def taken_as_operand(builder: Builder, chain: Chain) -> bool:
    """Whether a value is nothing but the second operand of the next product, and the memory of operands holds it. Then
    it is written less the product's zero point of it, where a multiplier takes it so."""
    name, shape = chain.name, tuple(chain.lane.index.shape)
    entry = builder.graph.only_taker(name)
    if entry is None or not isinstance(node := entry.node, MatrixProduct) or len(shape) < 2:
        return False
    exact = node.multiplier.family is Family.EXACT
    if entry.operands[1] != name or entry.operands[0] == name or (node.a_zero and not exact):
        return False
    if builder.graph.next_product(builder.entry) != entry:
        return False
    if _words(builder, shape) > builder.storage.most(Space.OPERANDS):
        return False
    span = chain.lane.span[0] - node.b_zero, chain.lane.span[1] - node.b_zero
    a = node.multiplier.a
    fits = multiplier_number(builder.tile, node.multiplier, (a.min, a.max), span) is not None
    if exact and fits and chain.lane.stage is Stage.REQUANTIZE:
        chain.lane.lower(node.b_zero)
        builder.lowered[name] = node.b_zero
    return True


def _words(builder: Builder, shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-1]) * -(-shape[-1] // builder.tile.columns)


def operand_places(builder: Builder, shape: tuple[int, ...], owner: str) -> torch.Tensor:
    """Places of second operands [..., k, j] in the memory of operands: words by tiles of j, in these k after k."""
    columns = builder.tile.columns
    start = builder.allocate(Space.OPERANDS, _words(builder, shape), owner)
    *batch, count, outputs = shape
    j, matrix = torch.arange(outputs), torch.arange(math.prod(batch))[:, None, None]
    word = (matrix * -(-outputs // columns) + j // columns) * count + torch.arange(count)[:, None]
    return places_of(Space.OPERANDS, ((start + word) * _width(columns) + j % columns).reshape(shape))


def _width(columns: int) -> int:
    """Addresses of a word."""
    return 1 << (columns - 1).bit_length()


def loaded(builder: Builder, b: torch.Tensor) -> Iterator[tuple[int, Sequence[tuple[int, int, int]], list[int]]]:
    """Tiles (matrix, first output, last output) of places [matrices, K, outputs], all of as many columns, which come
    first, with their words in the memory of operands: all where they lie there, else as many as it holds at a time,
    copied."""
    columns_of, (matrices, count, outputs) = builder.tile.columns, b.shape
    width = _width(columns_of)
    if only_space(b.numpy()) is Space.OPERANDS:
        for columns, some in tiles(matrices, outputs, columns_of, matrices * outputs):
            yield columns, some, [int(addresses(b[matrix, 0, start].numpy())) // width for matrix, start, _ in some]
        return
    most = min(matrices * -(-outputs // columns_of), builder.storage.most(Space.OPERANDS) // count)
    if not most:
        raise builder.refusal(f"needs {count} words of operands; the tile has {builder.tile.operands}")
    first = builder.allocate(Space.OPERANDS, most * count)
    for columns, some in tiles(matrices, outputs, columns_of, most):
        words = [first + at * count for at in range(len(some))]
        word = torch.tensor(words)[:, None, None] + torch.arange(count)[:, None]
        z = places_of(Space.OPERANDS, word * width + torch.arange(columns))
        builder.copy(torch.stack([b[matrix, :, start:stop] for matrix, start, stop in some]), z)
        yield columns, some, words
