"""Whether there is room for a tile's memories, told before any of it is taken."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from hwlut.accel.commands import Target
from hwlut.accel.timing import word_bits
from hwlut.units.tile import SHIFT_BITS, Tile

__all__ = ["check_room", "check_written", "listed", "needed", "word_count"]

_LISTED = 16  # bytes: Amaranth lists the words of every memory, twice


def word_count(count: int) -> int:
    """What the low bits of an address tell apart."""
    return 1 << (count - 1).bit_length() if count else 0


def needed(tile: Tile) -> dict[str, int]:
    """Bytes of each memory in the model; hardware that is simulated takes no more."""
    return {
        "values": 8 * word_count(tile.values) * tile.rows,
        "inputs": 8 * word_count(tile.inputs) * tile.rows,
        "weights": word_count(tile.weights) * -(-word_bits(tile, Target.WEIGHTS) // 8),
        "constants": 24 * word_count(tile.constants),
        "tables": 8 * word_count(tile.tables) << tile.table_inputs,
        "operands": 8 * word_count(tile.operands) * word_count(tile.columns) * tile.rows,
    }


def listed(tile: Tile) -> dict[str, int]:
    """Bytes for each of its memories while its Verilog is written, whatever the bits of a word."""
    constants = (tile.offset_bits, tile.factor_bits, SHIFT_BITS)
    return {
        "values": _LISTED * tile.values * tile.rows,
        "inputs": _LISTED * tile.inputs * tile.rows,
        "weights": _LISTED * tile.weights * _parts(tile, [tile.weight_bits] * tile.columns),
        "constants": _LISTED * tile.constants * _parts(tile, constants),
        "tables": _LISTED * (tile.tables << tile.table_inputs) * tile.rows if tile.table_inputs else 0,
        "operands": _LISTED * tile.operands * tile.rows,
    }


def _parts(tile: Tile, fields: Sequence[int]) -> int:
    """Memories for words of fields of so many bits: one for each part of a field that comes in another beat."""
    beat, ends = 8 * tile.beat_bytes, list(accumulate(fields))
    return sum((end - 1) // beat - (end - bits) // beat + 1 for end, bits in zip(ends, fields))


def check_room(tile: Tile, copies: int = 1) -> None:
    """ValueError where so many copies of the tile's memories take more than this machine has free."""
    _check(needed(tile), copies)


def check_written(tile: Tile) -> None:
    """ValueError where writing the tile's Verilog takes more than this machine has free."""
    _check(listed(tile), 1)


def _check(bytes_: dict[str, int], copies: int) -> None:
    free = _free()
    if free is not None and copies * sum(bytes_.values()) > free:
        most = max(bytes_, key=bytes_.__getitem__)
        raise ValueError(
            f"Tile memories must take at most the {free >> 20} MiB that are free here, not {copies} x "
            f"{sum(bytes_.values()) >> 20} MiB, most of them for {most}"
        )


def _free() -> int | None:
    """Bytes of memory that can be taken, as Linux says; None where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
