"""A design as a function of beats, in model instances that are kept from call to call."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.hdl import Rtl
from hwlut.verify.beats import Stream, streams
from hwlut.verify.engine import refused, watchdog
from hwlut.verify.harness import Bench
from hwlut.verify.verilated import build

__all__ = ["Hardware"]

_PARALLEL_BEATS = 1 << 10  # for each instance: fewer take less time than a thread does

_waiting: dict[Path, list[Bench]] = {}
_lock = threading.Lock()


class Hardware:
    """A design of one stream in and one out, run in Verilator; a stream of tables beside them gets nothing.

    Each run resets the design. Runs may be made by several threads at once. Copies and pickles hold the Verilog: its
    library is found again in the cache, or built.

    Parameters
    ----------
    rtl: the design.

    `source` and `sink` are its streams. Raises ValueError for other streams, for bad Verilog and for Verilog whose
    ports are not those of its description, ToolError for missing tools.
    """

    def __init__(self, rtl: Rtl):
        self.rtl = Rtl(rtl.verilog, rtl.description)
        found = streams(rtl.description)
        self._loads = {name: np.zeros((0, s.bytes), np.uint8) for name, s in found.items() if name == "s_axis_load"}
        inputs, outputs = (
            [stream for stream in found.values() if stream.input == way and stream.name not in self._loads]
            for way in (True, False)
        )
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(f"{self.name} must have one stream in and one out, not {', '.join(found) or 'none'}")
        self.source: Stream = inputs[0]
        self.sink: Stream = outputs[0]
        self._names = [name for name, stream in found.items() if stream.input]
        self._library: Path | None = build(self.rtl)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_library": None}

    @property
    def name(self) -> str:
        """The module's name."""
        return self.rtl.description["module"]

    def run(self, beats: np.ndarray, results: int = 1, threads: int = 1) -> np.ndarray:
        """What the design answers: uint8 [groups, results, bytes of a beat].

        Parameters
        ----------
        beats: uint8 [groups, beats of a group, bytes of a beat], contiguous; groups must not depend on each other.
        results: how many beats answer a group.
        threads: at most so many instances share the groups.

        Raises RuntimeError for a design that hangs or breaks the stream protocol.
        """
        groups, each, _ = beats.shape
        answers = np.empty((groups, results, self.sink.bytes), np.uint8)
        parts = max(1, min(threads, groups, groups * max(each, results) // _PARALLEL_BEATS))
        shares = list(zip(np.array_split(beats, parts), np.array_split(answers, parts)))
        if parts == 1:
            self._run_part(*shares[0])
        else:
            with ThreadPoolExecutor(parts) as pool:
                list(pool.map(self._run_part, *zip(*shares)))
        return answers

    def _run_part(self, beats: np.ndarray, answers: np.ndarray) -> None:
        sent, received = (each.reshape(each.shape[0] * each.shape[1], each.shape[2]) for each in (beats, answers))
        ends = {self.source.name: sent} | self._loads
        with _lock:
            library = self._library = self._library or build(self.rtl)
            held = _waiting.setdefault(library, [])
            bench = held.pop() if held else Bench(library)
        description = self.rtl.description
        ran = bench.run(
            {name: ends[name] for name in self._names},
            {self.sink.name: received},
            {},
            watchdog=watchdog(description),
            linger=description["latency"] + description["cycles_per_beat"],
        )
        taken = ran.done[self.source.name]
        fault = ran.fault or (refused(self.source.name, taken, len(sent)) if taken < len(sent) else None)
        if fault is not None:
            bench.close()
            raise RuntimeError(f"design {self.name} failed: {fault}")
        with _lock:
            held.append(bench)
