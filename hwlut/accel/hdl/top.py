"""A tile's top level: its streams, its register port, its interrupt and its activity under their AXI names."""

from typing import Any

from amaranth.hdl import Cat, ClockDomain, Module, ResetInserter, ResetSignal
from amaranth.lib import wiring

from hwlut.accel.hdl.clock_gate import gate_clock
from hwlut.accel.hdl.operators import operator_domain
from hwlut.accel.hdl.register_port import PORTS, RegisterPort
from hwlut.accel.hdl.streamed import StreamedExecutor
from hwlut.accel.hdl.streams import COMMAND, MARK, data_beat, result_beat
from hwlut.accel.port import ACTIVITY
from hwlut.hdl.axi import connect, signature, single, stream_ports
from hwlut.units.tile import Tile

__all__ = ["TileTop"]


class TileTop(wiring.Component):
    """Ports: ``clk`` and the reset; the streams ``s_axis_command``, ``s_axis``, ``m_axis`` and ``m_axis_mark``; the
    AXI4-Lite port ``s_axil``; ``irq``, the interrupt, and ``activity``.

    Parameters
    ----------
    tile: what it is.
    reset: one of `hwlut.hdl.RESETS`.
    executor: what computes, as `StreamedExecutor` takes it.
    """

    def __init__(self, tile: Tile, reset: str, executor: Any):
        self.unit = tile
        self.reset = reset
        self.inner = inner = StreamedExecutor(tile, executor)
        self._streams = [
            ("s_axis_command", inner.command, stream_ports("s_axis_command", COMMAND, "input")),
            ("s_axis", inner.data, stream_ports("s_axis", data_beat(tile), "input")),
            ("m_axis", inner.result, stream_ports("m_axis", result_beat(tile), "output")),
            ("m_axis_mark", inner.mark, stream_ports("m_axis_mark", MARK, "output")),
        ]
        self.ports = [
            single("clk", "input"),
            single(reset, "input"),
            *(port for _, _, ports in self._streams for port in ports),
            *PORTS,
            single("irq", "output"),
            single("activity", "output", len(ACTIVITY)),
        ]
        super().__init__(signature(self.ports))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Taken up by a register, no logic depends on the reset's port within a cycle, which simulates twice as fast.
        m.domains.early = early = ClockDomain(reset_less=True)
        m.domains.sync = domain = ClockDomain()
        domain.clk = early.clk = self.clk
        m.d.early += ResetSignal().eq(self.rst if self.reset == "rst" else ~self.aresetn)
        inner = self.inner
        counters = {name.upper(): inner.counters[name] for name in inner.counters.shape().members}
        status = Cat(inner.running, inner.failed, self.irq)
        live = {"STATUS": status, "ERROR": inner.error, "RUNS": inner.runs} | counters
        m.submodules.registers = registers = RegisterPort(self.unit, live, inner.ended)
        m.submodules.streamed = ResetInserter(registers.clear)(inner)
        for number in range(len(self.unit.operators)):
            gate_clock(m, operator_domain(number), inner.operates[number], registers.clear)
        connect(m, self, self._streams)
        for port in PORTS:
            outside, inside = getattr(self, port["name"]), getattr(registers, port["name"])
            m.d.comb += inside.eq(outside) if port["dir"] == "input" else outside.eq(inside)
        m.d.comb += [self.irq.eq(registers.irq), self.activity.eq(inner.activity)]
        return m
