"""What a stream of commands must keep to on a tile, found without running it."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from hwlut.accel.commands import Destination, Mode, Reduction, Requantization, YSource
from hwlut.accel.instructions import Compute, Load
from hwlut.accel.model.accesses import Access, Accesses, by_tree
from hwlut.accel.model.accesses import words as words_of
from hwlut.accel.model.clock import Clock
from hwlut.accel.model.decoding import End, Fault, decode
from hwlut.accel.model.hazards import Hazards
from hwlut.accel.model.nests import steps
from hwlut.accel.timing import load_beats, operator, word_bits
from hwlut.units.nodes import Extent
from hwlut.units.passes import row_passes
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["check"]

_MOST_INPUTS = 4096
"""Of a sub-vector."""


def check(tile: Tile, words: Iterable[int] | np.ndarray) -> int:
    """The beats of data that command words take, where every one of them is defined on `tile`.

    Raises ValueError in one line that names the index of the first command that is not, and what is wrong with it.
    """
    beats, command, clock = 0, None, Clock(tile)
    hazards = Hazards(tile, clock)
    for index, command in enumerate(decode(tile, np.asarray(words, np.uint64).tolist())):
        reason = None
        if isinstance(command, Fault):
            reason = command.reason
        elif isinstance(command, Load):
            clock.take(command)
            reason = _load(tile, command) or hazards.load(command)
            beats += load_beats(tile, word_bits(tile, command.target), command.count)
        elif isinstance(command, Compute):
            if (reason := next(_compute(tile, command), None)) is None:
                clock.take(command)
                reason = hazards.compute(command)
        else:
            clock.take(command)
        if reason is not None:
            raise ValueError(f"Tile command {index}: {reason}")
    if not isinstance(command, End):
        raise ValueError("Tile commands must end with END")
    return beats


def _load(tile: Tile, load: Load) -> str | None:
    memory = load.target.name.lower()
    held, end = words_of(tile, memory), load.address + load.count
    return None if end <= held else f"LOAD must be within the {held} words of {memory}, not to {end}"


def _compute(tile: Tile, compute: Compute) -> Iterator[str]:
    """What is wrong with a COMPUTE."""
    fed, count = steps(compute.feed), compute.count
    if fed % count:
        yield f"COMPUTE count must divide the {fed} steps of the feed, not {count}"
    if compute.mode in (Mode.ARRAY, Mode.LOOK_UP):
        if compute.columns > tile.columns:
            yield f"COMPUTE columns must be at most {tile.columns}, not {compute.columns}"
        if max(compute.period, count) < compute.columns:
            yield f"COMPUTE period must be at least the {compute.columns} columns, not {compute.period}"
    if compute.mode is Mode.ENCODE:
        yield from _encode(tile, compute)
    if compute.mode is not Mode.VECTOR:
        if compute.reduction is not Reduction.NONE:
            yield "COMPUTE reduction must be none but in mode VECTOR"
    if compute.operator >= 0:
        yield from _operator(tile, compute)
    if compute.where and (compute.destination is Destination.OUTPUT or compute.reduction is not Reduction.NONE):
        yield "COMPUTE flag where must be set for memories alone, without a reduction"
    if compute.low > compute.high:
        yield f"COMPUTE low must not be above high, {compute.high}, but is {compute.low}"
    if compute.requantization is not Requantization.NONE and compute.least > compute.most:
        yield f"COMPUTE least must not be above most, {compute.most}, but is {compute.least}"
    accesses = Accesses.of(tile, compute)
    if (stored := steps(compute.store)) != accesses.results:
        yield f"COMPUTE store must have the {accesses.results} steps of its results, not {stored}"
    for access in (*accesses.reads, *accesses.writes):
        yield from _access(tile, access)


def _encode(tile: Tile, compute: Compute) -> Iterator[str]:
    if not by_tree(tile, compute.mode):
        if compute.count > _MOST_INPUTS:
            yield f"COMPUTE count must be at most {_MOST_INPUTS} in mode ENCODE, not {compute.count}"
        return
    levels = (tile.entries - 1).bit_length()
    if compute.count != levels:
        yield f"COMPUTE count must be the tree's {levels} levels, not {compute.count}"
    if compute.y_source is not YSource.IMMEDIATE or compute.requantization is Requantization.CONSTANT:
        yield "COMPUTE y must be the immediate and requantization by registers in mode ENCODE by a tree"


def _operator(tile: Tile, compute: Compute) -> Iterator[str]:
    unit = tile.operators[compute.operator]
    if not isinstance(unit, Program) or unit.extent is not Extent.ROWS:
        return
    if compute.mode is not Mode.VECTOR:
        yield "COMPUTE operator must be of codes but in mode VECTOR"
    (fewest, most), least = _places(unit), operator(unit).least
    if not fewest <= compute.count <= most:
        yield f"COMPUTE count must be from {fewest} to {most}, the operator's places, not {compute.count}"
    if max(compute.count, compute.period) < least:
        yield f"COMPUTE period must be at least the {least} cycles of the operator, not {compute.period}"
    if compute.reduction is not Reduction.NONE:
        yield "COMPUTE reduction must be none with an operator of rows"


@functools.lru_cache(maxsize=64)
def _places(unit: Program) -> tuple[int, int]:
    plan = row_passes(unit)
    return plan.least, plan.most


def _access(tile: Tile, access: Access) -> Iterator[str]:
    if access.name in ("y", "k") and steps(access.loops) not in (1, access.count):
        yield f"COMPUTE step must have the {access.count} steps of its numbers, not {steps(access.loops)}"
    if (extent := access.extent) is not None:
        held, (low, high) = words_of(tile, access.memory), extent
        if low < 0 or high >= held:
            yield f"COMPUTE {access.name} must be within the {held} words of {access.memory}, not {low} to {high}"
