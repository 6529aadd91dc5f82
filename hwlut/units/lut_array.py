"""The array of memories that computes a `LutMatmul`: its shape, cycles and cost, by arithmetic."""

from dataclasses import dataclass

from hwlut.unit import Resources
from hwlut.units.lut_matmul import Encoder, LutMatmul

__all__ = ["LutArray", "lut_array", "reads", "resources"]

_BANKS = 4
_TILE = 16
_EPILOGUE = 2  # rows of registers: multiply, saturate


def reads(codebooks: int, outputs: int, banks: int | None = None, tile: int | None = None) -> int:
    """Cycles of a row of C `codebooks` and M `outputs`, ceil(C / banks) ceil(M / tile), where encoders keep up.

    banks, tile: by default those of `lut_array`.
    """
    banks, tile = banks or min(_BANKS, codebooks), tile or min(_TILE, outputs)
    return -(-codebooks // banks) * -(-outputs // tile)


@dataclass(frozen=True)
class LutArray:
    """How a row's look-ups are spread over hardware and cycles.

    Parameters
    ----------
    unit: what is computed.
    banks: P_c, memories that are read at once, each with the tables of every P_c-th codebook.
    tile: M_T, outputs that are added up at once.
    encoders: E, sub-vectors that are encoded at once, and that come with a beat; it divides `banks`.
    """

    unit: LutMatmul
    banks: int
    tile: int
    encoders: int

    @property
    def groups(self) -> int:
        """Reads of each bank for one tile of one row: ceil(C / P_c)."""
        return -(-self.unit.codebooks // self.banks)

    @property
    def tiles(self) -> int:
        """Tiles of a row, each a beat of the output: ceil(M / M_T)."""
        return -(-self.unit.outputs // self.tile)

    @property
    def beats(self) -> int:
        """Beats of the input that hold a row: ceil(C / E)."""
        return -(-self.unit.codebooks // self.encoders)

    @property
    def cycles_per_row(self) -> int:
        """Cycles from one row to the next when nothing stalls."""
        return max(self.beats, self.groups * self.tiles)

    @property
    def encoder_latency(self) -> int:
        """Rows of registers of an encoder: a comparison each in a tree; else differences, their sum or maximum, and a
        comparison each in the tree that finds the least."""
        return self.unit.depth if self.unit.encoder is Encoder.TREE else 2 + self.unit.depth

    @property
    def adder_levels(self) -> int:
        """Rows of registers between banks and accumulators: ceil(log2 P_c)."""
        return (self.banks - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from the first beat of a row to its first result: the other beats, the encoder, the code FIFO, the
        memory, adders, the accumulator, the epilogue."""
        epilogue = 0 if self.unit.requantize is None else _EPILOGUE
        return self.beats - 1 + self.encoder_latency + 1 + 1 + self.adder_levels + 1 + epilogue

    @property
    def load_cycles(self) -> int:
        """Beats that load every table: one holds M_T entries of one prototype of one codebook."""
        return self.tiles * self.unit.codebooks * self.unit.k

    def cycles(self, rows: int) -> int:
        """From the first accepted beat of `rows` rows to their last result, both included, when nothing stalls."""
        return self.latency + 1 + (self.tiles - 1) * self.groups + (rows - 1) * self.cycles_per_row


def lut_array(
    unit: LutMatmul, banks: int | None = None, tile: int | None = None, encoders: int | None = None
) -> LutArray:
    """The array of `unit`; by default up to 4 banks and tiles of up to 16 outputs, and the fewest encoders that
    keep up with them.

    Raises TypeError for what is no integer, ValueError for more banks than codebooks, tiles wider than the outputs, and
    encoders that do not divide the banks.
    """
    banks = min(_BANKS, unit.codebooks) if banks is None else _checked("banks", banks, unit.codebooks)
    tile = min(_TILE, unit.outputs) if tile is None else _checked("tile", tile, unit.outputs)
    if encoders is None:
        divisors = (count for count in range(1, banks + 1) if banks % count == 0)
        arrays = (LutArray(unit, banks, tile, count) for count in divisors)
        return next(array for array in arrays if array.beats <= array.groups * array.tiles)
    if banks % _checked("encoders", encoders, banks):
        raise ValueError(f"LutMatmul encoders must divide the banks, {banks}, not {encoders}")
    return LutArray(unit, banks, tile, encoders)


def _checked(label: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"LutMatmul {label} must be an integer, not {value!r}")
    if not 1 <= value <= most:
        raise ValueError(f"LutMatmul {label} must be from 1 to {most}, not {value}")
    return value


def resources(unit: LutMatmul) -> Resources:
    """What `LutMatmul.cost` gives: the default array, its memories holding every table once."""
    array = lut_array(unit)
    sums = unit.accumulator.bits
    if unit.encoder is Encoder.TREE:
        held, multiplied = 8 * unit.codebooks * (unit.k - 1), 0
        encoder = 8 * unit.depth
    else:
        held = 8 * unit.codebooks * unit.k * unit.v
        multiplied = 64 * unit.k * unit.v if unit.encoder is Encoder.L2 else 0
        distance = 16 if unit.encoder is Encoder.L2 else 8
        width = distance if unit.encoder is Encoder.CHEBYSHEV else distance + (unit.v - 1).bit_length()
        encoder = unit.k * unit.v * (8 + width) + (unit.k - 1) * width  # differences and sums; the least
    storage = unit.table.size * unit.table_bits + held
    if unit.bias is not None:
        storage += unit.outputs * sums
    adders = array.encoders * encoder + array.tile * array.banks * sums
    multiplier_bits = array.encoders * multiplied
    if unit.requantize is not None:
        after = unit.requantize.cost()
        storage += after.storage_bits
        multiplier_bits += array.tile * after.multiplier_bits
        adders += array.tile * after.adder_bits
    return Resources(storage_bits=storage, multiplier_bits=multiplier_bits, adder_bits=adders, latency=array.latency)
