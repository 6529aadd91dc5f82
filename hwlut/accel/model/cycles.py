"""How long a stream of commands takes, and what it moves: by arithmetic on the commands alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hwlut.accel.commands import Destination, Mode
from hwlut.accel.instructions import Compute, Load, Mark
from hwlut.accel.model.accesses import Accesses
from hwlut.accel.model.clock import Clock
from hwlut.accel.model.decoding import End, Fault, decode
from hwlut.units.tile import Tile

__all__ = ["Span", "Work", "profile"]


@dataclass
class Work:
    """What commands do.

    products: products or entries that are added to sums that are stored, of all rows. places: that the whole array has
    in the same cycles. array: cycles in which the array is fed. computing, loading, overlapped: cycles in which a
    COMPUTE, a LOAD, and both are at work. data_beats, result_beats: in and out.
    reads, writes: words by memory; of operands, numbers of a column are written one by one.
    """

    products: int = 0
    places: int = 0
    array: int = 0
    computing: int = 0
    loading: int = 0
    overlapped: int = 0
    data_beats: int = 0
    result_beats: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Span:
    """From one MARK, or the START, to the next MARK, or the END.

    number: of the MARK, None of the END. cycles: in which the tile has moved from START on, before the MARK; or to the
    END, that included. commands: taken until then, likewise. work: of the commands that are taken in it.
    """

    number: int | None
    cycles: int
    commands: int
    work: Work


def profile(tile: Tile, words: Iterable[int] | np.ndarray) -> list[Span]:
    """A `Span` for each MARK and END of command words, without stalls.

    Raises ValueError, naming the command, for one with which a tile ends a run.
    """
    clock, spans, work = Clock(tile), [], Work()
    computed, loaded = (0, 0), (0, 0)  # first cycle, and the one behind the last
    for index, command in enumerate(decode(tile, np.asarray(words, np.uint64).tolist())):
        cycle = clock.take(command)
        if isinstance(command, Compute):
            computed = cycle + 1, clock.computed
            work.computing += clock.computed - cycle - 1
            work.overlapped += _overlap(computed, loaded)
            _compute(tile, command, work)
        elif isinstance(command, Load):
            loaded = cycle + 1, clock.loaded
            beats = clock.loaded - cycle - 1
            work.loading += beats
            work.data_beats += beats
            work.overlapped += _overlap(computed, loaded)
            work.writes[command.target.name.lower()] += command.count
        elif isinstance(command, (Mark, End)):
            if isinstance(command, Mark):
                spans.append(Span(command.number, cycle, clock.commands - 1, work))
            else:
                spans.append(Span(None, cycle + 1, clock.commands, work))
                computed, loaded = (0, 0), (0, 0)
            work = Work()
        elif isinstance(command, Fault):
            raise ValueError(f"Tile command {index}: {command.reason}")
    return spans


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> int:
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))


def _compute(tile: Tile, compute: Compute, work: Work) -> None:
    accesses = Accesses.of(tile, compute)
    if compute.mode in (Mode.ARRAY, Mode.LOOK_UP):
        work.array += accesses.steps
        work.products += accesses.steps * tile.rows * compute.columns
        work.places += accesses.steps * tile.rows * tile.columns
    for access in accesses.reads:
        work.reads[access.memory] += access.count
    if compute.table >= 0:
        work.reads["tables"] += accesses.results
    for access in accesses.writes:
        work.writes[access.memory] += access.count
    if compute.destination is Destination.OUTPUT:
        work.result_beats += accesses.results
