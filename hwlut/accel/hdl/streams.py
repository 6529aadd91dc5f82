"""The beats of a tile's four streams."""

from hwlut.accel.commands import IMMEDIATE_BITS
from hwlut.accel.port import MARK_FIELDS
from hwlut.hdl.stream import Beat, BeatField
from hwlut.units.tile import Tile

__all__ = ["COMMAND", "MARK", "data_beat", "result_beat"]


def _unsigned(widths: dict[str, int]) -> tuple[BeatField, ...]:
    return tuple(BeatField(name, bits, False, None) for name, bits in widths.items())


COMMAND = Beat(_unsigned({"value": IMMEDIATE_BITS, "argument": 8, "opcode": 8}))
MARK = Beat(_unsigned(MARK_FIELDS))


def data_beat(tile: Tile) -> Beat:
    """A number of each row, in whole bytes; of what is wider, the fields after each other."""
    return Beat(_rows(tile, "x"))


def result_beat(tile: Tile) -> Beat:
    """A number of each row, in whole bytes; `last` on the last of a COMPUTE."""
    return Beat(_rows(tile, "y"), last=True)


def _rows(tile: Tile, name: str) -> tuple[BeatField, ...]:
    return tuple(BeatField(f"{name}{row}", 8 * tile.lane_bytes, True, None) for row in range(tile.rows))
