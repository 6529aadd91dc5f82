"""What is counted of a run."""

from typing import ClassVar

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwlut.accel.port import COUNTERS

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counters of a run, modulo their widths.

    Members: ``steps``: which of them count this cycle; ``restart``: from 0, this cycle's step included; ``values``.
    """

    LAYOUT: ClassVar[dict[str, int]] = COUNTERS | {"data_beats": 32, "result_beats": 32}
    STALLS: ClassVar[tuple[str, ...]] = ("stalled_commands", "stalled_data", "stalled_results")

    def __init__(self) -> None:
        super().__init__(
            {
                "steps": In(data.StructLayout(dict.fromkeys(self.LAYOUT, 1))),
                "restart": In(1),
                "values": Out(data.StructLayout(self.LAYOUT)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in self.LAYOUT:
            m.d.sync += self.values[name].eq(Mux(self.restart, 0, self.values[name]) + self.steps[name])
        return m
