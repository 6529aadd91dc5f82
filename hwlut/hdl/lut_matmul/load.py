"""Tables that change: two of them, one in use, the other one being loaded."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from hwlut.fixed import Fixed, signed_bits
from hwlut.hdl.arithmetic import named
from hwlut.hdl.lut_matmul.codes import counter
from hwlut.hdl.stream import Beat, BeatField
from hwlut.units.lut_array import LutArray
from hwlut.units.lut_matmul import LutMatmul

__all__ = ["Tables", "load_beat", "load_words", "loadable_sums"]


def loadable_sums(unit: LutMatmul) -> Fixed:
    """The narrowest signed format of the sums, with their bias, of every table of the bits of `unit`."""
    entry = Fixed(unit.table_bits)
    bias = np.zeros(1, np.int64) if unit.bias is None else unit.bias.astype(np.int64)
    low, high = (unit.codebooks * end + int(b) for end, b in ((entry.min, bias.min()), (entry.max, bias.max())))
    return Fixed(signed_bits(low, high))


def load_words(unit: LutMatmul, tile: int) -> np.ndarray:
    """What the load stream takes, beat by beat, to compute `unit`: int64 [beats, tile], entries e0, e1, ... of each.

    Tile after tile, in it codebook after codebook, in it prototype after prototype; 0 beyond the outputs.
    """
    padded = np.pad(unit.table.astype(np.int64), ((0, 0), (0, 0), (0, -unit.outputs % tile)))
    return np.moveaxis(padded.reshape(unit.codebooks, unit.k, -1, tile), 2, 0).reshape(-1, tile)


def load_beat(array: LutArray) -> Beat:
    """A beat of the load stream: the entries of one prototype for one tile, and whether it is the table's last."""
    fields = (BeatField(f"e{number}", array.unit.table_bits, True, None) for number in range(array.tile))
    return Beat(tuple(fields), last=True)


class Tables:
    """Which of two tables is in use, where the load stream writes, and when it must wait.

    A load of as many beats as a table has takes the place of the table in use, after its last beat: a row whose first
    beat is accepted later has the new one. A load of any other length is dropped as a whole. After reset there is no
    table. The load stream waits while a row needs the table before the one in use.

    Parameters
    ----------
    m: the module to build in.
    array: the shape.
    load: the load stream, its payload as `load_beat`.

    Members, as wires: empty, a register, whether there is no table; used, which one is in use; entries, what is written
    into a word; word and code, where, of the table not in use; writes, whether into each bank.
    """

    def __init__(self, m: Module, array: LutArray, load: Any):
        self._m, self._load = m, load
        unit = array.unit
        self.empty = Signal(name="empty", init=1)
        self.used = Signal(name="used")
        arrives = named(m, "load_arrives", load.valid & load.ready)

        # Count the beats: prototypes, codebooks, each in a bank of its group, tiles.
        self.code = Signal(unit.depth, name="load_code")
        next_codebook = named(m, "load_codebook_ends", self.code == unit.k - 1)
        step = named(m, "load_step", arrives & next_codebook)
        codebook, codebook_last = counter(m, "load_codebook", unit.codebooks, step)
        bank, bank_last = counter(m, "load_bank", array.banks, step, restart=codebook_last)
        next_word = named(m, "load_word_ends", next_codebook & (codebook_last | bank_last))
        self.word, word_last = counter(m, "load_word", array.groups * array.tiles, arrives & next_word)
        whole = named(m, "load_whole", next_word & word_last)
        over = Signal(name="load_over")
        with m.If(arrives):
            m.d.sync += self.code.eq(self.code + 1)
            m.d.sync += over.eq(~load.payload.last & (over | whole))
            with m.If(load.payload.last):
                m.d.sync += [number.eq(0) for number in (self.code, codebook, bank, self.word) if number is not None]
                with m.If(whole & ~over):
                    m.d.sync += [self.used.eq(~self.used), self.empty.eq(0)]

        # Write: outputs that the last tile does not have are 0.
        there = unit.outputs - (array.tiles - 1) * array.tile
        last_tile = Const(1) if self.word is None else self.word >= (array.tiles - 1) * array.groups
        last_tile = named(m, "load_last_tile", last_tile)
        entries = [load.payload[f"e{number}"].as_unsigned() for number in range(array.tile)]
        self.entries = Cat(*entries[:there], *(Mux(last_tile, 0, entry) for entry in entries[there:]))
        self.writes = [arrives if bank is None else arrives & (bank == number) for number in range(array.banks)]

    def wait(self, most: int, begins: Value, ends: Value, table: Value) -> None:
        """Say when a row begins, by its first beat, and when one no longer needs its `table`; at `most` so many are
        in between.
        """
        m = self._m
        rows = [Signal(range(most + 1), name=f"rows_{number}") for number in range(2)]
        for number, count in enumerate(rows):
            more = begins & (self.used == number)
            less = ends & (table == number)
            m.d.sync += count.eq(count + more - less)
        m.d.comb += self._load.ready.eq(Mux(self.used, rows[0], rows[1]) == 0)
