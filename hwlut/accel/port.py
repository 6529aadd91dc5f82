"""What a tile tells of its runs: marks, the registers of its AXI4-Lite port, and its activity."""

import enum
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hwlut.accel.commands import Error
from hwlut.units.tile import Tile

__all__ = [
    "ACTIVITY",
    "ADDRESS_BITS",
    "Access",
    "COUNTERS",
    "MARK_FIELDS",
    "PortField",
    "PortRegister",
    "VERSION",
    "port_registers",
]

ADDRESS_BITS = 8
"""Of the port's byte addresses."""

VERSION = 1
"""Of commands, streams and registers."""

_PARAMETERS = 0x40
"""Address of the first of a tile's parameters."""

_IDENTITY = int.from_bytes(b"HWLT", "big")

ACTIVITY = (
    "feeding",
    "draining",
    "storing",
    "loading",
    "stalled_commands",
    "stalled_data",
    "stalled_results",
)
"""What the bits of a tile's output ``activity`` say of a cycle, from bit 0 on."""


COUNTERS = {"cycles": 48, "stalled_commands": 32, "stalled_data": 32, "stalled_results": 32, "commands": 32}
"""What a mark tells of the run, and its bits."""

MARK_FIELDS = {"number": 48} | COUNTERS | {"error": 8}
"""A beat of marks, from the low end on."""


class Access(str, enum.Enum):
    """What may be done with a register: read it, as it always is or as the run goes, or write it."""

    CONSTANT = "constant"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class PortField:
    """Bits of a register, the lowest of them `lsb`."""

    name: str
    lsb: int
    bits: int
    description: str


@dataclass(frozen=True)
class PortRegister:
    """A word of 32 bits at a byte address.

    reset: its content after a reset, and of a constant always. A register without fields is
    one number.
    """

    name: str
    address: int
    access: Access
    reset: int
    description: str
    fields: tuple[PortField, ...] = ()

    def content(self) -> dict[str, Any]:
        """In JSON form, as the ``.rtl.json`` has it."""
        return asdict(self) | {"access": self.access.value}


_RUN = (
    (
        "CONTROL",
        Access.WRITE,
        "What is written as 1 is done once",
        (
            PortField("CLEAR", 0, 1, "end the run and its error, and empty the queues, as a reset does"),
            PortField("ACKNOWLEDGE", 1, 1, "take the interrupt back"),
        ),
    ),
    (
        "STATUS",
        Access.READ,
        "How the run stands",
        (
            PortField("RUNNING", 0, 1, "between START and END"),
            PortField("FAILED", 1, 1, "ended by an error"),
            PortField("INTERRUPT", 2, 1, "a run has ended or failed since the last ACKNOWLEDGE"),
        ),
    ),
    ("ERROR", Access.READ, "0, or " + ", ".join(f"{error.value} {error.name}" for error in Error), ()),
    ("RUNS", Access.READ, "Runs that came to their END since the last reset or CLEAR", ()),
    ("CYCLES", Access.READ, "Cycles of the run without stalls, low word; reading it holds the high word", ()),
    ("CYCLES_HIGH", Access.READ, "Their high word, as it was when CYCLES was read", ()),
    ("STALLED_COMMANDS", Access.READ, "Cycles of the run that waited for a command", ()),
    ("STALLED_DATA", Access.READ, "Cycles of the run that waited for a beat of data", ()),
    ("STALLED_RESULTS", Access.READ, "Cycles of the run that waited for room for a result or a mark", ()),
    ("COMMANDS", Access.READ, "Commands of the run; of a failed one, the place of the command that failed", ()),
    ("DATA_BEATS", Access.READ, "Beats of data that the run has loaded", ()),
    ("RESULT_BEATS", Access.READ, "Beats of results that the run has given", ()),
)


def _parameters(tile: Tile) -> Iterator[tuple[str, int, str]]:
    yield "ROWS", tile.rows, "Samples at once"
    yield "COLUMNS", tile.columns, "Outputs at once"
    yield "MULTIPLIERS", len(tile.multipliers), "Multipliers to choose from"
    yield "ENTRIES", tile.entries, "Entries of look-up products, 0 for none"
    yield "ACCUMULATOR_BITS", tile.accumulator_bits, "Of a cell's sum"
    yield "VALUE_BITS", tile.value_bits, "Of a lane's number"
    yield "INPUT_BITS", tile.input_bits, "Of a code that comes in"
    yield "WEIGHT_BITS", tile.weight_bits, "Of a word of weights, for each column"
    yield "CONSTANT_BITS", tile.constant_bits, "Of a word of constants"
    yield "BEAT_BYTES", tile.beat_bytes, "Of a beat of data or results"
    yield "OPERATORS", len(tile.operators), "Operators"
    yield "TABLE_INPUTS", tile.table_inputs, "Bits of a table's codes, 0 for no tables"
    yield "TABLE_OUTPUTS", tile.table_outputs, "Bits of a table's entries"
    yield "TABLES", tile.tables, "Tables held at once"
    yield "LOOPS", tile.loops, "Levels of each nest"
    yield "VALUES", tile.values, "Words of values"
    yield "INPUTS", tile.inputs, "Words of inputs"
    yield "WEIGHTS", tile.weights, "Words of weights"
    yield "CONSTANTS", tile.constants, "Words of constants"
    yield "OPERANDS", tile.operands, "Words of operands"


def port_registers(tile: Tile) -> tuple[PortRegister, ...]:
    """The registers of a tile's port: what it is, how its run stands, and its parameters from 0x40 on."""
    what = (
        ("IDENTITY", _IDENTITY, "Says that this is a tile"),
        ("VERSION", VERSION, "Of the interface"),
        ("DIGEST", int(tile.digest, 16) % (1 << 32), "The low bits of the tile's digest"),
    )
    return (
        *_constants(what, 0),
        *(
            PortRegister(name, address, access, 0, text, fields)
            for address, (name, access, text, fields) in zip(itertools.count(4 * len(what), 4), _RUN)
        ),
        *_constants(_parameters(tile), _PARAMETERS),
    )


def _constants(found: Iterable[tuple[str, int, str]], first: int) -> Iterator[PortRegister]:
    for address, (name, value, text) in zip(itertools.count(first, 4), found):
        yield PortRegister(name, address, Access.CONSTANT, value, text)
