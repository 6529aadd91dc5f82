"""Tiles: parametrised accelerators of an array of multipliers, lanes of arithmetic and memories."""

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwlut.fields import Field, choice, integer, optional, shorten
from hwlut.fixed import Fixed
from hwlut.unit import Resources, Unit
from hwlut.units.lut_matmul import Encoder, LutMatmul
from hwlut.units.multiplier import Multiplier
from hwlut.units.nested import Nested
from hwlut.units.nodes import Extent
from hwlut.units.requantize import MULTIPLIER_BITS

__all__ = ["ADDRESS_BITS", "Operation", "REQUANTIZED_BITS", "SHIFT_BITS", "Tile"]

ADDRESS_BITS = 24
"""Of every memory's addresses and of loop counts."""

REQUANTIZED_BITS, SHIFT_BITS = 33, 6
"""Of a requantization: of the number, and of the shift in the constants' memory."""

_WORDS = (2, 1 << ADDRESS_BITS)
_MOST_UNITS = 16


class Operation(str, enum.Enum):
    """What a lane can do with an x and a y, before it reduces, requantizes and looks up."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    LESS = "less"
    EQUAL = "equal"
    SHIFT_LEFT = "shift_left"
    SHIFT_RIGHT = "shift_right"
    LEADING_ONE = "leading_one"
    BITS = "bits"


class _Units(Field):
    """Units of a kind, in files a list."""

    def __init__(self, kind: type[Unit]):
        self._item = Nested(kind)

    def coerce(self, label: str, value: Any) -> tuple[Unit, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{label} must be a sequence of units, not {shorten(value)}")
        if len(value) > _MOST_UNITS:
            raise ValueError(f"{label} must be at most {_MOST_UNITS}, not {len(value)}")
        found = tuple(self._item.coerce(f"{label}[{index}]", item) for index, item in enumerate(value))
        if len({unit.digest for unit in found}) < len(found):
            raise ValueError(f"{label} must differ from each other")
        return found

    def write(self, value: tuple[Unit, ...], path: str = "") -> list[dict[str, Any]]:
        return [self._item.write(unit, f"{path}.{index}") for index, unit in enumerate(value)]

    def arrays(self, value: tuple[Unit, ...], path: str) -> dict[str, np.ndarray]:
        parts = (self._item.arrays(unit, f"{path}.{index}") for index, unit in enumerate(value))
        return {where: array for part in parts for where, array in part.items()}


class _Operations(Field):
    """Operations, in files a list of their names, in the order of `Operation`."""

    def coerce(self, label: str, value: Any) -> tuple[Operation, ...]:
        names = [operation.value for operation in Operation]
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{label} must be a sequence of names, not {shorten(value)}")
        for item in value:
            if item not in names:
                raise ValueError(f"{label} must be of {', '.join(names)}, not {shorten(item)}")
        return tuple(operation for operation in Operation if operation in value)

    def write(self, value: tuple[Operation, ...], path: str = "") -> list[str]:
        return [operation.value for operation in value]


def _units(kind: type[Unit]) -> Any:
    return dataclasses.field(default=(), metadata={"field": _Units(kind)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile(Unit, schema="hwlut.tile/1"):
    """An accelerator that computes programs of tensors for several samples at once; see docs/tile.md.

    Each of its `rows` is a lane, which computes one sample; its array has a cell for each row and column, and adds up
    `columns` outputs of every sample at a time. It has no function of its own: what it computes comes as commands.

    Parameters
    ----------
    rows, columns: 1 to 64.
    multipliers: of every cell, at most 16, among which each layer chooses.
    entries: K of look-up products, a power of two from 2 to 256, or 0 for none. encoder: how a sub-vector becomes the
        index of an entry, given with entries alone. entry_bits: 4 or 8.
    accumulator_bits: of a cell, 8 to 48; sums are taken modulo 2^bits.
    value_bits: of a lane's numbers, two's complement, 8 to 48. input_bits: of the codes that come in, up to 32 and
        value_bits.
    factor_bits: of the multiplier of a requantization, 8 to 31.
    operations: what lanes can do beside moving, reducing, clamping and requantizing.
    operators: units of one input and one output, each in every lane: functions of codes or of rows.
    table_inputs: bits of the codes that tables are looked up by, up to 12 and `lane_bits`, 0 for no tables;
        table_outputs: of their entries, two's complement; tables: how many are held at once.
    loops: levels of each loop nest, 1 to 8.
    values, inputs, weights, constants, operands: words of the memories. A word of values, inputs and operands' columns
        has a number of every row; one of weights has an operand of every column.
    """

    rows: int = integer(1, 64, default=8)
    columns: int = integer(1, 64, default=8)
    multipliers: tuple[Multiplier, ...] = _units(Multiplier)
    entries: int = integer(0, 256, default=0)
    encoder: Encoder | None = optional(choice(Encoder))
    entry_bits: int = integer(4, 8, default=8)
    accumulator_bits: int = integer(8, 48, default=32)
    value_bits: int = integer(8, 48, default=32)
    input_bits: int = integer(1, 32, default=8)
    factor_bits: int = integer(8, MULTIPLIER_BITS, default=MULTIPLIER_BITS)
    operations: tuple[Operation, ...] = dataclasses.field(default=tuple(Operation), metadata={"field": _Operations()})
    operators: tuple[Unit, ...] = _units(Unit)
    table_inputs: int = integer(0, 12, default=0)
    table_outputs: int = integer(2, 32, default=9)
    tables: int = integer(1, 8, default=1)
    loops: int = integer(1, 8, default=6)
    values: int = integer(*_WORDS, default=1 << 14)
    inputs: int = integer(*_WORDS, default=1 << 11)
    weights: int = integer(*_WORDS, default=1 << 12)
    constants: int = integer(*_WORDS, default=1 << 10)
    operands: int = integer(0, 1 << ADDRESS_BITS, default=0)

    def validate(self) -> None:
        if bool(self.entries) != (self.encoder is not None):
            given = "left out" if self.encoder else "given"
            raise ValueError(f"Tile encoder must be {given} with {self.entries or 'no'} entries")
        if self.entries & (self.entries - 1) or self.entries == 1:
            raise ValueError(f"Tile entries must be 0 or a power of two from 2 to 256, not {self.entries}")
        if self.entry_bits not in (4, 8):
            raise ValueError(f"Tile entry_bits must be 4 or 8, not {self.entry_bits}")
        if not self.multipliers and not self.entries:
            raise ValueError("Tile must have multipliers or entries")
        if self.input_bits > self.value_bits:
            raise ValueError(f"Tile input_bits must be at most value_bits, {self.value_bits}, not {self.input_bits}")
        if self.table_inputs:
            self._check_tables()
        if self.operands == 1 or self.operands and not self.multipliers:
            raise ValueError(f"Tile operands must be 0, or with multipliers at least 2, not {self.operands}")
        for index, unit in enumerate(self.operators):
            self._check_operator(f"Tile operators[{index}]", unit)

    def _check_tables(self) -> None:
        if self.table_inputs > self.lane_bits:
            raise ValueError(
                f"Tile table_inputs must be at most {self.lane_bits}, the bits of a lane, not {self.table_inputs}"
            )
        if self.table_outputs > self.value_bits:
            raise ValueError(
                f"Tile table_outputs must be at most value_bits, {self.value_bits}, not {self.table_outputs}"
            )

    def _check_operator(self, label: str, unit: Unit) -> None:
        if isinstance(unit, LutMatmul) or getattr(unit, "extent", Extent.CODES) is Extent.TENSORS:
            raise ValueError(f"{label} must be a function of codes or of rows, not a {type(unit).__name__}")
        for end in ("input", "output"):
            try:
                format = getattr(unit, end)
            except AttributeError:
                format = None
            if not isinstance(format, Fixed):
                raise ValueError(f"{label} must have one {end}, which {type(unit).__name__} has not")
            if format.bits + (not format.signed) > self.value_bits:
                raise ValueError(f"{label} {end} must fit value_bits, {self.value_bits}, not {format}")
        for key, count in (("scales", len(getattr(unit, "scales", (0,)))), ("channels", getattr(unit, "channels", 1))):
            if count > 1:
                raise ValueError(f"{label} must have one of its {key}, not {count}")

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of the widest first and second operand of the multipliers."""
        formats = [(each.a.bits, each.b.bits) for each in self.multipliers] or [(0, 0)]
        return max(a for a, _ in formats), max(b for _, b in formats)

    @property
    def weight_bits(self) -> int:
        """Of a word of weights for one column: an operand; or K entries, prototypes or thresholds."""
        looked_up = 0
        if self.entries:
            # A threshold more than int8 has: one that no code reaches.
            encoded = 9 * (self.entries - 1) if self.encoder is Encoder.TREE else 8 * self.entries
            looked_up = max(self.entries * self.entry_bits, encoded)
        return max(self.operand_bits[1], looked_up)

    @property
    def constant_bits(self) -> int:
        """Of a word of constants: an offset, a multiplier and a shift."""
        return self.offset_bits + self.factor_bits + SHIFT_BITS

    @property
    def offset_bits(self) -> int:
        """Of the offset in a word of constants: added to sums, or to addresses."""
        return max(self.lane_bits, ADDRESS_BITS + 1)

    @property
    def lane_bits(self) -> int:
        """Of a lane's numbers on their way from an accumulator or a memory to a memory."""
        return max(self.value_bits, self.accumulator_bits)

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat of data: a value of every row, each in whole bytes."""
        return self.rows * self.lane_bytes

    @property
    def lane_bytes(self) -> int:
        """Bytes of a value in a beat."""
        return (self.value_bits + 7) // 8

    def __call__(self, *codes: Any, **choices: Any) -> Any:
        raise TypeError("Tile must be run with a program; it has no function of its own")

    def cost(self) -> Resources:
        cells = self.rows * self.columns
        each = [multiplier.cost() for multiplier in self.multipliers]
        inner = [unit.cost() for unit in self.operators]
        storage = self.rows * (self.values * self.value_bits + self.inputs * self.input_bits)
        storage += self.columns * (self.weights * self.weight_bits)
        storage += self.constants * self.constant_bits
        storage += self.rows * self.operands * self.columns * self.operand_bits[1]
        if self.table_inputs:
            storage += self.rows * self.tables * self.table_outputs << self.table_inputs
        return Resources(
            storage_bits=storage + self.rows * sum(cost.storage_bits for cost in inner),
            multiplier_bits=cells * sum(cost.multiplier_bits for cost in each)
            + self.rows * self.factor_bits * min(self.lane_bits, REQUANTIZED_BITS)
            + self.rows * sum(cost.multiplier_bits for cost in inner),
            adder_bits=cells * (self.accumulator_bits + sum(cost.adder_bits for cost in each))
            + self.rows * sum(cost.adder_bits for cost in inner),
            latency=max((cost.latency for cost in (*each, *inner)), default=0),
        )
