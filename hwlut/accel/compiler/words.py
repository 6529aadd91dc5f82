"""Words of memories as beats of the stream of data."""

from dataclasses import dataclass

import numpy as np

from hwlut.accel.commands import Target
from hwlut.units.tile import SHIFT_BITS, Tile

__all__ = ["Segment", "codes_as_beats", "constants", "results", "tables", "weights"]


@dataclass(frozen=True, eq=False)
class Segment:
    """Words that are loaded together: `count` of them, as uint8 [beats, bytes]."""

    target: Target
    count: int
    beats: np.ndarray


def _bits(values: np.ndarray, count: int) -> np.ndarray:
    """The low bits of integers, the lowest first, on a last axis of its own."""
    return (values[..., None] >> np.arange(count) & 1).astype(np.uint8)


def _segment(tile: Tile, target: Target, bits: np.ndarray) -> Segment:
    """Of words [n, bits]."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % tile.beat_bytes)))
    return Segment(target, len(bits), packed.reshape(-1, tile.beat_bytes))


def weights(tile: Tile, values: np.ndarray, bits: int) -> Segment:
    """Words of `values` [n, columns, numbers of a column], each number of so many bits; missing columns are 0."""
    words, columns, count = values.shape
    held = np.zeros((words, tile.columns, tile.weight_bits), np.uint8)
    held[:, :columns, : count * bits] = _bits(values, bits).reshape(words, columns, -1)
    return _segment(tile, Target.WEIGHTS, held.reshape(words, -1))


def constants(tile: Tile, offsets: np.ndarray, factors: np.ndarray, shifts: np.ndarray) -> Segment:
    """Words of an offset, a multiplier and a shift each."""
    parts = (offsets, tile.offset_bits), (factors, tile.factor_bits), (shifts, SHIFT_BITS)
    return _segment(tile, Target.CONSTANTS, np.concatenate([_bits(values, bits) for values, bits in parts], 1))


def tables(tile: Tile, entries: np.ndarray) -> Segment:
    """A table's entries by their code's low bits."""
    return _segment(tile, Target.TABLES, _bits(entries, tile.table_outputs))


def codes_as_beats(tile: Tile, codes: np.ndarray) -> np.ndarray:
    """Beats, uint8 [n, bytes], of numbers [n, rows]."""
    parts = np.ascontiguousarray(codes, "<i8").view(np.uint8).reshape(*codes.shape, 8)
    return parts[..., : tile.lane_bytes].reshape(len(codes), -1)


def results(tile: Tile, beats: np.ndarray) -> np.ndarray:
    """Numbers [n, rows] of beats: the inverse, from value_bits on sign-extended."""
    parts = beats[:, : tile.beat_bytes].reshape(len(beats), tile.rows, tile.lane_bytes).astype(np.int64)
    found = (parts << 8 * np.arange(tile.lane_bytes)).sum(-1)
    half = 1 << (tile.value_bits - 1)
    return (found & (2 * half - 1) ^ half) - half
