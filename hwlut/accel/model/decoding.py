"""From the words of a stream back to what they describe, and to what a tile finds wrong with one."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hwlut.accel.commands import (
    IMMEDIATE_BITS,
    OPERATIONS,
    ROUNDINGS,
    Destination,
    Error,
    Mode,
    Opcode,
    Reduction,
    Register,
    Requantization,
    Target,
    WSource,
    XSource,
    YSource,
    start,
)
from hwlut.accel.instructions import Compute, Flags, Load, Loops, Mark, Stream
from hwlut.units.tile import ADDRESS_BITS, SHIFT_BITS, Tile

__all__ = ["Command", "End", "Fault", "Set", "Start", "decode"]

_VALUE = (1 << IMMEDIATE_BITS) - 1
_ADDRESS = (1 << ADDRESS_BITS) - 1
_NESTS = (Register.FEED_SIZES, Register.STEP_SIZES, Register.STORE_SIZES)
_DELTAS = (Register.X_DELTAS, Register.W_DELTAS, Register.Y_DELTAS, Register.K_DELTAS, Register.Z_DELTAS)
_SINGLE = frozenset(range(Register.X_BASE, Register.Z_BASE + 1)) | frozenset(
    register for register in Register if register >= Register.COUNT
)


@dataclass(frozen=True)
class Start:
    """Begins a run."""


@dataclass(frozen=True)
class End:
    """Ends it."""


@dataclass(frozen=True)
class Set:
    """Content for a register."""

    register: int
    value: int


@dataclass(frozen=True)
class Fault:
    """A command with which the run is over, and why in words."""

    error: Error
    reason: str
    opcode: int
    argument: int


Command = Start | Set | Compute | Load | Mark | End | Fault


def decode(tile: Tile, words: Iterable[int]) -> Iterator[Command]:
    """What each word is to `tile`; it ends behind the first fault. Registers hold 0 at first."""
    decoder = _Decoder(tile)
    for word in words:
        command = decoder.command(word)
        yield command
        if isinstance(command, Fault):
            return


class _Decoder:
    def __init__(self, tile: Tile):
        self._tile, self._start = tile, start(tile)
        levels = {first + level for first in (*_NESTS, *_DELTAS) for level in range(tile.loops)}
        self._held = dict.fromkeys(sorted(levels | _SINGLE), 0)
        self._running = False

    def command(self, word: int) -> Command:
        opcode, argument, value = word >> 56, word >> 48 & 255, word & _VALUE
        if opcode == Opcode.SET and self._running:
            return self._set(argument, value)
        if not Opcode.START <= opcode <= Opcode.END:
            return Fault(Error.UNKNOWN_OPCODE, f"must have an opcode from 1 to 6, not {opcode}", opcode, argument)
        if self._running == (opcode == Opcode.START):
            reason = "START must not come within a run" if self._running else "must follow a START"
            return Fault(Error.OUT_OF_RUN, reason, opcode, argument)
        if opcode == Opcode.COMPUTE:
            return self._compute(argument)
        if opcode == Opcode.LOAD:
            return self._load(argument, value)
        if opcode == Opcode.MARK:
            return Mark(value)
        if opcode == Opcode.END:
            self._running = False
            return End()
        if word & _VALUE != self._start & _VALUE:
            reason = f"START must be for the tile {self._start & _VALUE:012x}, not {value:012x}"
            return Fault(Error.OTHER_TILE, reason, opcode, argument)
        self._running = True
        return Start()

    def _set(self, register: int, value: int) -> Set | Fault:
        if register not in self._held:
            reason = f"SET must be of a register that the tile has, not 0x{register:02x}"
            return Fault(Error.UNKNOWN_REGISTER, reason, Opcode.SET, register)
        self._held[register] = value
        return Set(register, value)

    def _load(self, argument: int, value: int) -> Load | Fault:
        target = argument & 127
        if target > max(Target) or (target == Target.TABLES and not self._tile.table_inputs):
            reason = f"LOAD must be of a memory that the tile has, not {target}"
            return Fault(Error.LACKING, reason, Opcode.LOAD, argument)
        return Load(
            target=Target(target), address=value & _ADDRESS, count=value >> ADDRESS_BITS, wait=bool(argument >> 7)
        )

    def _compute(self, argument: int) -> Compute | Fault:
        held = self._held
        flags = _fields(held[Register.FLAGS])
        if (lacking := _lacking(self._tile, flags)) is not None:
            return Fault(Error.LACKING, lacking, Opcode.COMPUTE, argument)
        feed, step, store = (self._sizes(first) for first in _NESTS)
        x, w, y, k, z = (
            self._stream(sizes, first, Register.X_BASE + number)
            for number, (sizes, first) in enumerate(zip((feed, feed, step, step, store), _DELTAS))
        )
        return Compute(
            mode=Mode(flags["mode"]),
            feed=Loops(feed),
            x=x,
            w=w,
            step=Loops(step),
            y=y,
            k=k,
            store=Loops(store),
            z=z,
            count=(held[Register.COUNT] & _ADDRESS) + 1,
            period=(held[Register.PERIOD] & _ADDRESS) + 1,
            columns=(held[Register.COLUMNS] & _ADDRESS) + 1,
            x_source=XSource(flags["x_source"]),
            w_source=WSource(flags["w_source"]),
            multiplier=flags["multiplier"],
            y_source=YSource(flags["y_source"]),
            offset=bool(flags["offset"]),
            operation=OPERATIONS[flags["operation"]],
            swap=bool(flags["swap"]),
            rounding=ROUNDINGS[flags["rounding"]],
            bits=flags["bits"],
            reduction=Reduction(flags["reduction"]),
            operator=flags["operator"] - 1,
            immediate=_signed(held[Register.IMMEDIATE]),
            low=_signed(held[Register.LOW]),
            high=_signed(held[Register.HIGH]),
            requantization=Requantization(flags["requantization"]),
            factor=held[Register.MULTIPLIER] & (1 << self._tile.factor_bits) - 1,
            shift=held[Register.SHIFT] & (1 << SHIFT_BITS) - 1,
            requantize_rounding=ROUNDINGS[flags["requantize_rounding"]],
            zero_point=_signed(held[Register.ZERO_POINT]),
            least=_signed(held[Register.LEAST]),
            most=_signed(held[Register.MOST]),
            table=flags["table"] - 1,
            destination=Destination(flags["destination"]),
            where=bool(flags["where"]),
            wait=bool(argument & 1),
        )

    def _sizes(self, first: int) -> tuple[int, ...]:
        return tuple((self._held[first + level] & _ADDRESS) + 1 for level in range(self._tile.loops))

    def _stream(self, sizes: tuple[int, ...], first: int, base: int) -> Stream:
        deltas = tuple(self._held[first + level] for level in range(self._tile.loops))
        return Stream(self._held[base] & _ADDRESS, _strides(sizes, deltas))


@functools.lru_cache(maxsize=1 << 12)
def _strides(sizes: tuple[int, ...], deltas: tuple[int, ...]) -> tuple[int, ...]:
    """A level's delta and what the levels within have added."""
    strides, within = [], 0
    for size, delta in zip(sizes, deltas):
        stride = _signed(delta + within, ADDRESS_BITS)
        strides.append(stride)
        within += stride * (size - 1)
    return tuple(strides)


def _signed(value: int, bits: int = IMMEDIATE_BITS) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def _fields(word: int) -> dict[str, int]:
    return {name: word >> low & (1 << bits) - 1 for name, (low, bits) in Flags.FIELDS.items()}


def _lacking(tile: Tile, flags: Mapping[str, int]) -> str | None:
    """What the flags ask for that the tile does not have, in words."""
    operations = {0, 1} | {OPERATIONS.index(each) for each in tile.operations}
    operands = bool(tile.operands)
    choices: dict[str, set[int]] = {
        "mode": _modes(tile),
        "w_source": {WSource.WEIGHTS, *([WSource.OPERANDS] if operands else [])},
        "multiplier": set(range(len(tile.multipliers) if flags["mode"] == Mode.ARRAY else 16)),
        "y_source": set(YSource),
        "operation": operations,
        "rounding": set(range(len(ROUNDINGS))),
        "reduction": set(Reduction),
        "operator": set(range(len(tile.operators) + 1)),
        "requantization": set(Requantization),
        "requantize_rounding": set(range(len(ROUNDINGS))),
        "table": set(range(tile.tables + 1 if tile.table_inputs else 1)),
        "destination": {Destination.VALUES, Destination.OUTPUT, *([Destination.OPERANDS] if operands else [])},
    }
    for name, allowed in choices.items():
        if flags[name] not in allowed:
            return f"COMPUTE flag {name} must be one that the tile has, not {flags[name]}"
    if flags["operator"] and flags["where"]:
        return "COMPUTE flag where must not be set with an operator"
    if flags["operator"] and flags["requantization"] == Requantization.CONSTANT:
        return "COMPUTE flag requantization must not be by the constant with an operator"
    return None


def _modes(tile: Tile) -> set[int]:
    modes: set[int] = {Mode.VECTOR}
    if tile.multipliers:
        modes.add(Mode.ARRAY)
    if tile.entries:
        modes |= {Mode.LOOK_UP, Mode.ENCODE}
    return modes
