"""When the parts of a tile work, cycle by cycle."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from hwlut.accel.port import ACTIVITY
from hwlut.report.vcd import Waves

__all__ = ["Activity", "LIMIT"]

LIMIT = 16 << 20
"""Bytes that are read of a file; cycles behind them are left out."""

_HEADER = ",".join(("cycle", *ACTIVITY)).encode() + b"\n"


@dataclass(frozen=True)
class Activity:
    """Of consecutive cycles, from `first` on, what the tile's output ``activity`` was. whole: whether all was read."""

    first: int
    words: list[int]
    whole: bool

    @classmethod
    def read(cls, path: Path) -> "Activity | None":
        """From the CSV file of `hwlut run --activity`; None for another one, ValueError for a damaged one."""
        with open(path, "rb") as file:
            if file.readline(len(_HEADER) + 1) != _HEADER:
                return None
            data = file.read(LIMIT)
            whole = not file.read(1)
        lines = data.splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        rows = [_row(line, number) for number, line in enumerate(lines, 2)]
        if not rows:
            raise ValueError("it must have a cycle")
        return cls(rows[0][0], [word for _, word in rows], whole)

    @classmethod
    def of(cls, waves: Waves) -> "Activity | None":
        """From the signal in a waveform of a tile; None where there is none."""
        if not (cycles := tile_cycles(waves)):
            return None
        values = waves.signals["activity"].values[-len(cycles) :]
        return cls(cycles[0], [value or 0 for value in values], waves.whole)

    def share(self, bit: int) -> float:
        """Of the cycles, those in which a bit is 1."""
        return sum(word >> bit & 1 for word in self.words) / len(self.words)

    def runs(self, bit: int) -> list[tuple[int, int]]:
        """First cycle and length of each run of ones of a bit, counted from the first cycle."""
        groups = itertools.groupby(enumerate(self.words), key=lambda pair: pair[1] >> bit & 1)
        found = [(one, [place for place, _ in pairs]) for one, pairs in groups]
        return [(places[0], len(places)) for one, places in found if one]


def tile_cycles(waves: Waves) -> range:
    """The numbers of the sampled cycles from the end of a tile's reset on, as the simulation has them; none of another
    waveform."""
    signal = waves.signals.get("activity")
    if signal is None or signal.bits != len(ACTIVITY) or not waves.clocked:
        return range(0)
    numbers = [(time - _START) // _PERIOD for time in waves.times if time >= _START]
    return range(numbers[0], numbers[0] + len(numbers)) if numbers else range(0)


_START, _PERIOD = 45, 10
"""Time of the edge that ends cycle 0, and of a cycle."""


def _row(line: bytes, number: int) -> tuple[int, int]:
    try:
        cycle, *bits = map(int, line.split(b","))
    except ValueError:
        bits = []
    if len(bits) != len(ACTIVITY) or not set(bits) <= {0, 1}:
        raise ValueError(f"line {number} must be a cycle and {len(ACTIVITY)} bits")
    return cycle, sum(bit << place for place, bit in enumerate(bits))
