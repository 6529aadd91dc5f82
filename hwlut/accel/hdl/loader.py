"""The loader: beats of data become parts of words, each at its place."""

from amaranth.hdl import Array, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwlut.accel.commands import Target
from hwlut.accel.timing import load_parts, word_bits
from hwlut.units.tile import ADDRESS_BITS, Tile

__all__ = ["PART_BITS", "Loader"]

PART_BITS = 16
"""Of the number of a part in its word."""


class Loader(wiring.Component):
    """What a LOAD does: a beat a cycle, from the one behind it on.

    Members: ``start``, with ``target``, ``address`` and ``words`` (how many) of a LOAD, all inputs; ``loading``: a beat
    must be there and is taken in this cycle; ``load_target``, ``load_address``, ``load_part``: where it goes.
    """

    def __init__(self, tile: Tile):
        self._parts = [load_parts(tile, word_bits(tile, target)) for target in Target]
        super().__init__(
            {
                "start": In(1),
                "target": In(2),
                "address": In(ADDRESS_BITS),
                "words": In(ADDRESS_BITS),
                "loading": Out(1),
                "load_target": Out(2),
                "load_address": Out(ADDRESS_BITS),
                "load_part": Out(PART_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(ADDRESS_BITS)
        last_part = Signal()
        parts = Array(Const(parts - 1, PART_BITS) for parts in self._parts)
        m.d.comb += last_part.eq(self.load_part == parts[self.load_target])
        with m.If(self.start):
            m.d.sync += [
                self.loading.eq(self.words != 0),
                left.eq(self.words - 1),
                self.load_target.eq(self.target),
                self.load_address.eq(self.address),
                self.load_part.eq(0),
            ]
        with m.Elif(self.loading & last_part):
            m.d.sync += [
                self.loading.eq(left != 0),
                left.eq(left - 1),
                self.load_address.eq(self.load_address + 1),
                self.load_part.eq(0),
            ]
        with m.Elif(self.loading):
            m.d.sync += self.load_part.eq(self.load_part + 1)
        return m
