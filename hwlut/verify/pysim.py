"""The Amaranth simulator as an engine: slow, but it needs nothing beside Python."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.sim import Simulator

from hwlut.verify.beats import Stream, streams
from hwlut.verify.engine import Job, Outcome, stopped, surplus, unstable, watchdog

__all__ = ["run"]

_PERIOD_S = 1e-8


def run(jobs: Sequence[Job]) -> list[Outcome]:
    """Run `jobs`, whose designs must come from `hwlut.hdl.generate`."""
    return [_Bench(job).run() for job in jobs]


class _Source:
    def __init__(self, top: Any, stream: Stream, beats: np.ndarray):
        self.valid = getattr(top, f"{stream.name}_tvalid")
        self.ready = getattr(top, f"{stream.name}_tready")
        self.ports = [getattr(top, name) for name, _, _ in stream.offsets()]
        self.beats = [_integers(stream, beat) for beat in beats]
        self.name = stream.name
        self.cycles: list[int] = []
        self.offered = False

    def drive(self, ctx: Any, pause: bool) -> None:
        if not self.offered and len(self.cycles) < len(self.beats) and not pause:
            for port, value in zip(self.ports, self.beats[len(self.cycles)]):
                ctx.set(port, value)
            self.offered = True
        ctx.set(self.valid, self.offered)

    def settle(self, ctx: Any, cycle: int) -> bool:
        accepted = self.offered and bool(ctx.get(self.ready))
        if accepted:
            self.cycles.append(cycle)
            self.offered = False
        return accepted


class _Sink:
    def __init__(self, top: Any, stream: Stream, count: int):
        self.stream = stream
        self.valid = getattr(top, f"{stream.name}_tvalid")
        self.ready = getattr(top, f"{stream.name}_tready")
        self.ports = [getattr(top, name) for name, _, _ in stream.offsets()]
        self.count = count
        self.beats: list[list[int]] = []
        self.cycles: list[int] = []
        self.open = False
        self.waiting: list[int] | None = None
        self.fault: str | None = None

    def drive(self, ctx: Any, pause: bool) -> None:
        self.open = not pause
        ctx.set(self.ready, self.open)

    def settle(self, ctx: Any, cycle: int) -> bool:
        beat = [ctx.get(port) for port in self.ports] if ctx.get(self.valid) else None
        if self.waiting is not None and beat != self.waiting:
            self.fault = self.fault or unstable(self.stream.name, len(self.beats))
        self.waiting = None if self.open else beat
        if beat is None or not self.open:
            return False
        if len(self.beats) == self.count:
            self.fault = self.fault or surplus(self.stream.name, self.count)
            return False
        self.beats.append(beat)
        self.cycles.append(cycle)
        return True

    def array(self) -> np.ndarray:
        rows = bytearray()
        for beat in self.beats:
            for value, (_, _, size) in zip(beat, self.stream.offsets()):
                rows += value.to_bytes(size, "little")
        return np.frombuffer(bytes(rows), np.uint8).reshape(len(self.beats), self.stream.bytes)


def _integers(stream: Stream, beat: np.ndarray) -> list[int]:
    data = beat.tobytes()
    return [int.from_bytes(data[first : first + size], "little") for _, first, size in stream.offsets()]


class _Bench:
    def __init__(self, job: Job):
        if job.rtl.design is None:
            raise ValueError("engine pysim runs the Amaranth component, not a Verilog file")
        self.job = job
        self.top = job.rtl.design()
        found = streams(job.rtl.description).values()
        self.sources = [_Source(self.top, s, job.inputs[s.name]) for s in found if s.input]
        self.sinks = [_Sink(self.top, s, job.expected[s.name]) for s in found if not s.input]
        self.cycles = 0
        self.latency: int | None = None

    def run(self) -> Outcome:
        simulator = Simulator(self.top)
        simulator.add_clock(_PERIOD_S)
        simulator.add_testbench(self._bench)
        if self.job.waves is None:
            simulator.run()
        else:
            with simulator.write_vcd(str(self.job.waves)):
                simulator.run()
        faults = [sink.fault for sink in self.sinks if sink.fault]
        faults += [stopped(s.stream.name, len(s.beats), s.count) for s in self.sinks if len(s.beats) < s.count]
        return Outcome(
            outputs={sink.stream.name: sink.array() for sink in self.sinks},
            accepted={source.name: np.array(source.cycles, np.int64) for source in self.sources},
            delivered={sink.stream.name: np.array(sink.cycles, np.int64) for sink in self.sinks},
            cycles=self.cycles,
            latency=self.latency,
            fault=faults[0] if faults else None,
            tool=f"Amaranth {importlib.metadata.version('amaranth')}",
        )

    async def _bench(self, ctx: Any) -> None:
        job = self.job
        rng = np.random.default_rng(job.seed)
        name = job.rtl.description["reset"]
        reset, active = getattr(self.top, name), name == "rst"
        ctx.set(reset, active)
        for _ in range(4):
            await ctx.tick()
        ctx.set(reset, not active)
        quiet = cycle = 0
        accepted = delivered = None
        while quiet < watchdog(job.rtl.description):
            pauses = rng.random(len(self.sources)) < job.idle
            for source, pause in zip(self.sources, pauses):
                source.drive(ctx, pause)
            for sink, pause in zip(self.sinks, rng.random(len(self.sinks)) < job.stall):
                sink.drive(ctx, pause)
            took = [source.settle(ctx, cycle) for source in self.sources]
            gave = [sink.settle(ctx, cycle) for sink in self.sinks]
            if any(took) and accepted is None:
                accepted = cycle
            if any(gave) and delivered is None:
                delivered = cycle
            await ctx.tick()
            cycle += 1
            quiet = 0 if any(took) or any(gave) else quiet + 1
            if quiet == 0:
                self.cycles = cycle
        if accepted is not None and delivered is not None:
            self.latency = delivered - accepted
