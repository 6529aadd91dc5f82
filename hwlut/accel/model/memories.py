"""What a tile's memories hold."""

import numpy as np

from hwlut.accel.commands import Target
from hwlut.accel.instructions import Load
from hwlut.accel.model.numbers import from_bits, from_bytes, low_bits
from hwlut.accel.model.room import check_room, word_count
from hwlut.accel.timing import word_bits
from hwlut.fixed import Fixed
from hwlut.units.lut_matmul import CODE
from hwlut.units.tile import SHIFT_BITS, Tile

__all__ = ["Memories"]

_THRESHOLD_BITS = 9


class Memories:
    """The memories of a tile, at first 0; addresses are taken modulo the first of each shape.

    values: int64 [words, rows].
    inputs: int64 [words, rows].
    weights: uint8 [words, bytes], the low end first.
    constants: int64 [words, 3]: offset, multiplier, shift.
    tables: int64 [tables * 2^table_inputs].
    operands: int64 [words * columns' power of two, rows]: the low bits of numbers, never negative.

    Raises ValueError where the machine has no room for them.
    """

    def __init__(self, tile: Tile):
        check_room(tile)
        self._tile = tile
        self.values = np.zeros((word_count(tile.values), tile.rows), np.int64)
        self.inputs = np.zeros((word_count(tile.inputs), tile.rows), np.int64)
        self.weights = np.zeros((word_count(tile.weights), -(-word_bits(tile, Target.WEIGHTS) // 8)), np.uint8)
        self.constants = np.zeros((word_count(tile.constants), 3), np.int64)
        self.tables = np.zeros(word_count(tile.tables) << tile.table_inputs, np.int64)
        self.operands = np.zeros((word_count(tile.operands) * word_count(tile.columns), tile.rows), np.int64)

    def load(self, load: Load, beats: np.ndarray) -> None:
        """Fill words from beats, uint8 [beats, beat_bytes]."""
        if not load.count:
            return
        held: np.ndarray = getattr(self, load.target.name.lower())
        words = (load.address + np.arange(load.count)) % len(held)
        held[words] = self._read(load.target, beats.reshape(load.count, -1))

    def _read(self, target: Target, data: np.ndarray) -> np.ndarray:
        tile = self._tile
        if target is Target.INPUTS:
            return from_bytes(data.reshape(len(data), tile.rows, tile.lane_bytes), tile.input_bits)
        if target is Target.TABLES:
            return from_bytes(data[:, :8], tile.table_outputs)
        if target is Target.WEIGHTS:
            return data[:, : self.weights.shape[1]]
        bits = np.unpackbits(data, axis=1, bitorder="little")
        offset, factor, shift = np.split(
            bits[:, : tile.constant_bits], np.cumsum((tile.offset_bits, tile.factor_bits)), axis=1
        )
        assert shift.shape[1] == SHIFT_BITS
        return np.stack([from_bits(offset), from_bits(factor, False), from_bits(shift, False)], axis=1)

    def operand_words(self, first: int, last: int, format: Fixed) -> np.ndarray:
        """Second operands int64 [words, columns] in the words of weights from `first` to `last`."""
        columns = self._columns(first, last, self._tile.columns)
        return from_bits(columns[..., : format.bits], format.signed)

    def entry_words(self, first: int, last: int) -> np.ndarray:
        """Entries of look-ups int64 [words, K, columns]."""
        columns = self._columns(first, last, self._tile.columns)
        return self._parts(columns, self._tile.entries, self._tile.entry_bits).swapaxes(1, 2)

    def prototype_words(self, first: int, last: int) -> np.ndarray:
        """Numbers of prototypes int64 [words, K]."""
        return self._parts(self._columns(first, last, 1)[:, 0], self._tile.entries, CODE.bits)

    def threshold_words(self, first: int, last: int) -> np.ndarray:
        """Thresholds int64 [words, K - 1]."""
        return self._parts(self._columns(first, last, 1)[:, 0], self._tile.entries - 1, _THRESHOLD_BITS)

    def row_operands(self, words: np.ndarray, format: Fixed) -> np.ndarray:
        """Each row's own second operands, int64 [n, columns, rows], in words of operands."""
        columns = np.arange(self._tile.columns)
        places = (words[:, None] * word_count(self._tile.columns) + columns) % len(self.operands)
        return low_bits(self.operands[places], format)

    def _columns(self, first: int, last: int, columns: int) -> np.ndarray:
        """Bits uint8 [words, columns, weight_bits] of the first columns of words of weights."""
        size = columns * self._tile.weight_bits
        bits = np.unpackbits(self.weights[first : last + 1, : -(-size // 8)], axis=1, count=size, bitorder="little")
        return bits.reshape(len(bits), columns, self._tile.weight_bits)

    @staticmethod
    def _parts(bits: np.ndarray, count: int, size: int) -> np.ndarray:
        """Numbers int64 [..., count] of `size` bits after each other."""
        return from_bits(bits[..., : count * size].reshape(*bits.shape[:-1], count, size))
