"""What a tile is told, by name: computations, loads and marks, and the command words that they become."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hwlut.accel.commands import (
    END,
    IMMEDIATE_BITS,
    OPERATIONS,
    ROUNDINGS,
    Destination,
    Mode,
    Opcode,
    Reduction,
    Register,
    Requantization,
    Target,
    WSource,
    XSource,
    YSource,
    command,
    start,
)
from hwlut.fixed import Rounding
from hwlut.units.tile import ADDRESS_BITS, Operation, Tile

__all__ = [
    "Compute",
    "Flags",
    "Load",
    "Loops",
    "Mark",
    "Stream",
    "encode",
]

NONE = -1


@dataclass(frozen=True)
class Loops:
    """Sizes of a nest, the innermost first; none is a single step."""

    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stream:
    """Addresses along a nest: the first, and what one step of each level adds."""

    base: int = 0
    strides: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What the registers describe when COMPUTE comes.

    Parameters
    ----------
    mode: see `Mode`.
    feed: the nest of x and, in all modes but VECTOR, of w. x, w: their addresses.
    step: the nest of y and k, a step each number that goes through a lane. y, k: their addresses.
    store: the nest of z, a step each result. z: its addresses; of operands, word * columns' power of two + column.
    count: feed steps of a sum, of a reduced group, of a code.
    period: least cycles of these; at least `columns` in the modes ARRAY and LOOK_UP.
    columns: sums of the array that are stored.
    x_source, w_source, y_source, destination: see there.
    multiplier: which of the tile's.
    offset: whether the constant's offset is added to x first.
    operation: of x and y: one of the tile's, "y" for y alone, None for x alone. swap: of y and x.
    rounding, bits: of shift_right; how many of bits.
    reduction: over `count` numbers.
    operator: which of the tile's, or -1.
    low, high: what is clamped to before requantization.
    requantization: see there. factor, shift: of its registers. requantize_rounding, zero_point.
    least, most: what is clamped to behind a requantization.
    table: which one, or -1.
    where: write only where y is not 0.
    wait: for loads to be done.
    """

    mode: Mode = Mode.VECTOR
    feed: Loops = Loops()
    x: Stream = Stream()
    w: Stream = Stream()
    step: Loops = Loops()
    y: Stream = Stream()
    k: Stream = Stream()
    store: Loops = Loops()
    z: Stream = Stream()
    count: int = 1
    period: int = 1
    columns: int = 1
    x_source: XSource = XSource.VALUES
    w_source: WSource = WSource.WEIGHTS
    multiplier: int = 0
    y_source: YSource = YSource.IMMEDIATE
    offset: bool = False
    operation: Operation | str | None = None
    swap: bool = False
    rounding: Rounding = Rounding.HALF_UP
    bits: int = 0
    reduction: Reduction = Reduction.NONE
    operator: int = NONE
    immediate: int = 0
    low: int = -(1 << (IMMEDIATE_BITS - 1))
    high: int = (1 << (IMMEDIATE_BITS - 1)) - 1
    requantization: Requantization = Requantization.NONE
    factor: int = 0
    shift: int = 0
    requantize_rounding: Rounding = Rounding.HALF_UP
    zero_point: int = 0
    least: int = -(1 << (IMMEDIATE_BITS - 1))
    most: int = (1 << (IMMEDIATE_BITS - 1)) - 1
    table: int = NONE
    destination: Destination = Destination.VALUES
    where: bool = False
    wait: bool = False

    def registers(self, tile: Tile) -> dict[int, int]:
        """The content of every register that the tile has, as unsigned 48-bit numbers."""
        found: dict[int, int] = {}
        nests = (
            (Register.FEED_SIZES, self.feed, ((Register.X_DELTAS, self.x), (Register.W_DELTAS, self.w))),
            (Register.STEP_SIZES, self.step, ((Register.Y_DELTAS, self.y), (Register.K_DELTAS, self.k))),
            (Register.STORE_SIZES, self.store, ((Register.Z_DELTAS, self.z),)),
        )
        for first, loops, streams in nests:
            sizes = loops.sizes + (1,) * (tile.loops - len(loops.sizes))
            found |= {first + level: size - 1 for level, size in enumerate(sizes)}
            for register, stream in streams:
                found |= {register + level: delta for level, delta in enumerate(_deltas(sizes, stream.strides))}
        bases = (self.x, self.w, self.y, self.k, self.z)
        found |= {Register.X_BASE + number: stream.base for number, stream in enumerate(bases)}
        found |= {
            Register.COUNT: self.count - 1,
            Register.PERIOD: self.period - 1,
            Register.COLUMNS: self.columns - 1,
            Register.FLAGS: Flags.of(self),
            Register.IMMEDIATE: self.immediate,
            Register.LOW: self.low,
            Register.HIGH: self.high,
            Register.MULTIPLIER: self.factor,
            Register.SHIFT: self.shift,
            Register.ZERO_POINT: self.zero_point,
            Register.LEAST: self.least,
            Register.MOST: self.most,
        }
        return {register: _unsigned(value) for register, value in found.items()}


def _deltas(sizes: tuple[int, ...], strides: tuple[int, ...]) -> Iterator[int]:
    """What is added to an address when a level advances and those within begin anew."""
    back = 0
    for size, stride in zip(sizes, strides + (0,) * (len(sizes) - len(strides))):
        yield (stride - back) % (1 << ADDRESS_BITS)
        back += stride * (size - 1)


def _unsigned(value: int, bits: int = IMMEDIATE_BITS) -> int:
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise ValueError(f"Tile register must hold {bits} bits, not {value}")
    return value % (1 << bits)


class Flags:
    """The fields of the register FLAGS, by name: lowest bit and bits."""

    FIELDS: Mapping[str, tuple[int, int]] = {
        "mode": (0, 2),
        "x_source": (2, 1),
        "w_source": (3, 1),
        "multiplier": (4, 4),
        "y_source": (8, 2),
        "offset": (10, 1),
        "operation": (11, 4),
        "swap": (15, 1),
        "rounding": (16, 2),
        "bits": (18, 6),
        "reduction": (24, 2),
        "operator": (26, 5),  # 0 for none, else its number + 1
        "requantization": (31, 2),
        "requantize_rounding": (33, 2),
        "table": (35, 4),  # likewise
        "destination": (39, 2),
        "where": (41, 1),
    }

    @classmethod
    def of(cls, compute: Compute) -> int:
        """The content of the register."""
        numbers = {name: getattr(compute, name) for name in cls.FIELDS} | {
            "operation": OPERATIONS.index(compute.operation),
            "rounding": ROUNDINGS.index(compute.rounding),
            "requantize_rounding": ROUNDINGS.index(compute.requantize_rounding),
            "operator": compute.operator + 1,
            "table": compute.table + 1,
        }
        word = 0
        for name, (low, bits) in cls.FIELDS.items():
            if not 0 <= (number := int(numbers[name])) < 1 << bits:
                raise ValueError(f"Tile flag {name} must hold {bits} bits, not {number}")
            word |= number << low
        return word


@dataclass(frozen=True, kw_only=True)
class Load:
    """Words of a memory from the stream of data: `count` of them, from `address` on; `wait`: for computing to end."""

    target: Target
    address: int
    count: int
    wait: bool = False


@dataclass(frozen=True)
class Mark:
    """The counters, under a number."""

    number: int


@dataclass
class Registers:
    """What a tile's registers hold while its commands are written; unknown at first."""

    tile: Tile
    held: dict[int, int] = field(default_factory=dict)

    def changed(self, compute: Compute) -> dict[int, int]:
        """The registers that must be set for `compute`, which they then hold."""
        wanted = compute.registers(self.tile)
        found = {register: value for register, value in wanted.items() if self.held.get(register) != value}
        self.held |= found
        return found


def encode(tile: Tile, instructions: Iterable[Compute | Load | Mark]) -> list[int]:
    """The words of a whole run of a `tile`: START, what the `instructions` need, END."""
    registers, words = Registers(tile), [start(tile)]
    for each in instructions:
        if isinstance(each, Compute):
            words += [command(Opcode.SET, register, value) for register, value in registers.changed(each).items()]
            words.append(command(Opcode.COMPUTE, int(each.wait)))
        elif isinstance(each, Load):
            argument = each.target | each.wait << 7
            words.append(command(Opcode.LOAD, argument, each.address | each.count << ADDRESS_BITS))
        else:
            words.append(command(Opcode.MARK, value=each.number))
    return [*words, END]
