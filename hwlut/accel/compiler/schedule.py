"""When words are loaded: behind the COMPUTEs that run beside that, into parts of memories that are done with."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hwlut.accel.commands import Target, XSource
from hwlut.accel.compiler.words import Segment
from hwlut.accel.compiler.work import Step, Work
from hwlut.accel.instructions import Compute, Load, Mark
from hwlut.accel.timing import busy_cycles
from hwlut.units.tile import Tile

__all__ = ["Loaded", "scheduled"]


@dataclass(frozen=True, kw_only=True)
class Loaded(Load):
    """A LOAD, with the words that it takes from the stream of data: a segment, or the codes of a batch."""

    words: Segment | int


@dataclass
class _Memory:
    """A memory of which parts are filled in turn: what each part holds, and which work last used it."""

    starts: tuple[int, ...]
    held: list[Segment | int | None] = field(init=False)
    used: list[int] = field(init=False)
    loaded_for: int = -1

    def __post_init__(self) -> None:
        self.held, self.used = [None] * len(self.starts), [-1] * len(self.starts)


class _Scheduler:
    def __init__(self, tile: Tile, codes: int):
        self._tile, self._codes = tile, codes
        self._memories = {
            Target.WEIGHTS: _Memory((0, tile.weights // 2)),
            Target.CONSTANTS: _Memory((0, tile.constants // 2)),
            Target.TABLES: _Memory(tuple(number << tile.table_inputs for number in range(tile.tables))),
            Target.INPUTS: _Memory((0, tile.inputs // 2)),
        }
        self.computes: list[Compute] = []
        self.before: dict[int, list[Loaded]] = {}
        self.behind: dict[int, list[Loaded]] = {}

    def add(self, work: Work, batch: int) -> None:
        """A work, and what it needs."""
        number, waits = len(self.computes), False
        where: dict[Target, int] = {}
        needs: list[tuple[Target, Segment | int, int]] = [(each.target, each, each.count) for each in work.segments]
        if work.compute.x_source is XSource.INPUTS:
            needs.append((Target.INPUTS, batch, self._codes))
        for target, words, count in needs:
            part, loaded = self._part(target, words, count, number)
            where[target] = part
            waits |= loaded
        compute, starts = work.compute, {target: self._memories[target].starts for target in where}
        moved = {
            name: dataclasses.replace(stream, base=stream.base + starts[target][where[target]])
            for name, stream, target in (
                ("w", compute.w, Target.WEIGHTS),
                ("k", compute.k, Target.CONSTANTS),
                ("x", compute.x, Target.INPUTS),
            )
            if target in where
        }
        table = where.get(Target.TABLES, compute.table)
        self.computes.append(dataclasses.replace(compute, **moved, table=table, wait=waits))  # type: ignore[arg-type]

    def _part(self, target: Target, words: Segment | int, count: int, number: int) -> tuple[int, bool]:
        """Which part of a memory holds words for a work, and whether this is the first that needs them."""
        memory = self._memories[target]
        if words in memory.held:
            part = memory.held.index(words)
            memory.used[part] = number
            return part, False
        part = min(range(len(memory.used)), key=memory.used.__getitem__)
        behind = max(memory.used[part] + 1, memory.loaded_for)
        if target is Target.INPUTS:
            behind = max(behind, self._longest(memory.loaded_for, number))
        load = Loaded(target=target, address=memory.starts[part], count=count, words=words, wait=False)
        if behind < number:
            self.behind.setdefault(behind, []).append(load)
        else:
            used = memory.used[part] >= 0
            self.before.setdefault(number, []).append(dataclasses.replace(load, wait=used))
        memory.held[part], memory.used[part], memory.loaded_for = words, number, number
        return part, True

    def _longest(self, first: int, stop: int) -> int:
        """The longest COMPUTE of those from `first` on, beside which inputs are loaded."""
        some = range(max(first, 0), stop)
        return max(some, key=lambda number: busy_cycles(self._tile, self.computes[number]), default=-1)


def scheduled(tile: Tile, steps: Iterable[Step], codes: int, batches: int) -> Iterator[list[Compute | Load | Mark]]:
    """The instructions of each step of each batch; those of loads are `Loaded`.

    codes: words of inputs that a batch has.
    """
    steps = tuple(steps)
    scheduler, ends = _Scheduler(tile, codes), list[int]()
    for batch in range(batches):
        for step in steps:
            for work in step.works:
                scheduler.add(work, batch)
            ends.append(len(scheduler.computes))
    start = 0
    for mark, end in enumerate(ends):
        found: list[Compute | Load | Mark] = []
        for number in range(start, end):
            found += scheduler.before.get(number, [])
            found.append(scheduler.computes[number])
            found += scheduler.behind.get(number, [])
        yield [*found, Mark(mark)]
        start = end
