"""The command words of a tile: opcodes, registers, and what their fields can be.

docs/tile.md says what each does, and when.
"""

import enum

from hwlut.fixed import Rounding
from hwlut.units.tile import Operation, Tile

__all__ = [
    "Destination",
    "END",
    "Error",
    "IMMEDIATE_BITS",
    "Mode",
    "OPERATIONS",
    "Opcode",
    "ROUNDINGS",
    "Reduction",
    "Register",
    "Requantization",
    "Target",
    "XSource",
    "YSource",
    "command",
    "start",
]

IMMEDIATE_BITS = 48
"""Bits of a command's value."""


class Opcode(enum.IntEnum):
    """Bits 63 to 56 of a command."""

    START = 1  # value: the low bits of the tile's digest
    SET = 2  # argument: a register; value: its content
    COMPUTE = 3  # argument: 1 to wait for loads
    LOAD = 4  # argument: a target, plus 128 to wait for computing; value: address, count << 24
    MARK = 5  # value: a number that comes back with the counters
    END = 6


class Error(enum.IntEnum):
    """Why a run is over before its END."""

    UNKNOWN_OPCODE = 1
    UNKNOWN_REGISTER = 2
    OUT_OF_RUN = 3  # a command before START, or START within a run
    OTHER_TILE = 4  # START with another digest
    LACKING = 5  # a flag, target, multiplier, operator or table that the tile does not have
    NOT_READY = 6  # a row reached an operator that was not ready


class Target(enum.IntEnum):
    """The memory that a LOAD fills."""

    WEIGHTS = 0
    CONSTANTS = 1
    TABLES = 2
    INPUTS = 3


class Register(enum.IntEnum):
    """Bits 55 to 48 of a SET. Levels of a loop nest follow each other from the innermost on."""

    FEED_SIZES = 0x00  # sizes - 1
    STEP_SIZES = 0x08
    STORE_SIZES = 0x10
    X_DELTAS = 0x18
    W_DELTAS = 0x20
    Y_DELTAS = 0x28
    K_DELTAS = 0x30
    Z_DELTAS = 0x38
    X_BASE = 0x40
    W_BASE = 0x41
    Y_BASE = 0x42
    K_BASE = 0x43
    Z_BASE = 0x44
    COUNT = 0x48  # count - 1
    PERIOD = 0x49  # period - 1
    COLUMNS = 0x4A  # columns - 1
    FLAGS = 0x4B
    IMMEDIATE = 0x50
    LOW = 0x51
    HIGH = 0x52
    MULTIPLIER = 0x53
    SHIFT = 0x54
    ZERO_POINT = 0x55
    LEAST = 0x56
    MOST = 0x57


class Mode(enum.IntEnum):
    """Who takes what the feed nest addresses."""

    VECTOR = 0  # the lanes, number by number
    ARRAY = 1  # the cells, whose sums go through the lanes
    LOOK_UP = 2  # likewise, entries of weights picked by codes
    ENCODE = 3  # the encoders, whose codes go through the lanes


class XSource(enum.IntEnum):
    """Where lanes, or cells, have their first numbers from."""

    VALUES = 0
    INPUTS = 1


class WSource(enum.IntEnum):
    """Second operands of cells: the same in all rows, or each row's own."""

    WEIGHTS = 0
    OPERANDS = 1


class YSource(enum.IntEnum):
    """Where lanes have their second numbers from."""

    IMMEDIATE = 0
    OFFSET = 1  # of the constant
    VALUES = 2


class Reduction(enum.IntEnum):
    """What a lane makes of the numbers of an output."""

    NONE = 0
    SUM = 1
    MAXIMUM = 2


class Requantization(enum.IntEnum):
    """Where multiplier and shift come from."""

    NONE = 0
    REGISTERS = 1
    CONSTANT = 2


class Destination(enum.IntEnum):
    """Where results go."""

    VALUES = 0
    OPERANDS = 1
    OUTPUT = 2


OPERATIONS: tuple[Operation | None | str, ...] = (None, "y", *Operation)
"""Operations by their number in a command: x, y, and what a tile may have."""

ROUNDINGS = tuple(Rounding)
"""Roundings by their number in a command."""


def command(opcode: Opcode, argument: int = 0, value: int = 0) -> int:
    """A command's word: `opcode` in bits 63 to 56, `argument` in bits 55 to 48, `value` below."""
    return opcode << 56 | argument << 48 | value


def start(tile: Tile) -> int:
    """The command that a tile of another digest refuses."""
    return command(Opcode.START, value=int(tile.digest, 16) % (1 << 48))


END = command(Opcode.END)
"""The command that ends a run."""
