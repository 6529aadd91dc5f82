"""A tile as a machine of commands and data, in numpy: bit for bit, and cycle by cycle at its marks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwlut.accel.commands import Destination, Error, Mode, XSource, YSource
from hwlut.accel.instructions import Compute, Load, Mark
from hwlut.accel.model.accesses import by_tree
from hwlut.accel.model.cells import Cells
from hwlut.accel.model.clock import Clock
from hwlut.accel.model.decoding import Command, Fault, decode
from hwlut.accel.model.lanes import Constants, lanes
from hwlut.accel.model.memories import Memories
from hwlut.accel.model.nests import addresses, steps
from hwlut.accel.model.numbers import to_bytes, wrap
from hwlut.accel.timing import load_beats, word_bits
from hwlut.units.tile import Tile

__all__ = ["Failure", "Machine", "Marked", "Ran"]

_AT_ONCE = 1 << 20  # numbers of operands held at a time


@dataclass(frozen=True)
class Marked:
    """What a MARK sends: its number, and the cycles in which the tile moved and the commands since START, which count
    but the MARK itself."""

    number: int
    cycles: int
    commands: int


@dataclass(frozen=True)
class Failure:
    """The error with which a run is over, and the index of the command."""

    error: Error
    index: int


@dataclass(frozen=True)
class Ran:
    """What comes out of a tile.

    results: beats, uint8 [n, beat_bytes]. last: bool [n], of each COMPUTE's last.
    marks: in order. cycles: from START to the END, or to the command in error, both included; of the last run where
    there were several. commands: that were taken in it.
    error: or None. What was being computed then need not be written.
    """

    results: np.ndarray
    last: np.ndarray
    marks: tuple[Marked, ...]
    cycles: int
    commands: int
    error: Failure | None


class Machine:
    """A tile whose memories keep what they hold from run to run; they are at first 0.

    A COMPUTE's reads come before its own writes; where it reads what it has written before it is undefined here as in
    hardware, and so is what `hwlut.accel.model.check` refuses.
    """

    def __init__(self, tile: Tile):
        self.tile = tile
        self.memories = Memories(tile)
        self._cells = Cells(tile, self.memories)

    def run(self, words: np.ndarray, data: np.ndarray) -> Ran:
        """Execute command words uint64 [n] with beats of data uint8 [beats, beat_bytes].

        Raises ValueError where the data end before the commands, or are not of that shape.
        """
        run = _Run(self.tile, data)
        for index, command in enumerate(decode(self.tile, np.asarray(words, np.uint64).tolist())):
            self._step(run, index, command)
        return run.ran()

    def _step(self, run: "_Run", index: int, command: Command) -> None:
        run.clock.take(command)
        if isinstance(command, Load):
            self.memories.load(
                command, run.beats(load_beats(self.tile, word_bits(self.tile, command.target), command.count))
            )
        elif isinstance(command, Compute):
            for results in self._compute(command):
                run.send(results)
            run.end()
        elif isinstance(command, Mark):
            run.marks.append(Marked(command.number, run.clock.cycle, run.clock.commands - 1))
        elif isinstance(command, Fault):
            run.error = Failure(command.error, index)

    def _compute(self, compute: Compute) -> Iterator[np.ndarray]:
        """Writes results or gives them, int64 [n, rows], part by part."""
        stored = 0
        for first, count in self._parts(compute):
            results, written = self._results(compute, first, count)
            if compute.destination is Destination.OUTPUT:
                yield results
            else:
                self._store(compute, addresses(compute.store, compute.z, stored, len(results)), results, written)
            stored += len(results)

    def _parts(self, compute: Compute) -> Iterator[tuple[int, int]]:
        """The first and the number of feed steps, whole groups, whose operands can be held at a time."""
        total, count = steps(compute.feed), compute.count
        columns = self.tile.columns if compute.mode in (Mode.ARRAY, Mode.LOOK_UP) else 1
        part = max(1, _AT_ONCE // (count * self.tile.rows * columns)) * count
        for first in range(0, total, part):
            yield first, min(part, total - first)

    def _results(self, compute: Compute, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """What the lanes make of feed steps, and where it is written, bool [n, rows]."""
        tile = self.tile
        x = self._read(compute, first, count)
        groups = count // compute.count
        per_group = 1
        if compute.mode is Mode.VECTOR:
            per_group = compute.count
        else:
            grouped = x.reshape(groups, compute.count, tile.rows)
            w = addresses(compute.feed, compute.w, first, count).reshape(groups, compute.count)
            if compute.mode is Mode.ENCODE:
                x = self._cells.codes(grouped, w)
            else:
                per_group = compute.columns
                x = self._cells.sums(compute, grouped, w).reshape(-1, tile.rows)
        steps_before = first // compute.count * per_group
        constants = self._constants(compute, steps_before, len(x))
        if compute.offset and not by_tree(self.tile, compute.mode):
            x = x + constants.offset
        y = wrap(self._y(compute, steps_before, len(x), constants), tile.lane_bits)
        written = np.broadcast_to(y != 0 if compute.where else np.True_, x.shape)
        return lanes(tile, self.memories.tables, compute, x, y, constants), written

    def _read(self, compute: Compute, first: int, count: int) -> np.ndarray:
        held = self.memories.inputs if compute.x_source is XSource.INPUTS else self.memories.values
        places = addresses(compute.feed, compute.x, first, count)
        if compute.offset and by_tree(self.tile, compute.mode):
            places = places + self._constants(compute, first, count).offset[:, 0]
        return held[places % len(held)]

    def _constants(self, compute: Compute, first: int, count: int) -> Constants:
        places = addresses(compute.step, compute.k, first, count) % len(self.memories.constants)
        return Constants(*self.memories.constants[places].T[..., None])

    def _y(self, compute: Compute, first: int, count: int, constants: Constants) -> np.ndarray:
        if compute.y_source is YSource.IMMEDIATE:
            return np.array(compute.immediate)
        if compute.y_source is YSource.OFFSET:
            return constants.offset
        places = addresses(compute.step, compute.y, first, count)
        return self.memories.values[places % len(self.memories.values)]

    def _store(self, compute: Compute, places: np.ndarray, results: np.ndarray, written: np.ndarray) -> None:
        held = self.memories.values
        if compute.destination is Destination.OPERANDS:
            held = self.memories.operands
            results = results & (1 << self.tile.operand_bits[1]) - 1
        places = places % len(held)
        if compute.where:
            number, row = np.nonzero(written)
            held[places[number], row] = results[number, row]
        else:
            held[places] = results


class _Run:
    """What comes in and goes out while commands are taken."""

    def __init__(self, tile: Tile, data: np.ndarray):
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != tile.beat_bytes:
            raise ValueError(
                f"Machine data must be uint8 [beats, {tile.beat_bytes}], not {data.dtype} {list(data.shape)}"
            )
        self._tile, self._data, self._taken = tile, data, 0
        self.clock = Clock(tile)
        self.marks: list[Marked] = []
        self.error: Failure | None = None
        self._sent = [np.zeros((0, tile.beat_bytes), np.uint8)]
        self._count = 0
        self._lasts: list[int] = []

    def beats(self, count: int) -> np.ndarray:
        """The next beats of data."""
        self._taken += count
        if self._taken > len(self._data):
            raise ValueError(f"Machine data must be at least {self._taken} beats, not {len(self._data)}")
        return self._data[self._taken - count : self._taken]

    def send(self, results: np.ndarray) -> None:
        """A beat of each row of results, int64 [n, rows]."""
        self._sent.append(to_bytes(results, self._tile.lane_bytes).reshape(len(results), -1))
        self._count += len(results)

    def end(self) -> None:
        """The last result so far is the last of a COMPUTE."""
        if self._count:
            self._lasts.append(self._count - 1)

    def ran(self) -> Ran:
        results = np.concatenate(self._sent)
        last = np.zeros(len(results), bool)
        last[self._lasts] = True
        return Ran(results, last, tuple(self.marks), self.clock.cycle + 1, self.clock.commands, self.error)
