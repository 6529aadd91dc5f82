"""Designs without a clock: plain ports, a field each."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from hwlut.hdl.axi import signature
from hwlut.hdl.component import UnitComponent
from hwlut.hdl.stream import Beat

__all__ = ["CombinationalTop"]


class CombinationalTop(wiring.Component):
    """A component of latency 0 without its handshake: a port, of the same name, for each field of its beats.

    Parameters
    ----------
    inner: what is wrapped.
    """

    reset = None

    def __init__(self, inner: UnitComponent):
        self.inner = inner
        self.unit = inner.unit
        self.ports = [*self._ports(inner.input_beat, "input"), *self._ports(inner.output_beat, "output")]
        super().__init__(signature(self.ports))

    @staticmethod
    def _ports(beat: Beat, direction: str) -> list[dict[str, Any]]:
        """The ports of a beat, as ``.rtl.json`` describes them."""
        return [
            {
                "name": field.name,
                "dir": direction,
                "width": field.bits,
                "fields": [
                    {"name": field.name, "lsb": 0, "bits": field.bits, "signed": field.signed, "frac": field.frac}
                ],
            }
            for field in beat.data
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.datapath = inner = self.inner
        m.d.comb += [inner.i.valid.eq(1), inner.o.ready.eq(1)]
        m.d.comb += [inner.i.payload[field.name].eq(getattr(self, field.name)) for field in inner.input_beat.data]
        m.d.comb += [getattr(self, field.name).eq(inner.o.payload[field.name]) for field in inner.output_beat.data]
        return m
