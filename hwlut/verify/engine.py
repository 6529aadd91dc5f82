"""What a simulation engine is given and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.hdl import Rtl

__all__ = ["Job", "Outcome", "refused", "stopped", "surplus", "unstable", "watchdog"]

_WATCHDOG_CYCLES = 1024


def watchdog(description: Mapping[str, Any]) -> int:
    """Cycles without a transfer that count as a hang of the design of a description: of rows, a row in every pass."""
    rows = description.get("stream_rows", {"most": 0, "passes": 0})
    return _WATCHDOG_CYCLES + 4 * int(description["latency"] or 0) + int(rows["most"] * rows["passes"])


def stopped(stream: str, done: int, count: int) -> str:
    """The fault of a stream that delivers too little."""
    return f"{stream} stopped after {done} of {count} beats"


def refused(stream: str, done: int, count: int) -> str:
    """The fault of a stream that takes too little."""
    return f"{stream} took {done} of {count} beats"


def surplus(stream: str, count: int) -> str:
    """The fault of a stream that delivers too much."""
    return f"{stream} delivered more than {count} beats"


def unstable(stream: str, done: int) -> str:
    """The fault of a stream that takes back what it offered."""
    return f"{stream} changed tvalid or its payload before tready, after {done} beats"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a design.

    Parameters
    ----------
    rtl: what runs.
    inputs: beats to send into each stream, uint8 (beats, bytes), laid out as `hwlut.verify.beats` packs them.
    expected: how many beats each output stream must deliver.
    independent: true where each output beat depends on the input beat of its place alone, so that a
        batch may be split over several instances.
    idle, stall: chance of an input pausing, of an output refusing, in a cycle.
    seed: of the random stalls and of the registers' state before reset.
    interrupt: beats of the first input after which the batch engine resets the design and begins anew; 0 for never.
    quiet: cycles that the batch engine waits for a transfer beyond what the description says.
    waves: where to write a waveform, or None.
    """

    rtl: Rtl
    inputs: dict[str, np.ndarray]
    expected: dict[str, int]
    independent: bool = False
    idle: float = 0.0
    stall: float = 0.0
    seed: int = 0
    interrupt: int = 0
    quiet: int = 0
    waves: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run gave.

    outputs: the beats each stream delivered, uint8 (beats, bytes). accepted: the cycles in which each
    input stream took its beats, int64 (beats,), empty where beats are `independent`; delivered: likewise, in which each
    output stream gave them. cycles: clock cycles simulated.
    latency: cycles from the first accepted beat to the first delivered one, None where unknown.
    fault: what broke the stream protocol, or None. tool: simulator and version.
    """

    outputs: dict[str, np.ndarray]
    accepted: dict[str, np.ndarray]
    delivered: dict[str, np.ndarray]
    cycles: int
    latency: int | None
    fault: str | None
    tool: str
