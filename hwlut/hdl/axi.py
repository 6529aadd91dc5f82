"""AXI4-Stream top level: flat port names, the fields of tdata padded to whole bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import ClockDomain, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwlut.hdl.component import UnitComponent
from hwlut.hdl.stream import Beat, BeatField

__all__ = ["RESETS", "AxiTop", "clocked", "connect", "lite_ports", "signature", "single", "stream_ports"]

RESETS = ("rst", "aresetn")
"""Synchronous reset: active high, or active low under its AXI name."""


def _padded(field: BeatField) -> int:
    return (field.bits + 7) // 8 * 8


def _placed(field: BeatField, lsb: int) -> dict[str, Any]:
    frac = list(field.frac) if isinstance(field.frac, tuple) else field.frac
    return {"name": field.name, "lsb": lsb, "bits": field.bits, "signed": field.signed, "frac": frac}


def single(name: str, direction: str, width: int = 1) -> dict[str, Any]:
    """A port that is no part of a stream, as ``.rtl.json`` describes it."""
    return {"name": name, "dir": direction, "width": width, "fields": []}


def stream_ports(prefix: str, beat: Beat, direction: str) -> list[dict[str, Any]]:
    """The ports of one stream, as ``.rtl.json`` describes them; direction: that of its beats, input or output."""
    places = []
    lsb = 0
    for field in beat.data:
        places.append(_placed(field, lsb))
        lsb += _padded(field)
    ports = [{"name": f"{prefix}_tdata", "dir": direction, "width": lsb, "fields": places}]
    if beat.user is not None:
        user = {"name": f"{prefix}_tuser", "dir": direction, "width": beat.user.bits, "fields": [_placed(beat.user, 0)]}
        ports.append(user)
    if beat.last:
        last = _placed(BeatField("last", 1, False), 0)
        ports.append({"name": f"{prefix}_tlast", "dir": direction, "width": 1, "fields": [last]})
    back = "output" if direction == "input" else "input"
    return [*ports, single(f"{prefix}_tvalid", direction), single(f"{prefix}_tready", back)]


def lite_ports(prefix: str, address_bits: int) -> list[dict[str, Any]]:
    """The ports of an AXI4-Lite subordinate with data of 32 bits, as ``.rtl.json`` describes them."""
    taken = {"awaddr": address_bits, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "bready": 1}
    taken |= {"araddr": address_bits, "arprot": 3, "arvalid": 1, "rready": 1}
    given = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1}
    return [
        single(f"{prefix}_{name}", direction, width)
        for direction, widths in (("input", taken), ("output", given))
        for name, width in widths.items()
    ]


def connect(m: Module, top: Any, streams: Sequence[tuple[str, Any, Sequence[Mapping[str, Any]]]]) -> None:
    """Wire streams of a component, each with its prefix, to their `stream_ports` of `top`."""
    for prefix, stream, ports in streams:
        valid, ready = getattr(top, f"{prefix}_tvalid"), getattr(top, f"{prefix}_tready")
        if ports[0]["dir"] == "input":
            m.d.comb += [stream.valid.eq(valid), ready.eq(stream.ready)]
        else:
            m.d.comb += [valid.eq(stream.valid), stream.ready.eq(ready)]
    for _, stream, ports in streams:
        for port in ports:
            wires = getattr(top, port["name"])
            for place in port["fields"]:
                low, bits = place["lsb"], place["bits"]
                if port["dir"] == "input":
                    m.d.comb += stream.payload[place["name"]].eq(wires[low : low + bits])
                else:
                    m.d.comb += wires[low : low + (bits + 7) // 8 * 8].eq(stream.payload[place["name"]])


def clocked(m: Module, top: Any, reset: str) -> None:
    """Give a module the ports ``clk`` and `reset`, one of `RESETS`, of `top` as its domain."""
    m.domains.sync = domain = ClockDomain()
    domain.clk = top.clk
    m.d.comb += ResetSignal().eq(top.rst if reset == "rst" else ~top.aresetn)


def signature(ports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The members of a component with such ports."""
    flow = {"input": In, "output": Out}
    return {port["name"]: flow[port["dir"]](port["width"]) for port in ports}


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
        self.unit = inner.unit
        self.reset = reset
        inputs = [("s_axis", inner.i, inner.input_beat)]
        if inner.load_beat is not None:
            inputs.append(("s_axis_load", inner.load, inner.load_beat))
        self._streams = [
            *((prefix, stream, stream_ports(prefix, beat, "input")) for prefix, stream, beat in inputs),
            ("m_axis", inner.o, stream_ports("m_axis", inner.output_beat, "output")),
        ]
        self.ports = [
            single("clk", "input"),
            single(reset, "input"),
            *(port for _, _, ports in self._streams for port in ports),
        ]
        super().__init__(signature(self.ports))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self, self.reset)
        m.submodules.datapath = self.inner
        connect(m, self, self._streams)
        return m
