"""What comes out of a tile: results, and what it says of itself at the marks of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwlut.accel.commands import Error

__all__ = ["Marks", "Ran", "STALLS"]

STALLS = ("commands", "data", "results")
"""What a tile stands still for."""

_ERRORS = {
    Error.UNKNOWN_OPCODE: "unknown opcode",
    Error.UNKNOWN_REGISTER: "unknown register",
    Error.OUT_OF_RUN: "command before START, or START within a run",
    Error.OTHER_TILE: "START for another tile",
    Error.LACKING: "a flag, target, multiplier, operator or table that the tile does not have",
    Error.NOT_READY: "a row reached an operator that was not ready",
}


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The beats of marks, int64 (marks,) by field: docs/tile.md says what each is."""

    number: np.ndarray
    cycles: np.ndarray
    stalled_commands: np.ndarray
    stalled_data: np.ndarray
    stalled_results: np.ndarray
    commands: np.ndarray
    error: np.ndarray

    def counters(self) -> np.ndarray:
        """Cycles, and those stalled as of `STALLS`, of each mark since the one before: int64 (marks, 4)."""
        counted = np.stack([self.cycles, *(getattr(self, f"stalled_{name}") for name in STALLS)], -1)
        return np.diff(counted, axis=0, prepend=0)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run gave.

    results: uint8 [beats, bytes of a beat of data]. marks: what the tile said, of as many marks as came.
    times: cycles since the reset in which they came, int64 (marks,), or None. fault: what broke in the protocol of a
    stream, or None.
    """

    results: np.ndarray
    marks: Marks
    times: np.ndarray | None = None
    fault: str | None = None

    def check(self, tile: str, layers: Sequence[str]) -> None:
        """Refuse a run that broke; RuntimeError naming the layer, and the error and its command or the fault.

        layers: names, in the order of the marks of a batch.
        """
        numbers, errors = self.marks.number, self.marks.error
        error = int(errors[-1]) if len(errors) else 0
        sent = len(numbers) - bool(error)
        wrong = np.flatnonzero(numbers[:sent] != np.arange(sent)).tolist()
        what = self.fault
        if wrong:
            what = f"mark {wrong[0]} has the number {numbers[wrong[0]]}"
        elif error:
            what = f"error {error}, {_ERRORS[Error(error)]}, at command {self.marks.commands[-1]}"
        if what is not None:
            layer = layers[(wrong or [sent])[0] % len(layers)]
            raise RuntimeError(f"tile {tile} failed in layer {layer!r}: {what}")
