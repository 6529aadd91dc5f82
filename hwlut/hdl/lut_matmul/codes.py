"""The code FIFO: groups of codes, one for each bank, of two rows; read once for each tile."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, unsigned
from amaranth.lib.memory import Memory

from hwlut.hdl.arithmetic import named
from hwlut.units.lut_array import LutArray

__all__ = ["Codes", "counter"]


def counter(m: Module, name: str, count: int, step: Value, restart: ValueLike = 0) -> tuple[Signal | None, Value]:
    """A number that counts, by each `step`, from 0 to `count` - 1 and begins anew, also where `restart` is high; and
    whether it is the last one. None where there is one number.
    """
    if count == 1:
        return None, Const(1, 1)
    number = Signal(range(count), name=name)
    last = named(m, f"{name}_last", number == count - 1)
    with m.If(step):
        m.d.sync += number.eq(Mux(last | restart, 0, number + 1))
    return number, last


class Codes:
    """Takes the codes of a beat at a time, and gives groups of `banks` codes: for each tile, all groups of a row.

    A group is there from the cycle after its last beat on, and its place is free from the cycle after its reading for
    the last tile on. There are places for the groups of two rows.

    Parameters
    ----------
    m: the module to build in.
    array: the shape.
    i: stream of beats in: the codes of a beat after each other in ``codes``.
    table: which table the beat's row is computed with, or None.

    Members, as wires: valid, whether there is a group; take, to be driven; taken, both. Of the group: codes, after each
    other, those beyond the codebooks of no meaning; tile, which one it is for, and word, its number among those of all
    tiles, both None where there is one; last, whether it is the tile's last; row_last, whether it is the row's; table,
    that of its row.
    """

    def __init__(self, m: Module, array: LutArray, i: Any, table: Value | None):
        places, part = 2 * array.groups, array.banks // array.encoders
        self.valid, self.take = Signal(name="group_valid"), Signal(name="group_take")
        self.taken = taken = named(m, "taken", self.take & self.valid)
        arrives = named(m, "arrives", i.valid & i.ready)

        # Read: all groups of a row for each tile.
        group, self.last = counter(m, "group", array.groups, taken)
        self.tile, tile_last = counter(m, "tile", array.tiles, taken & self.last)
        self.word, self.row_last = counter(m, "word", array.groups * array.tiles, taken)
        row = _toggled(m, "row", taken & self.row_last)

        # Write: a part of a group with each beat; a row may end before its last group is full.
        _, row_ends = counter(m, "beat", array.beats, arrives)
        position, full = counter(m, "position", part, arrives, restart=row_ends)
        ends = named(m, "ends", arrives & (full | row_ends))
        into_group, _ = counter(m, "into_group", array.groups, ends)
        into_row = _toggled(m, "into_row", arrives & row_ends)

        # Hold.
        width = array.banks * array.unit.depth
        depth = 2 << (array.groups - 1).bit_length()
        m.submodules.held = held = Memory(shape=unsigned(width), depth=depth, init=[])
        write = held.write_port(granularity=width // part)
        read = held.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(_place(into_group, into_row)),
            write.data.eq(i.payload.codes.replicate(part)),
            write.en.eq(arrives if position is None else arrives << position),
            read.addr.eq(_place(group, row)),
        ]
        self.codes = read.data
        self.table = None
        if table is not None:
            # For each group: a row's first place may be free before its last group is read.
            tables = Signal(depth, name="tables", reset_less=True)
            with m.If(arrives):
                m.d.sync += tables.bit_select(write.addr, 1).eq(table)
            self.table = named(m, "group_table", tables.bit_select(read.addr, 1))

        # Count: groups that hold a place, and groups that no tile has read.
        stored, unread = (Signal(range(places + 1), name=name) for name in ("stored", "unread"))
        first = taken if self.tile is None else taken & (self.tile == 0)
        m.d.sync += [stored.eq(stored + ends - (taken & tile_last)), unread.eq(unread + ends - first)]
        m.d.comb += i.ready.eq(stored != places)
        m.d.comb += self.valid.eq((unread != 0) | (Const(0) if self.tile is None else self.tile != 0))


def _toggled(m: Module, name: str, step: Value) -> Signal:
    value = Signal(name=name)
    with m.If(step):
        m.d.sync += value.eq(~value)
    return value


def _place(group: Signal | None, row: Signal) -> Value:
    return row if group is None else Cat(group, row)
