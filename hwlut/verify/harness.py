"""Benches of Verilated designs: the C interface of sim/batch.cpp."""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hwlut.verify.engine import stopped, surplus, unstable

__all__ = ["WHOLE", "Bench", "Ran"]

_HANG, _SURPLUS, _UNSTABLE, _FATAL = 1, 2, 3, 4  # HwlutFault

WHOLE = range(0, (1 << 63) - 1)

_Arrays = Mapping[str, np.ndarray]


class _Stream(ctypes.Structure):
    _fields_ = [
        ("beats", ctypes.c_void_p),
        ("count", ctypes.c_uint64),
        ("done", ctypes.c_uint64),
        ("cycles", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("idle", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("watchdog", ctypes.c_uint64),
        ("linger", ctypes.c_uint64),
        ("interrupt", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("activity", ctypes.c_void_p),
    ]


class _Outcome(ctypes.Structure):
    _fields_ = [
        ("fault", ctypes.c_int32),
        ("stream", ctypes.c_int32),
        ("cycles", ctypes.c_uint64),
        ("first_accept", ctypes.c_uint64),
        ("first_delivery", ctypes.c_uint64),
        ("message", ctypes.c_char * 160),
    ]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of a bench gave.

    done: beats transferred, by stream. cycles: simulated, from the end of reset to the last transfer. latency: from the
    first accepted beat to the first delivered one, None where something broke. fault: what broke, or None.
    """

    done: Mapping[str, int]
    cycles: int
    latency: int | None
    fault: str | None


class Bench:
    """An instance of a design's model, with a context of its own: for one thread at a time.

    Parameters
    ----------
    library: from `hwlut.verify.verilated.build`.
    seed: of random pauses and of the registers' state before the first reset.
    waves: where to write a waveform, of a library that was built for it.
    """

    def __init__(self, library: Path, seed: int = 0, waves: Path | None = None):
        self._library = _functions(library)
        self._held: int | None = self._library.hwlut_open(seed, None if waves is None else os.fsencode(waves))

    def close(self) -> None:
        """End it; a waveform is then whole."""
        self._library.hwlut_close(self._held)
        self._held = None

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(
        self,
        sent: _Arrays,
        received: _Arrays,
        times: _Arrays,
        *,
        watchdog: int,
        linger: int,
        idle: float = 0.0,
        stall: float = 0.0,
        interrupt: int = 0,
        window: range = WHOLE,
        activity: np.ndarray | None = None,
    ) -> Ran:
        """Reset the design, send beats and receive as many as there is room for. A bench with a fault is to be closed.

        Parameters
        ----------
        sent, received: uint8 (beats, bytes), contiguous, of every stream in the order of the design's ports.
        times: int64 (beats,), where the cycle of each beat is to be written, for none, some or all of the streams.
        watchdog, linger: cycles without a transfer that are a hang; to watch for beats too many after the last one.
        idle, stall, interrupt: as in `hwlut.verify.engine.Job`.
        window: the cycles of which a waveform is kept; the run ends with them.
        activity: uint64 (cycles of the window,), where what the port of that name says is to be written.
        """
        sources, sinks = (
            (_Stream * len(arrays))(*(_stream(beats, times.get(name)) for name, beats in arrays.items()))
            for arrays in (sent, received)
        )
        written = None if activity is None else activity.ctypes.data
        chances = round(idle * 256), round(stall * 256)
        options = _Options(*chances, watchdog, linger, interrupt, window.start, window.stop, written)
        outcome = _Outcome()
        self._library.hwlut_run(self._held, sources, sinks, options, outcome)
        done = {name: stream.done for name, stream in zip((*sent, *received), (*sources, *sinks))}
        fault = _fault(outcome, {name: (done[name], len(beats)) for name, beats in received.items()})
        latency = None if fault else outcome.first_delivery - outcome.first_accept
        return Ran(done=done, cycles=outcome.cycles, latency=latency, fault=fault)


def _stream(beats: np.ndarray, cycles: np.ndarray | None) -> _Stream:
    return _Stream(beats.ctypes.data, len(beats), 0, None if cycles is None else cycles.ctypes.data)


def _fault(outcome: _Outcome, outputs: Mapping[str, tuple[int, int]]) -> str | None:
    """What broke; `outputs` are the beats delivered and expected, by stream."""
    if outcome.fault == _FATAL:
        return outcome.message.decode(errors="replace")
    if outcome.fault == _HANG:
        return next((stopped(name, *beats) for name, beats in outputs.items() if beats[0] < beats[1]), None)
    name = list(outputs)[outcome.stream]
    done, count = outputs[name]
    if outcome.fault == _SURPLUS:
        return surplus(name, count)
    return unstable(name, done) if outcome.fault == _UNSTABLE else None


@cache
def _functions(library: Path) -> Any:
    functions = ctypes.CDLL(str(library))
    functions.hwlut_open.argtypes = [ctypes.c_uint64, ctypes.c_char_p]
    functions.hwlut_open.restype = ctypes.c_void_p
    pointers = [ctypes.POINTER(kind) for kind in (_Stream, _Stream, _Options, _Outcome)]
    functions.hwlut_run.argtypes = [ctypes.c_void_p, *pointers]
    functions.hwlut_run.restype = None
    functions.hwlut_close.argtypes = [ctypes.c_void_p]
    functions.hwlut_close.restype = None
    return functions
