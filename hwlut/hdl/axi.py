"""AXI4-Stream top level: flat port names, the fields of tdata padded to whole bytes."""

from typing import Any

from amaranth.hdl import ClockDomain, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwlut.hdl.component import UnitComponent
from hwlut.hdl.stream import Beat, BeatField

__all__ = ["RESETS", "AxiTop"]

RESETS = ("rst", "aresetn")
"""Synchronous reset: active high, or active low under its AXI name."""


def _padded(field: BeatField) -> int:
    return (field.bits + 7) // 8 * 8


def _placed(field: BeatField, lsb: int) -> dict[str, Any]:
    frac = list(field.frac) if isinstance(field.frac, tuple) else field.frac
    return {"name": field.name, "lsb": lsb, "bits": field.bits, "signed": field.signed, "frac": frac}


class AxiTop(wiring.Component):
    """A unit's component under AXI4-Stream names.

    Ports: ``clk`` and the reset; ``s_axis_tdata/tvalid/tready`` (and ``tuser`` where a field
    selects among constants); ``m_axis_tdata/tvalid/tready``.

    Parameters
    ----------
    inner: what is wrapped.
    reset: one of `RESETS`.
    """

    def __init__(self, inner: UnitComponent, reset: str):
        self.inner = inner
        self.reset = reset
        self.ports = [
            {"name": "clk", "dir": "input", "width": 1, "fields": []},
            {"name": reset, "dir": "input", "width": 1, "fields": []},
            *self._stream("s_axis", inner.input_beat, "input", "output"),
            *self._stream("m_axis", inner.output_beat, "output", "input"),
        ]
        flow = {"input": In, "output": Out}
        super().__init__({port["name"]: flow[port["dir"]](port["width"]) for port in self.ports})

    @staticmethod
    def _stream(prefix: str, beat: Beat, forth: str, back: str) -> list[dict[str, Any]]:
        """The ports of one stream, as ``.rtl.json`` describes them."""
        places = []
        lsb = 0
        for field in beat.data:
            places.append(_placed(field, lsb))
            lsb += _padded(field)
        ports = [{"name": f"{prefix}_tdata", "dir": forth, "width": lsb, "fields": places}]
        if beat.user is not None:
            user = {"name": f"{prefix}_tuser", "dir": forth, "width": beat.user.bits, "fields": [_placed(beat.user, 0)]}
            ports.append(user)
        ports.append({"name": f"{prefix}_tvalid", "dir": forth, "width": 1, "fields": []})
        ports.append({"name": f"{prefix}_tready", "dir": back, "width": 1, "fields": []})
        return ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        domain.clk = self.clk
        m.d.comb += ResetSignal().eq(self.rst if self.reset == "rst" else ~self.aresetn)
        m.submodules.datapath = inner = self.inner
        m.d.comb += [
            inner.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(inner.i.ready),
            self.m_axis_tvalid.eq(inner.o.valid),
            inner.o.ready.eq(self.m_axis_tready),
        ]
        for port in self.ports:
            wires = getattr(self, port["name"])
            for place in port["fields"]:
                low, bits = place["lsb"], place["bits"]
                if port["dir"] == "input":
                    m.d.comb += inner.i.payload[place["name"]].eq(wires[low : low + bits])
                else:
                    m.d.comb += wires[low : low + (bits + 7) // 8 * 8].eq(inner.o.payload[place["name"]])
        return m
