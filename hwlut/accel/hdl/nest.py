"""Loop nests: counters, one a level, and the addresses that go along with them."""

from collections.abc import Sequence

from amaranth.hdl import Elaboratable, Module, Signal

from hwlut.accel.hdl.registers import Walk
from hwlut.units.tile import ADDRESS_BITS

__all__ = ["Nest"]


class Nest(Elaboratable):
    """A loop nest and its streams of addresses.

    Members: start, after which it is at its first place; step, to the next one; last, whether it is at its last place;
    addresses, of each walk.

    Parameters
    ----------
    sizes: less 1, of each level, the innermost first. walks: what the addresses are made by.
    """

    def __init__(self, sizes: Sequence[Signal], walks: Sequence[Walk]):
        self._sizes, self._walks = sizes, walks
        self.start = Signal()
        self.step = Signal()
        self.last = Signal()
        self.addresses = [Signal(ADDRESS_BITS, name=f"address_{number}") for number in range(len(walks))]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = [Signal(len(size), name=f"left_{level}") for level, size in enumerate(self._sizes)]
        ends = [Signal(name=f"ends_{level}") for level in range(len(left))]
        deltas = [Signal(ADDRESS_BITS, name=f"delta_{number}") for number in range(len(self._walks))]
        m.d.comb += [end.eq(count == 0) for end, count in zip(ends, left)]
        for level, end in enumerate(ends):
            with m.If(~end) if level == 0 else m.Elif(~end):
                m.d.comb += [delta.eq(walk.deltas[level]) for delta, walk in zip(deltas, self._walks)]
        with m.Else():
            m.d.comb += self.last.eq(1)
        with m.If(self.start):
            m.d.sync += [count.eq(size) for count, size in zip(left, self._sizes)]
            m.d.sync += [address.eq(walk.base) for address, walk in zip(self.addresses, self._walks)]
        with m.Elif(self.step):
            m.d.sync += [address.eq(address + delta) for address, delta in zip(self.addresses, deltas)]
            for level, end in enumerate(ends):
                with m.If(~end) if level == 0 else m.Elif(~end):
                    m.d.sync += left[level].eq(left[level] - 1)
                    m.d.sync += [count.eq(size) for count, size in zip(left[:level], self._sizes)]
        return m
