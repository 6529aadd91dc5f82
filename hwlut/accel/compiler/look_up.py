"""Matrix products by look-up: sub-vectors are encoded, and the array adds up the entries of their codes."""

from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Mode
from hwlut.accel.compiler.array import in_order, in_weights
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.constants import Constants
from hwlut.accel.compiler.emission import Target
from hwlut.accel.compiler.graph import Entry
from hwlut.accel.compiler.lane import Lane, Stage
from hwlut.accel.compiler.multipliers import check_sums
from hwlut.accel.compiler.nests import Rows
from hwlut.accel.compiler.places import addresses
from hwlut.accel.compiler.step import begun, target
from hwlut.accel.compiler.words import Segment, weights
from hwlut.fixed import Fixed, signed_bits
from hwlut.units.lut_matmul import CODE, Encoder, LutMatmul

__all__ = ["looked_up"]

_THRESHOLD_BITS = 9
_ALWAYS, _NEVER = CODE.min, CODE.max + 1
"""Thresholds that every code reaches, and that none does."""


def looked_up(builder: Builder, entry: Entry) -> Chain:
    """A `LutMatmul` along the last axis."""
    node: Any = entry.node
    unit: LutMatmul = node.unit
    _check(builder, unit)
    x = builder.readable(builder.places[entry.operands[0]])
    codes = _encoded(builder, unit, x)
    elements = torch.arange(len(codes) * unit.outputs).reshape(1, -1, unit.outputs)
    fields: dict[str, Any] = {}
    if unit.bias is not None:
        fields["offset"] = in_order(torch.tensor(unit.bias, dtype=torch.int64), elements)
    sums = unit.accumulator
    shape = (*x.shape[:-1], unit.outputs)
    chain = begun(builder, entry, shape, Stage.OPERATION, (sums.min, sums.max), unit.requantize, **fields)
    table = np.zeros((unit.codebooks, builder.tile.entries, unit.outputs), np.int64)
    table[:, : unit.k] = unit.table
    in_weights(
        builder, chain.lane, target(builder, chain), codes[None], elements,
        lambda _, start, stop: table[:, :, start:stop].swapaxes(1, 2),
        lambda words: weights(builder.tile, words, builder.tile.entry_bits),
        mode=Mode.LOOK_UP,
    )  # fmt: skip
    return chain


def _check(builder: Builder, unit: LutMatmul) -> None:
    tile = builder.tile
    if tile.encoder is not unit.encoder:
        has = "none" if tile.encoder is None else tile.encoder.value
        raise builder.refusal(f"encodes by {unit.encoder.value}; the tile's encoders are {has}")
    if unit.k > tile.entries:
        raise builder.refusal(f"looks up one of {unit.k} entries; the tile has {tile.entries}")
    ends = int(unit.table.min()), int(unit.table.max())
    if not (held := Fixed(tile.entry_bits)).min <= ends[0] <= ends[1] <= held.max:
        raise builder.refusal(f"has entries of {signed_bits(*ends)} bits; the tile's have {tile.entry_bits}")
    entries = unit.table.astype(np.int64)
    check_sums(builder, int(entries.min(1).sum(0).min()), int(entries.max(1).sum(0).max()))


def _encoded(builder: Builder, unit: LutMatmul, x: torch.Tensor) -> torch.Tensor:
    """Places [rows, codebooks] of the codes of rows at x [..., features]."""
    if unit.encoder is Encoder.TREE and len(Rows.of(addresses(x.reshape(-1, unit.features).numpy())).patterns) > 1:
        x = builder.copied(x)  # offsets of inputs must be the same in all rows
    rows = x.reshape(-1, unit.features)
    codes = builder.buffer((len(rows), unit.codebooks))
    by = _by_tree if unit.encoder is Encoder.TREE else _by_distance
    whole = unit.features // unit.v
    by(builder, unit, rows, codes, range(whole), unit.v)
    if unit.padding:
        by(builder, unit, rows, codes, range(whole, unit.codebooks), unit.v - unit.padding)
    return codes


def _chunks(builder: Builder, codebooks: range, words: int) -> list[range]:
    """As many codebooks at a time as have their words in half of the weights."""
    half = builder.tile.weights // 2
    what = f"needs {words} words of weights for a sub-vector; half of the tile's are {half}"
    builder.require("weights", 2 * words, what)
    step = half // words
    return [codebooks[first : first + step] for first in range(0, len(codebooks), step)]


def _by_distance(
    builder: Builder, unit: LutMatmul, rows: torch.Tensor, codes: torch.Tensor, codebooks: range, count: int
) -> None:
    """Codes of sub-vectors of `count` inputs; where there are fewer prototypes than the tile has, the first, which wins
    over its like, stands for the rest."""
    assert unit.prototypes is not None
    for some in _chunks(builder, codebooks, count):
        held = unit.prototypes[some.start : some.stop, :, :count].astype(np.int64).swapaxes(1, 2)
        fill = np.repeat(held[:, :, :1], builder.tile.entries - unit.k, 2)
        words = np.concatenate([held, fill], 2).reshape(len(some) * count, 1, -1)
        first = rows[:, some.start * unit.v :][:, : len(some) * unit.v]
        x = first.reshape(len(rows), len(some), -1) if count == unit.v else first[:, None, :count]
        w = np.repeat(np.arange(len(some)) * count, len(rows))
        taken = Rows(w, np.zeros_like(w), np.arange(count)[None])
        x = builder.countable(x.swapaxes(0, 1))
        _encode(builder, codes[:, some.start : some.stop], x, taken, weights(builder.tile, words, 8))


def _by_tree(
    builder: Builder, unit: LutMatmul, rows: torch.Tensor, codes: torch.Tensor, codebooks: range, count: int
) -> None:
    """Codes of sub-vectors of `count` inputs. A tree of fewer levels than the tile's stands at the left of a whole one;
    comparisons of inputs beyond `count`, which are zero points, are decided by thresholds."""
    assert unit.thresholds is not None and unit.dimensions is not None
    tile = builder.tile
    levels = (tile.entries - 1).bit_length()
    more = levels - unit.depth
    for some in _chunks(builder, codebooks, 1):
        own = slice(some.start, some.stop)
        thresholds = np.full((len(some), tile.entries - 1), _NEVER, np.int64)
        dimensions = np.zeros((len(some), levels), np.int64)
        dimensions[:, more:] = unit.dimensions[own]
        for level in range(unit.depth):
            nodes = slice((1 << level) - 1, (2 << level) - 1)
            start = (1 << level + more) - 1
            held = unit.thresholds[own, nodes].astype(np.int64)
            beyond = dimensions[:, level + more, None] >= count
            decided = np.where(held <= unit.zero_point, _ALWAYS, _NEVER)
            thresholds[:, start : start + (1 << level)] = np.where(beyond, decided, held)
        dimensions[dimensions >= count] = 0
        starts = torch.arange(some.start, some.stop) * unit.v
        first = rows[:, starts]
        places = addresses(rows.numpy())
        offsets = (
            places[0, (starts[:, None] + torch.from_numpy(dimensions)).numpy()] - places[0, starts.numpy()][:, None]
        )
        constants = Constants.offsets_of(offsets.reshape(-1))
        steps = np.repeat(np.arange(offsets.size).reshape(offsets.shape), len(rows), 0)
        w = np.repeat(np.arange(len(some)), len(rows))
        _encode(
            builder,
            codes[:, own],
            first.mT[..., None].expand(-1, -1, levels),
            Rows(w, np.zeros_like(w), np.zeros((1, levels), np.int64)),
            weights(tile, thresholds[:, None], _THRESHOLD_BITS),
            constants=constants,
            steps=steps,
        )


def _encode(builder: Builder, codes: torch.Tensor, x: torch.Tensor, w: Rows, segment: Segment, **fields: Any) -> None:
    """COMPUTEs that bring codes of places x [codebooks, rows, steps] to places [rows, codebooks]."""
    places = codes.mT
    lane = Lane(torch.arange(places.numel()).reshape(places.shape), (0, builder.tile.entries - 1))
    builder.emit(
        lane, Target.of(places), np.arange(places.numel())[:, None], x=x.reshape(-1, x.shape[-1]).numpy(),
        w=w, count=x.shape[-1], weights=segment, mode=Mode.ENCODE, period=1, **fields,
    )  # fmt: skip
