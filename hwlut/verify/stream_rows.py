"""What a design of a program of rows is sent: rows of every kind of length, at the ends of the codes and at random."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwlut.unit import Unit
from hwlut.units import Program
from hwlut.units.nodes import Extent
from hwlut.verify.beats import streams
from hwlut.verify.engine import Outcome
from hwlut.verify.programs import edges, evaluate
from hwlut.verify.runs import Plan, Run
from hwlut.verify.stimulus import draw

__all__ = ["plan_stream_rows"]

_PLACES = {False: 1 << 16, True: 1 << 9}  # about how many are sent, by whether that is slow
_LONGEST = {False: 1 << 20, True: 1 << 9}  # places of a row, where it can be shorter
_SINGLES = 16
_TIMED = (3, 8)  # rows of the longest: at least, at most
_FEWEST = 32  # rows of any length


def plan_stream_rows(unit: Unit, description: Mapping[str, Any], against: str, seed: int, short: bool) -> Plan:
    """First rows of one place, then of the longest, by which all is timed, then of any.

    Raises ValueError for a unit that is no program of rows.
    """
    if not isinstance(unit, Program) or unit.extent is not Extent.ROWS:
        raise ValueError(f"{type(unit).__name__} {unit.name!r} has no rows")
    rows = _Rows(unit, description, np.random.default_rng([seed, 5]), short)
    return Plan(runs=[rows.run(against)], vectors=len(rows.lengths), exhaustive=False, scope=rows.scope(seed))


class _Rows:
    """lengths: of each row. codes: of each input, int64 [places], row after row."""

    def __init__(self, program: Program, description: Mapping[str, Any], rng: np.random.Generator, short: bool):
        self._program, self._description = program, description
        shape = description["stream_rows"]
        self._least, self._most, self._passes = shape["least"], shape["most"], shape["passes"]
        self._longest = max(self._least, min(self._most, _LONGEST[short]))
        self._singles = 1 + _SINGLES if self._least == 1 else 1
        fewest, most = _TIMED
        self._timed = max(fewest, min(most, _PLACES[short] // 4 // self._longest))
        left = _PLACES[short] - self._timed * self._longest
        self.lengths = np.array(
            [self._least] * self._singles + [self._longest] * self._timed + self._drawn_lengths(left, rng)
        )
        self._starts = np.cumsum(self.lengths) - self.lengths
        self.codes = self._drawn_codes(rng)

    def _drawn_lengths(self, places: int, rng: np.random.Generator) -> list[int]:
        """Of every order of magnitude as many as of every other; a few lengths, so that few batches are evaluated."""
        least, longest = self._least, self._longest
        spread = np.exp(rng.uniform(np.log(least), np.log(longest + 1), 24)).astype(np.int64)
        near = [least, least + 1, least + 2, longest - 1, longest]
        kinds = np.unique(np.clip([*near, *spread], least, longest))
        lengths = rng.choice(kinds, max(_FEWEST, 2 * places // (least + 1) + 1))
        kept = max(_FEWEST, int(np.searchsorted(np.cumsum(lengths), places)))
        return lengths[:kept].tolist()

    def _drawn_codes(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Rows of one kind each: all places at one end of the codes, at both, at one but for one place, at edges, or
        random. The first long ones have every combination of ends, as far as there are rows for it.
        """
        drawn = []
        for number, (port, near) in enumerate(zip(self._program.inputs, edges(self._program))):
            low, high = port.format.min, port.format.max
            parts = []
            for row, length in enumerate(self.lengths.tolist()):
                kind = int(rng.integers(0, 7))
                if 0 <= row - self._singles < 1 << len(self._program.inputs):
                    kind = row - self._singles >> number & 1
                elif row < self._singles:
                    kind = 5
                codes = (
                    np.full(length, (low, high)[kind % 2])
                    if kind < 4
                    else rng.choice([low, high], length)
                    if kind == 4
                    else rng.choice(near, length)
                    if kind == 5
                    else draw(port.format, length, rng)
                )
                if kind in (2, 3):
                    codes[int(rng.integers(0, length))] = (low, high)[1 - kind % 2]
                parts.append(codes)
            drawn.append(np.concatenate(parts))
        return drawn

    def scope(self, seed: int) -> str:
        """Which rows these are, in words."""
        lengths = f"{self._least}" if self._least == self._longest else f"{self._least} to {self._longest}"
        text = f"rows of {lengths} places, at the ends of the codes and at random (seed {seed})"
        return text if self._longest == self._most else f"{text}, but not the longest, of {self._most}"

    def run(self, against: str) -> Run:
        """The run of all rows."""
        found = streams(self._description).values()
        source = next(stream for stream in found if stream.input)
        self._sink = next(stream for stream in found if not stream.input)
        self._source = source
        ends = np.zeros(self.lengths.sum(), np.int64)
        ends[self._starts + self.lengths - 1] = 1
        names = [port.name for port in self._program.outputs]
        results = np.concatenate([self._results(against), ends[:, None]], axis=1)
        width = len(names) + 1
        row = np.repeat(np.arange(len(self.lengths)), self.lengths)
        place = np.arange(len(ends)) - self._starts[row]
        inputs = dict(zip((port.name for port in self._program.inputs), self.codes))
        labels = {name: np.repeat(each, width) for name, each in (inputs | {"row": row, "place": place}).items()}
        known = results.reshape(-1), labels | {"value": np.tile([*names, "last"], len(ends))}
        value = np.tile(np.arange(width), len(ends))
        return Run(
            inputs={source.name: source.pack(inputs | {"last": ends})},
            beats=len(ends),
            independent=False,
            # In the middle of the second long row.
            interrupt=int(self._starts[self._singles + 1]) + self._longest // 2,
            expected=lambda accepted: known,
            order=np.lexsort((np.repeat(place, width), value, np.repeat(row, width))),
            measured=self._measured,
            declared=self._declared(),
        )

    def _results(self, against: str) -> np.ndarray:
        """int64 [places, outputs]."""
        found = np.zeros((len(self.codes[0]), len(self._program.outputs)), np.int64)
        for length in np.unique(self.lengths):
            places = self._starts[self.lengths == length][:, None] + np.arange(length)
            found[places] = evaluate(self._program, [codes[places] for codes in self.codes], against)
        return found

    @property
    def _beyond(self) -> int:
        """What a long row's latency is beyond that of a row of one place."""
        return (self._passes - 1) * (self._longest - 1)

    def _declared(self) -> dict[str, int]:
        latency = self._description["latency"]
        times = {
            "latency": latency,
            "a row": self._longest,
            f"a run of {self._timed} rows": latency + self._beyond + self._timed * self._longest,
        }
        return times | ({"a row of one place": 1} if self._singles > 1 else {})

    def _measured(self, outcome: Outcome) -> dict[str, int]:
        taken, given = outcome.accepted[self._source.name], outcome.delivered[self._sink.name]
        if min(len(taken), len(given)) < len(self.codes[0]):
            return {}
        first, starts = given[self._starts], self._starts[self._singles :]
        end = starts[self._timed - 1] + self._longest - 1
        times = {
            "latency": int(given[0] - taken[0]) - (self._passes - 1) * int(self.lengths[0] - 1),
            "a row": int(np.diff(first[self._singles : self._singles + self._timed]).max()),
            f"a run of {self._timed} rows": int(given[end] - taken[starts[0]] + 1),
        }
        if self._singles > 1:
            times["a row of one place"] = int(np.diff(first[: self._singles]).max())
        return times
