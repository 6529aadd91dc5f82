"""Operators whose Verilog is written once, however many rows have them."""

import re
from collections.abc import Sequence

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, Value

from hwlut.files import digest_of
from hwlut.hdl.component import UnitComponent
from hwlut.hdl.emit import Rtl, generate
from hwlut.hdl.stream import Beat, BeatField
from hwlut.unit import Unit
from hwlut.units.tile import Tile

__all__ = ["WrittenOperator", "operator_verilog", "written"]

_NAME = 50  # letters of a tile's name, so that those of its operators are names too


class WrittenOperator(UnitComponent):
    """The component of `unit` as an instance of the module that `rtl` describes."""

    def __init__(self, unit: Unit, rtl: Rtl):
        self._ports = {port["name"]: port for port in rtl.description["ports"]}
        self._module = rtl.description["module"]
        beats = (self._beat(stream) for stream in ("s_axis", "m_axis"))
        super().__init__(unit, *beats, scale=None, latency=rtl.description["latency"])

    def _beat(self, stream: str) -> Beat:
        (field,) = self._ports[f"{stream}_tdata"]["fields"]
        one = BeatField(field["name"], field["bits"], field["signed"], field["frac"])
        return Beat((one,), last=f"{stream}_tlast" in self._ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wires: dict[str, Value] = {"clk": ClockSignal(), "rst": ResetSignal()}
        for stream, inside, beat in (("s_axis", self.i, self.input_beat), ("m_axis", self.o, self.output_beat)):
            port = f"{stream}_tdata"
            wires[port] = data = Signal(self._ports[port]["width"], name=port)
            wires |= {f"{stream}_tvalid": inside.valid, f"{stream}_tready": inside.ready}
            number = inside.payload[beat.data[0].name]
            m.d.comb += data.eq(number) if stream == "s_axis" else number.eq(data)
            if beat.last:
                wires[f"{stream}_tlast"] = inside.payload.last
        ends = {f"{self._ports[name]['dir'][0]}_{name}": wire for name, wire in wires.items()}
        m.submodules.datapath = Instance(self._module, **ends)
        return m


def written(tile: Tile) -> list[Rtl]:
    """The Verilog of each operator of a tile, a module with its streams."""
    whole = len(tile.name) <= _NAME
    name = tile.name if whole else f"{tile.name[: _NAME - 9]}_{digest_of(tile.name)[:8]}"
    named = (unit.replace(name=f"{name}_operator_{number}") for number, unit in enumerate(tile.operators))
    return [generate(unit) for unit in named]


def operator_verilog(operators: Sequence[Rtl]) -> str:
    """The text of all of them. Verilator, which copies modules into each other, does not do so with these."""
    text = "".join(rtl.verilog for rtl in operators)
    names = "|".join(re.escape(rtl.description["module"]) for rtl in operators)
    return re.sub(
        rf"^module (?:{names})\([^;]*;\n", r"\g<0>  /*verilator no_inline_module*/\n", text, flags=re.MULTILINE
    )
