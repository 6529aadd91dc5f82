"""What the cocotb benches share: the streams that an .rtl.json describes, driven, paused and watched.

The folder $HWLUT_BENCH holds description.json, the design's .rtl.json, and what else a bench reads and writes.
"""

import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

FOLDER = Path(os.environ["HWLUT_BENCH"])
DESCRIPTION = json.loads((FOLDER / "description.json").read_text())
PERIOD_NS = 10


def streams(direction):
    """Names and payload ports (without the prefix) of the streams that the design receives or sends."""
    roles = {}
    for port in DESCRIPTION["ports"]:
        name, _, role = port["name"].rpartition("_")
        roles.setdefault(name, {})[role] = port
    return {
        name: [(role, (port["width"] + 7) // 8) for role, port in ports.items() if role not in ("tvalid", "tready")]
        for name, ports in roles.items()
        if "tvalid" in ports and ports["tvalid"]["dir"] == direction
    }


def pauses(chance, seed):
    """Endless random pauses, or None for none."""
    if not chance:
        return None
    rng = random.Random(seed)
    return iter(lambda: rng.random() < chance, None)


class Monitor:
    """Watches one stream: keeps its transfers and their cycles, and catches a broken promise."""

    def __init__(self, dut, name, roles):
        self.valid, self.ready = (getattr(dut, f"{name}_{role}") for role in ("tvalid", "tready"))
        self.payload = [getattr(dut, f"{name}_{role}") for role, _ in roles]
        self.name = name
        self.beats = []
        self.cycles = []
        self.fault = None
        self.waiting = None

    def step(self, cycle):
        beat = [str(port.value) for port in self.payload] if self.valid.value else None
        if self.waiting is not None and beat != self.waiting:
            self.fault = self.fault or (
                f"{self.name} changed tvalid or its payload before tready, after {len(self.cycles)} beats"
            )
        self.waiting = None if self.ready.value else beat
        if beat is not None and self.ready.value:
            self.beats.append(beat)
            self.cycles.append(cycle)


class TB:
    """Clock, reset, a source for every input stream and a sink for every output stream."""

    def __init__(self, dut):
        self.dut = dut
        low = DESCRIPTION["reset"] == "aresetn"
        self.reset_port = getattr(dut, DESCRIPTION["reset"])
        self.active = 0 if low else 1
        cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start())

        def attach(kind, name):
            bus = AxiStreamBus.from_prefix(dut, name)
            return kind(bus, dut.clk, self.reset_port, reset_active_level=not low, byte_lanes=1)

        self.inputs, self.outputs = streams("input"), streams("output")
        self.sources = {name: attach(AxiStreamSource, name) for name in self.inputs}
        self.sinks = {name: attach(AxiStreamSink, name) for name in self.outputs}

    async def reset(self, cycles=4):
        self.reset_port.value = self.active
        await ClockCycles(self.dut.clk, cycles)
        self.reset_port.value = 1 - self.active
        await RisingEdge(self.dut.clk)

    def pause(self, chances, seed):
        """Pause each stream with its chance a cycle: a source is idle, a sink pushes back."""
        for name, end in (self.sources | self.sinks).items():
            end.set_pause_generator(pauses(chances[name], f"{seed} {name}"))
            end.pause = False

    def watch(self):
        """A monitor of each stream."""
        monitors = {name: Monitor(self.dut, name, roles) for name, roles in (self.inputs | self.outputs).items()}

        async def steps():
            cycle = 0
            while True:
                await RisingEdge(self.dut.clk)
                cycle += 1
                for monitor in monitors.values():
                    monitor.step(cycle)

        cocotb.start_soon(steps())
        return monitors
