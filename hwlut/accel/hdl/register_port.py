"""The register port: an AXI4-Lite subordinate that reads a tile's registers and clears its runs."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hwlut.accel.port import ADDRESS_BITS, Access, port_registers
from hwlut.hdl.axi import lite_ports, signature
from hwlut.units.tile import Tile

__all__ = ["PORTS", "RegisterPort"]

PORTS = lite_ports("s_axil", ADDRESS_BITS)
"""The port, as ``.rtl.json`` describes it."""

_OKAY, _SLVERR = 0, 2


class RegisterPort(wiring.Component):
    """Members: those of `PORTS`; ``clear``, in the cycle in which that is asked for; ``irq``, after a run.

    An address that has no register, or none that can be written, is answered with SLVERR. There are no paths from an
    input to an output without a register between them.

    Parameters
    ----------
    tile: whose registers they are.
    live: what those that are read show, by name, of at most 32 bits; CYCLES has more. ended: a run has just ended.
    """

    def __init__(self, tile: Tile, live: Mapping[str, Any], ended: Value):
        self._registers = port_registers(tile)
        self._live = live
        self._ended = ended
        super().__init__(signature(PORTS) | {"clear": Out(1), "irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acknowledge = self._write(m)
        self._read(m)
        with m.If(self.clear):
            m.d.sync += self.irq.eq(0)
        with m.Elif(self._ended):
            m.d.sync += self.irq.eq(1)
        with m.Elif(acknowledge):
            m.d.sync += self.irq.eq(0)
        return m

    def _write(self, m: Module) -> Value:
        """The channels of a write: address and data in any order, then the response; whether it acknowledges."""
        address = Signal(ADDRESS_BITS, name="write_address")
        data = Signal(32, name="written")
        strobe = Signal(4)
        addressed = Signal(name="write_addressed")
        given = Signal()
        acknowledge = Signal()
        answers = Signal(name="write_answers")
        m.d.comb += [
            self.s_axil_awready.eq(~(addressed | ResetSignal())),
            self.s_axil_wready.eq(~(given | ResetSignal())),
            self.s_axil_bvalid.eq(answers & ~ResetSignal()),
        ]
        with m.If(self.s_axil_awvalid & ~addressed):
            m.d.sync += [addressed.eq(1), address.eq(self.s_axil_awaddr)]
        with m.If(self.s_axil_wvalid & ~given):
            m.d.sync += [given.eq(1), data.eq(self.s_axil_wdata), strobe.eq(self.s_axil_wstrb)]
        with m.If(self.s_axil_bready):
            m.d.sync += answers.eq(0)
        with m.If(addressed & given & ~answers):
            m.d.sync += [addressed.eq(0), given.eq(0), answers.eq(1), self.s_axil_bresp.eq(_SLVERR)]
            (control,) = (each for each in self._registers if each.access == Access.WRITE)
            with m.If(address[2:] == control.address >> 2):
                m.d.sync += self.s_axil_bresp.eq(_OKAY)
                done = {field.name: data[field.lsb] & strobe[field.lsb // 8] for field in control.fields}
                m.d.comb += [self.clear.eq(done["CLEAR"]), acknowledge.eq(done["ACKNOWLEDGE"])]
        return acknowledge

    def _read(self, m: Module) -> None:
        """The channels of a read."""
        address = Signal(ADDRESS_BITS, name="read_address")
        addressed = Signal(name="read_addressed")
        high = Signal(32, name="high_cycles")
        answers = Signal(name="read_answers")
        cycles = self._live["CYCLES"]
        live = {**self._live, "CYCLES": cycles[:32], "CYCLES_HIGH": high}
        m.d.comb += [
            self.s_axil_arready.eq(~(addressed | ResetSignal())),
            self.s_axil_rvalid.eq(answers & ~ResetSignal()),
        ]
        with m.If(self.s_axil_arvalid & ~addressed):
            m.d.sync += [addressed.eq(1), address.eq(self.s_axil_araddr)]
        with m.If(self.s_axil_rready):
            m.d.sync += answers.eq(0)
        with m.If(addressed & ~answers):
            m.d.sync += [addressed.eq(0), answers.eq(1)]
            with m.Switch(address[2:]):
                for register in self._registers:
                    shown = live[register.name] if register.access == Access.READ else register.reset
                    with m.Case(register.address >> 2):
                        m.d.sync += [self.s_axil_rdata.eq(shown), self.s_axil_rresp.eq(_OKAY)]
                with m.Default():
                    m.d.sync += [self.s_axil_rdata.eq(0), self.s_axil_rresp.eq(_SLVERR)]
            (low,) = (each for each in self._registers if each.name == "CYCLES")
            with m.If(address[2:] == low.address >> 2):
                m.d.sync += high.eq(cycles[32:])
