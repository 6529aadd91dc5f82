"""What a tile's array and encoders make of a group's steps."""

from collections.abc import Callable, Iterator

import numpy as np

from hwlut.accel.commands import Mode, WSource
from hwlut.accel.instructions import Compute
from hwlut.accel.model.memories import Memories
from hwlut.accel.model.numbers import low_bits, wrap
from hwlut.units.families import Family
from hwlut.units.lut_matmul import CODE, Encoder
from hwlut.units.multiplier import Multiplier
from hwlut.units.tile import Tile

__all__ = ["Cells"]

_AT_ONCE = 1 << 18  # products held at a time
_EXACT = 1 << 53  # integers below it are exact in float64
_TABULATED = 1 << 20  # pairs of codes of which all products are held

_Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Cells:
    """The array and the encoders of a tile, which read weights and operands from `memories`."""

    def __init__(self, tile: Tile, memories: Memories):
        self._tile, self._memories = tile, memories
        self._products: dict[int, _Product] = {}

    def sums(self, compute: Compute, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Sums int64 [groups, columns, rows] of numbers x [groups, count, rows] and addresses w [groups, count]."""
        if compute.mode is Mode.LOOK_UP:
            found = self._looked_up(x, w)
        elif compute.w_source is WSource.OPERANDS:
            found = self._own(compute.multiplier, x, w)
        else:
            found = self._shared(compute.multiplier, x, w)
        return wrap(found[:, : compute.columns], self._tile.accumulator_bits)

    def codes(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Codes int64 [groups, rows] of inputs x [groups, count, rows] and addresses w [groups, count]."""
        x = low_bits(x, CODE)
        return self._leaves(x, w) if self._tile.encoder is Encoder.TREE else self._nearest(x, w)

    def _shared(self, number: int, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        multiplier = self._tile.multipliers[number]
        x = low_bits(x, multiplier.a)
        words, places = self._words(w, lambda first, last: self._memories.operand_words(first, last, multiplier.b))
        if _bound(multiplier, x.shape[1]):
            return _matmul(words[places].swapaxes(1, 2), x)
        product, found = self._product(number), self._zeros(x)
        for groups, part in self._slices(x):
            found[groups] += product(x[groups, part, None], words[places[groups, part]][..., None]).sum(1)
        return found

    def _own(self, number: int, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        multiplier = self._tile.multipliers[number]
        x = low_bits(x, multiplier.a)
        product, found = self._product(number), self._zeros(x)
        for groups, part in self._slices(x):
            words = self._memories.row_operands(w[groups, part].ravel(), multiplier.b)
            operands = words.reshape(*w[groups, part].shape, *words.shape[1:])
            found[groups] += product(x[groups, part, None], operands).sum(1)
        return found

    def _looked_up(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        words, places = self._words(w, self._memories.entry_words)
        entries = words.reshape(-1, words.shape[-1])
        picked = places[..., None] * self._tile.entries + (x & self._tile.entries - 1)
        found = self._zeros(x)
        for groups, part in self._slices(x):
            found[groups] += entries[picked[groups, part]].sum(1).swapaxes(1, 2)
        return found

    def _leaves(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        words, places = self._words(w, self._memories.threshold_words)
        node = np.zeros((len(x), x.shape[2]), np.int64)
        for level in range(x.shape[1]):
            node = 2 * node + 1 + (x[:, level] >= words[places[:, level, None], node])
        return node - (self._tile.entries - 1)

    def _nearest(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        words, places = self._words(w, self._memories.prototype_words)
        distances = np.zeros((len(x), x.shape[2], self._tile.entries), np.int64)
        for number in range(x.shape[1]):
            away = np.abs(x[:, number, :, None] - words[places[:, number], None])
            if self._tile.encoder is Encoder.CHEBYSHEV:
                np.maximum(distances, away, out=distances)
            else:
                distances += away * away if self._tile.encoder is Encoder.L2 else away
        return distances.argmin(-1)

    def _words(self, w: np.ndarray, read: Callable[[int, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The words of weights between the first and the last address, and the place of each address among them."""
        w = w % len(self._memories.weights)
        first = int(w.min())
        return read(first, int(w.max())), w - first

    def _zeros(self, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), self._tile.columns, x.shape[2]), np.int64)

    def _slices(self, x: np.ndarray) -> Iterator[tuple[slice, slice]]:
        """Groups and steps of which the products of all cells can be held."""
        groups, count, rows = x.shape
        steps = max(1, _AT_ONCE // (rows * self._tile.columns))
        part = min(count, steps)
        for group in range(0, groups, held := max(1, steps // part)):
            for first in range(0, count, part):
                yield slice(group, group + held), slice(first, first + part)

    def _product(self, number: int) -> _Product:
        if number not in self._products:
            self._products[number] = _product(self._tile.multipliers[number])
        return self._products[number]


def _bound(multiplier: Multiplier, count: int) -> bool:
    """Whether sums of so many products are float64 numbers, products as they are of integers."""
    return multiplier.family is Family.EXACT and multiplier.exact_bound(count) < _EXACT


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64)


def _product(multiplier: Multiplier) -> _Product:
    """Products of codes that broadcast, by the definition or all that it gives."""
    if multiplier.family is Family.EXACT:
        return np.multiply
    if multiplier.pairs <= _TABULATED:
        table = multiplier.products().numpy().astype(np.int64).ravel()
        a, b = multiplier.a, multiplier.b
        return lambda x, w: table[(x - a.min << b.bits) + (w - b.min)]

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        import torch

        return multiplier(torch.from_numpy(x), torch.from_numpy(w)).numpy().astype(np.int64)

    return product
