"""Rows of inputs for a `LutMatmul`, and their results in software."""

from collections.abc import Callable, Iterator

import numpy as np

from hwlut.units import LutMatmul
from hwlut.units.lut_matmul import CODE, Encoder
from hwlut.verify.stimulus import Stimulus, check_device, stimulus

__all__ = ["MOST_ROWS", "evaluate", "row_stimulus"]

MOST_ROWS = 4096
_FEWEST_ROWS = 64
_WORK = 1 << 26  # differences and entries that the definition goes through
_EXTREME_OUTPUTS = 4

_Place = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Indices into an array [n, C, v]."""


@stimulus.register
def _(unit: LutMatmul, scale: int | None, seed: int) -> Stimulus:
    if scale is not None:
        raise ValueError(f"LutMatmul scale must not be given, not {scale}")
    return row_stimulus(unit, MOST_ROWS, seed)


def row_stimulus(unit: LutMatmul, most: int, seed: int) -> Stimulus:
    """About `most` rows of inputs, or fewer: the ends of the codes, extreme sums, ties, and random ones.

    Its one input, ``x``, is int64 [rows, features]; labels and results are one an output, row after row.
    """
    rng = np.random.default_rng([seed, 3])
    size = unit.table.size + (0 if unit.prototypes is None else unit.prototypes.size)
    count = min(most, max(_FEWEST_ROWS, _WORK // size))
    special = np.concatenate([_ends(unit), _extremes(unit)])
    left = max(2, count - len(special))
    tied = _tied(unit, left // 2, rng)
    drawn = rng.integers(CODE.min, CODE.max, (left - left // 2, unit.features), endpoint=True)
    rows = np.concatenate([special, tied, drawn])
    labels = {
        "row": np.repeat(np.arange(len(rows)), unit.outputs),
        "output": np.tile(np.arange(unit.outputs), len(rows)),
    }
    return Stimulus(
        inputs={"x": rows},
        labels=labels,
        results=lambda engine: evaluate(unit, rows, engine).reshape(-1),
        exhaustive=False,
        scope=f"rows at the ends of the codes, of extreme sums, at ties and at random (seed {seed})",
        count=len(rows),
    )


def evaluate(unit: LutMatmul, rows: np.ndarray, engine: str) -> np.ndarray:
    """Results of rows of inputs [n, features] in software, int64 [n, outputs]."""
    import torch

    codes = torch.from_numpy(rows.astype(np.int8))
    if engine == "reference":
        return unit(codes).to(torch.int64).numpy()
    from hwlut import ops

    check_device(engine)
    return ops.lut_matmul(codes.to(engine), unit).cpu().to(torch.int64).numpy()


def _ends(unit: LutMatmul) -> np.ndarray:
    return np.repeat(np.array([CODE.min, CODE.max, unit.zero_point], np.int64)[:, None], unit.features, 1)


def _extremes(unit: LutMatmul) -> np.ndarray:
    """Rows of the least and of the greatest sums of a few outputs, those with the widest sums among them."""
    spread = (unit.table.max(1).astype(np.int64) - unit.table.min(1)).sum(0)
    outputs = np.argsort(-spread)[:_EXTREME_OUTPUTS]
    least, greatest = unit.table.argmin(1)[:, outputs], unit.table.argmax(1)[:, outputs]
    return _reaching(unit, np.concatenate([least, greatest], 1).T)


def _reaching(unit: LutMatmul, indices: np.ndarray) -> np.ndarray:
    """Rows whose sub-vectors have the prototypes `indices` [n, C]; where none has, other ones."""
    codebooks = np.arange(unit.codebooks)
    if unit.prototypes is not None:
        return _cut(unit, unit.prototypes[codebooks, indices].astype(np.int64))
    found = np.full((*indices.shape, unit.v), unit.zero_point, np.int64)
    low, high = (np.full(found.shape, end, np.int64) for end in (CODE.min, CODE.max))
    for place, threshold, right in _path(unit, lambda level: indices >> (unit.depth - 1 - level) & 1):
        raised = np.maximum(low[place], threshold)
        lowered = np.minimum(high[place], threshold - 1)
        low[place], high[place] = np.where(right, raised, low[place]), np.where(right, high[place], lowered)
    return _cut(unit, np.clip(found, low, np.maximum(low, high)))


def _path(unit: LutMatmul, turn: Callable[[int], np.ndarray]) -> Iterator[tuple[_Place, np.ndarray, np.ndarray]]:
    """Of a way down every tree, by whether it turns right at each level [n, C]: where the input of the level stands in
    [n, C, v], its threshold and the turn.
    """
    assert unit.thresholds is not None and unit.dimensions is not None
    codebooks = np.arange(unit.codebooks)
    node: np.ndarray = np.zeros((1, unit.codebooks), np.int64)
    for level in range(unit.depth):
        right = turn(level)
        rows = np.arange(len(right))[:, None]
        node = np.broadcast_to(node, right.shape)
        place = (rows, codebooks, unit.dimensions[:, level])
        yield place, unit.thresholds[codebooks, node].astype(np.int64), right
        node = 2 * node + 1 + right


def _tied(unit: LutMatmul, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of inputs at prototypes, halfway between two of them, or next to that; at thresholds, or one below."""
    if unit.encoder is Encoder.TREE:
        found = rng.integers(CODE.min, CODE.max, (count, unit.codebooks, unit.v), endpoint=True)
        turns = rng.integers(0, 2, (unit.depth, count, unit.codebooks))
        # From the leaves up: where two levels compare one input, the upper one decides.
        for place, threshold, right in reversed(list(_path(unit, lambda level: turns[level]))):
            found[place] = np.maximum(threshold - 1 + right, CODE.min)
        return _cut(unit, found)
    assert unit.prototypes is not None
    codebooks = np.arange(unit.codebooks)
    first, other = (rng.integers(0, unit.k, (count, unit.codebooks)) for _ in range(2))
    near = _neighbours(unit)[codebooks, first]
    second = np.where(rng.random(first.shape) < 0.7, near, other)
    a, b = (unit.prototypes[codebooks, index].astype(np.int64) for index in (first, second))
    between = np.where(rng.integers(0, 2, (count, 1, 1)), (a + b + rng.integers(0, 2, a.shape)) >> 1, a)
    beside = rng.integers(-1, 2, a.shape) * (rng.random(a.shape) < 0.2)
    return _cut(unit, np.clip(between + beside, CODE.min, CODE.max))


def _neighbours(unit: LutMatmul) -> np.ndarray:
    """The prototype that is nearest to each one, [C, K]."""
    assert unit.prototypes is not None
    found = np.empty(unit.prototypes.shape[:2], np.int64)
    for codebook, prototypes in enumerate(unit.prototypes.astype(np.int32)):
        for number, prototype in enumerate(prototypes):
            away = np.abs(prototypes - prototype).sum(1)
            away[number] = np.iinfo(away.dtype).max
            found[codebook, number] = away.argmin()
    return found


def _cut(unit: LutMatmul, parts: np.ndarray) -> np.ndarray:
    """Sub-vectors [n, C, v] as rows of inputs [n, features]."""
    return parts.reshape(len(parts), -1)[:, : unit.features]
