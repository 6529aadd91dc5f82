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
    selects among constants); ``s_axis_load_tdata/tlast/tvalid/tready`` where the component has a
    load stream; ``m_axis_tdata/tvalid/tready``.

    Parameters
    ----------
    inner: what is wrapped.
    reset: one of `RESETS`.
    """

    def __init__(self, inner: UnitComponent, reset: str):
        self.inner = inner
        self.reset = reset
        inputs = [("s_axis", inner.i, inner.input_beat)]
        if inner.load_beat is not None:
            inputs.append(("s_axis_load", inner.load, inner.load_beat))
        self._streams = [
            *((prefix, stream, self._ports(prefix, beat, "input", "output")) for prefix, stream, beat in inputs),
            ("m_axis", inner.o, self._ports("m_axis", inner.output_beat, "output", "input")),
        ]
        self.ports = [
            {"name": "clk", "dir": "input", "width": 1, "fields": []},
            {"name": reset, "dir": "input", "width": 1, "fields": []},
            *(port for _, _, ports in self._streams for port in ports),
        ]
        flow = {"input": In, "output": Out}
        super().__init__({port["name"]: flow[port["dir"]](port["width"]) for port in self.ports})

    @staticmethod
    def _ports(prefix: str, beat: Beat, forth: str, back: str) -> list[dict[str, Any]]:
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
        if beat.last:
            last = _placed(BeatField("last", 1, False), 0)
            ports.append({"name": f"{prefix}_tlast", "dir": forth, "width": 1, "fields": [last]})
        ports.append({"name": f"{prefix}_tvalid", "dir": forth, "width": 1, "fields": []})
        ports.append({"name": f"{prefix}_tready", "dir": back, "width": 1, "fields": []})
        return ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        domain.clk = self.clk
        m.d.comb += ResetSignal().eq(self.rst if self.reset == "rst" else ~self.aresetn)
        m.submodules.datapath = inner = self.inner
        for prefix, stream, _ in self._streams:
            valid, ready = getattr(self, f"{prefix}_tvalid"), getattr(self, f"{prefix}_tready")
            if stream is inner.o:
                m.d.comb += [valid.eq(stream.valid), stream.ready.eq(ready)]
            else:
                m.d.comb += [stream.valid.eq(valid), ready.eq(stream.ready)]
        for _, stream, ports in self._streams:
            for port in ports:
                wires = getattr(self, port["name"])
                for place in port["fields"]:
                    low, bits = place["lsb"], place["bits"]
                    if port["dir"] == "input":
                        m.d.comb += stream.payload[place["name"]].eq(wires[low : low + bits])
                    else:
                        m.d.comb += wires[low : low + (bits + 7) // 8 * 8].eq(stream.payload[place["name"]])
        return m
