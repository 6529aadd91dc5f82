"""What a design of a `LutMatmul` is sent: rows of inputs, and tables in mid-stream."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwlut.hdl.lut_matmul import load_words
from hwlut.unit import Unit
from hwlut.units import LutMatmul
from hwlut.units.lut_matmul import CODE
from hwlut.verify.beats import Stream, streams
from hwlut.verify.engine import Outcome
from hwlut.verify.rows import MOST_ROWS, evaluate, row_stimulus
from hwlut.verify.runs import INTERRUPT, Labelled, Plan, Run

__all__ = ["plan_rows"]

_CYCLES = {False: 1 << 18, True: 1 << 11}  # about how many a run takes, by whether it is short
_ROWS = {False: MOST_ROWS, True: 32}
_LOADING = {False: 1 << 15, True: 1 << 9}  # about how many cycles a run loads tables for
_TABLES = (3, 12)  # at least, at most


def plan_rows(unit: Unit, description: Mapping[str, Any], against: str, seed: int, short: bool) -> Plan:
    """Rows of inputs; where tables can be loaded, with the unit's own, then others while rows are computed.

    Raises ValueError for a unit that is no LutMatmul.
    """
    if not isinstance(unit, LutMatmul):
        raise ValueError(f"{type(unit).__name__} {unit.name!r} has no rows")
    design = _Design(unit, description)
    most = max(16, min(_ROWS[short], _CYCLES[short] // design.rows["cycles"]))
    vectors = row_stimulus(unit, most, seed)
    x = vectors.inputs["x"]
    rng = np.random.default_rng([seed, 4])
    known = design.labelled(evaluate(unit, x, against), {"row": np.arange(len(x))})
    loads = {} if design.load is None else {design.load.name: design.loads([unit], [len(design.words(unit))], rng)}
    runs = [design.run({design.source.name: design.beats(x, rng)} | loads, len(x), lambda accepted: known)]
    if design.load is not None:
        fewest, most = _TABLES
        tables = max(fewest, min(most, _LOADING[short] // design.rows["load_cycles"]))
        runs.append(_Reloads(design, x, against, tables, _CYCLES[short], rng).run())
    return Plan(runs=runs, vectors=vectors.vectors, exhaustive=vectors.exhaustive, scope=vectors.scope)


class _Design:
    """The streams of a description as rows.

    rows: what the description says of them. source, sink, load: the streams; load is None where there is none.
    """

    def __init__(self, unit: LutMatmul, description: Mapping[str, Any]):
        self.unit = unit
        self.rows = description["rows"]
        self._latency = description["latency"]
        found = streams(description)
        self.source, *others = (stream for stream in found.values() if stream.input)
        self.load: Stream | None = others[0] if others else None
        self.sink = next(stream for stream in found.values() if not stream.input)
        for stream, beats, needed in (
            (self.source, self.rows["inputs"], unit.features),
            (self.sink, self.rows["outputs"], unit.outputs),
        ):
            if beats * len(stream.fields) < needed:
                raise ValueError(f"{stream.name} must have {needed} numbers a row, not {beats * len(stream.fields)}")

    def beats(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows of inputs [n, features] as beats, with anything beyond the features."""
        inputs, fields = self.rows["inputs"], len(self.source.fields)
        filled = rng.integers(CODE.min, CODE.max, (len(x), inputs * fields), endpoint=True)
        filled[:, : x.shape[1]] = x
        columns = filled.reshape(-1, fields).T
        return self.source.pack({f"x{number}": column for number, column in enumerate(columns)})

    def words(self, unit: LutMatmul) -> np.ndarray:
        """A table as entries [beats, tile] of the load stream."""
        assert self.load is not None
        return load_words(unit, len(self.load.fields) - 1)

    def loads(self, units: list[LutMatmul], lengths: list[int], rng: np.random.Generator) -> np.ndarray:
        """Beats of the load stream that hold one table after the other, each cut or filled to its length; with anything
        beyond the outputs.
        """
        assert self.load is not None
        words, last = [], []
        for unit, length in zip(units, lengths):
            entries, tiles = self.words(unit), self.rows["outputs"]
            beyond = entries[len(entries) // tiles * (tiles - 1) :, unit.outputs - tiles * entries.shape[1] :]
            if unit.outputs < tiles * entries.shape[1]:
                beyond[:] = _entries(unit, beyond.shape, rng)
            words.append(np.resize(entries, (length, entries.shape[1])))
            last.append(np.arange(length) == length - 1)
        columns = np.concatenate(words).T
        fields = {f"e{number}": column for number, column in enumerate(columns)}
        return self.load.pack(fields | {"last": np.concatenate(last).astype(np.int64)})

    def labelled(self, results: np.ndarray, labels: Mapping[str, np.ndarray]) -> Labelled:
        """What comes out for `results` [n, outputs], 0 beyond the outputs, with labels [n]."""
        width = self.rows["outputs"] * len(self.sink.fields)
        padded = np.zeros((len(results), width), np.int64)
        padded[:, : results.shape[1]] = results
        spread = {name: np.repeat(values, width) for name, values in labels.items()}
        return padded.reshape(-1), spread | {"output": np.tile(np.arange(width), len(results))}

    def run(self, inputs: dict[str, np.ndarray], count: int, expected: Any, reloads: int = 0) -> Run:
        """A run of `count` rows; the one of a single table is timed."""
        every = self.rows["inputs"]
        middle = min(INTERRUPT, every * count) // every * every + every // 2
        declared = {} if reloads else self._declared(count)
        return Run(
            inputs=inputs,
            beats=count * self.rows["outputs"],
            independent=False,
            interrupt=min(middle, every * count),
            reloads=reloads,
            expected=expected,
            measured=lambda outcome: self._measured(outcome, count),
            declared=declared,
        )

    def _declared(self, count: int) -> dict[str, int]:
        rows = self.rows
        last = (rows["outputs"] - 1) * rows["cycles_per_output"]
        times = {
            "latency": self._latency,
            "a row": rows["cycles"],
            f"a run of {count} rows": self._latency + 1 + last + (count - 1) * rows["cycles"],
        }
        return times if self.load is None else times | {"a load": rows["load_cycles"]}

    def _measured(self, outcome: Outcome, count: int) -> dict[str, int]:
        taken, given = outcome.accepted[self.source.name], outcome.delivered[self.sink.name]
        if len(given) < count * self.rows["outputs"] or not len(taken):
            return {}
        first = given[:: self.rows["outputs"]]
        times = {
            "latency": int(given[0] - taken[0]),
            "a row": int(np.diff(first).max()),
            f"a run of {count} rows": int(given[-1] - taken[0] + 1),
        }
        if self.load is None:
            return times
        loaded = outcome.accepted[self.load.name]
        return times | {"a load": int(loaded[-1] - loaded[0] + 1)}


class _Reloads:
    """Rows while one random table after the other is loaded, every other one of entries at the ends of their range.

    Among the loads are one that lacks a beat, one that has a beat too many and one of twice as many beats: they must
    change nothing.
    """

    def __init__(
        self, design: _Design, x: np.ndarray, against: str, tables: int, cycles: int, rng: np.random.Generator
    ):
        self._design, self._against, self._rng = design, against, rng
        unit = design.unit
        self._units = [_random_table(unit, number, rng) for number in range(tables)]
        whole = len(design.words(unit))
        units, lengths, counts = list(self._units), [whole] * tables, [True] * tables
        for length in (whole - 1, whole + 1, 2 * whole):
            at = int(rng.integers(0, len(units) + 1))
            if length:
                units.insert(at, _random_table(unit, 0, rng))
                lengths.insert(at, length)
                counts.insert(at, False)
        self._loads = design.loads(units, lengths, rng)
        self._ends = (np.cumsum(lengths) - 1)[counts]
        # About as many rows as the loads take time for, and some on the last table.
        count = min(cycles, int(1.2 * len(self._loads))) // design.rows["cycles"] + len(x) // 4 + 4
        self._x = x[rng.integers(0, len(x), count)]

    def run(self) -> Run:
        design = self._design
        assert design.load is not None
        inputs = {design.source.name: design.beats(self._x, self._rng), design.load.name: self._loads}
        return design.run(inputs, len(self._x), self._expected, len(self._units))

    def _expected(self, accepted: Mapping[str, np.ndarray]) -> Labelled:
        """By the cycles in which rows and tables were taken: a row has the last table whose last beat was taken in a
        cycle before that of its own first beat.
        """
        design = self._design
        assert design.load is not None
        loaded = accepted[design.load.name]
        ends = loaded[self._ends[self._ends < len(loaded)]]
        begun = accepted[design.source.name][:: design.rows["inputs"]]
        table = np.searchsorted(ends, begun, side="left")
        results = np.zeros((len(begun), design.unit.outputs), np.int64)
        for number, unit in enumerate(self._units, 1):
            at = np.flatnonzero(table == number)
            if len(at):
                results[at] = evaluate(unit, self._x[at], self._against)
        return design.labelled(results, {"row": np.arange(len(begun)), "table": table})


def _random_table(unit: LutMatmul, number: int, rng: np.random.Generator) -> LutMatmul:
    """A table of the formats of `unit`, by its number random entries, or ends of their range, mixed or one alone."""
    high = 1 << (unit.table_bits - 1)
    ends = [[-high, high - 1], [-high], [high - 1]][number // 2 % 3]
    shape = unit.table.shape
    return unit.replace(table=rng.choice(ends, shape) if number % 2 else _entries(unit, shape, rng))


def _entries(unit: LutMatmul, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    high = 1 << (unit.table_bits - 1)
    return rng.integers(-high, high, shape)
