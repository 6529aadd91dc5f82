"""From groups of codes to results: banks of tables, adders, accumulators, requantization."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Value, signed, unsigned
from amaranth.lib.memory import Memory, ReadPort

from hwlut.fixed import Fixed
from hwlut.hdl.arithmetic import choose, named
from hwlut.hdl.lut_matmul.codes import Codes
from hwlut.hdl.lut_matmul.load import Tables, load_words
from hwlut.hdl.requantize import Lane, requantized
from hwlut.hdl.stream import Rows
from hwlut.units.lut_array import LutArray

__all__ = ["memory_words", "scan"]


def memory_words(array: LutArray) -> int:
    """Words of a bank that hold one table."""
    return array.groups * array.tiles * array.unit.k


def scan(m: Module, array: LutArray, codes: Codes, tables: Tables | None, sums: Fixed, o: Any) -> None:
    """Drive the stream `o` with the results, fields y0, y1, ..., of the groups of codes.

    Parameters
    ----------
    tables: what writes into the banks, or None where they hold the unit's own table.
    sums: format of the accumulators.
    """
    unit, tile = array.unit, codes.tile
    rows = Rows(m, codes.valid, o)
    m.d.comb += codes.take.eq(rows.move)

    # Read the banks; what a row's last group does not have is 0.
    ports = [_bank(m, array, codes, tables, bank) for bank in range(array.banks)]
    m.d.comb += [port.en.eq(rows.move) for port in ports]
    last, tile = rows.register(last=codes.last, tile=tile)
    there = unit.codebooks - (array.groups - 1) * array.banks
    bits = unit.table_bits
    entries = []
    for bank, port in enumerate(ports):
        word = port.data if bank < there else named(m, f"word_{bank}", Mux(last, 0, port.data))
        entries.append([word[bits * number : bits * (number + 1)].as_signed() for number in range(array.tile)])

    # Add the banks, then the groups.
    values = [list(column) for column in zip(*entries)]
    for _ in range(array.adder_levels):
        values = [[a + b for a, b in zip(each[::2], each[1::2])] + each[len(each) // 2 * 2 :] for each in values]
        row = {f"sum{number}_{place}": value for number, each in enumerate(values) for place, value in enumerate(each)}
        *later, last, tile = rows.register(**row, last=last, tile=tile)
        registers = iter(later)
        values = [[next(registers) for _ in each] for each in values]
    bias = np.zeros(unit.outputs, np.int64) if unit.bias is None else unit.bias
    terms = [
        (choose(m, f"bias{number}", tile, _of_tiles(array, number, bias)), value)
        for number, (value,) in enumerate(values)
    ]
    acc, tile = rows.accumulate(signed(sums.bits), terms, last, tile=tile)

    results = acc
    if unit.requantize is not None:
        after = unit.requantize
        constants = (after.multipliers, after.shifts, [after.zero_point] * after.channels)
        spread = [np.broadcast_to(np.array(values, np.int64), unit.outputs) for values in constants]
        lanes = [
            Lane(str(number), value, tile, *(_of_tiles(array, number, values) for values in spread))
            for number, value in enumerate(acc)
        ]
        results = requantized(m, rows, after, lanes, ("multiply",))
    rows.finish(**{f"y{number}": value for number, value in enumerate(results)})


def _bank(m: Module, array: LutArray, codes: Codes, tables: Tables | None, bank: int) -> ReadPort:
    """The read port of a memory of words of `tile` entries, by table, tile, group and code."""
    unit = array.unit
    size = memory_words(array)
    above = size if tables is None else 1 << (size - 1).bit_length()
    depth = size if tables is None else above + size
    held = Memory(
        shape=unsigned(array.tile * unit.table_bits), depth=depth, init=_words(array, bank) if tables is None else []
    )
    m.submodules[f"bank{bank}"] = held
    port = held.read_port()
    code = codes.codes.word_select(bank, unit.depth)
    m.d.comb += port.addr.eq(Cat(code, *_given(codes.word), *_given(codes.table)))
    if tables is not None:
        write = held.write_port()
        m.d.comb += [
            write.addr.eq(Cat(tables.code, *_given(tables.word), ~tables.used)),
            write.data.eq(tables.entries),
            write.en.eq(tables.writes[bank]),
        ]
    return port


def _given(value: Value | None) -> list[Value]:
    return [] if value is None else [value]


def _words(array: LutArray, bank: int) -> list[int]:
    """The words of a bank; 0 for a codebook that its last group does not have."""
    unit = array.unit
    words = np.zeros((array.tiles, array.groups * array.banks, unit.k, array.tile), np.int64)
    words[:, : unit.codebooks] = load_words(unit, array.tile).reshape(array.tiles, -1, unit.k, array.tile)
    mask = (1 << unit.table_bits) - 1
    return [
        sum((entry & mask) << unit.table_bits * number for number, entry in enumerate(word))
        for word in words[:, bank :: array.banks].reshape(-1, array.tile).tolist()
    ]


def _of_tiles(array: LutArray, number: int, values: np.ndarray) -> list[int]:
    """What output `number` of each tile has of `values` [outputs]; 0 beyond them."""
    padded = np.zeros(array.tiles * array.tile, np.int64)
    padded[: len(values)] = values
    return padded[number :: array.tile].tolist()
