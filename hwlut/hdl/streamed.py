"""A combinational design between streams, so that what drives streams can drive it."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Instance, Module

from hwlut.hdl.axi import AxiTop
from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.emit import Rtl, describe, text_of
from hwlut.hdl.stream import Beat, BeatField
from hwlut.unit import Unit

__all__ = ["streamed"]


class _Streamed(UnitComponent):
    """The Verilog module of a combinational `description`: its outputs leave in the cycle of its inputs."""

    def __init__(self, unit: Unit, description: Mapping[str, Any]):
        beats = (_beat(description, direction) for direction in ("input", "output"))
        super().__init__(unit, *beats, scale=description["scale"], latency=0)
        self._module = description["module"]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = {f"i_{field.name}": self.i.payload[field.name] for field in self.input_beat.data}
        outputs = {f"o_{field.name}": self.o.payload[field.name] for field in self.output_beat.data}
        m.submodules.datapath = Instance(self._module, **inputs, **outputs)
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        return m


def _beat(description: Mapping[str, Any], direction: str) -> Beat:
    ports = [port for port in description["ports"] if port["dir"] == direction]
    return Beat(tuple(BeatField(port["name"], port["width"], port["fields"][0]["signed"], None) for port in ports))


def streamed(unit: Unit, rtl: Rtl) -> Rtl:
    """The combinational design `rtl` of `unit` with stream ports, of latency 0."""
    top = AxiTop(_Streamed(unit, rtl.description), "rst")
    description = describe(f"{rtl.description['module']}_stream", unit, top)
    return Rtl(
        text_of(top, description) + rtl.verilog,
        description,
        rtl.design and (lambda: AxiTop(component(unit, combinational=True), "rst")),
    )
