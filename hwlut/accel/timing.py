"""How long a tile takes for what it is told: the one place that its hardware and its cycle model are built to.

All cycles are those in which the tile moves. A command is taken in a cycle; what it starts runs from the next one on.
"""

import functools
from dataclasses import dataclass

from hwlut.accel.commands import Mode, Target
from hwlut.accel.instructions import Compute
from hwlut.unit import Unit
from hwlut.units.lut_matmul import Encoder
from hwlut.units.nodes import Extent
from hwlut.units.passes import row_passes
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["ARRAY", "ENCODE", "LANE", "Operator", "busy_cycles", "load_beats", "load_parts", "operator", "word_bits"]

LANE = 6
"""From the cycle in which a number's addresses are given to that in which its result is written."""

ARRAY = 2
"""From the cycle in which the last operands' addresses of a sum are given to the first cycle that reads it."""

ENCODE = {Encoder.TREE: 3, Encoder.L1: 4, Encoder.L2: 4, Encoder.CHEBYSHEV: 4}
"""Likewise, of a code."""


@dataclass(frozen=True)
class Operator:
    """What an operator adds to the time of a lane.

    latency: of a row of one, or of a code. passes: 1 for codes; of rows, each place behind the first costs a cycle in
    every pass but the last. least: fewest cycles between the starts of rows, with which none of them ever waits.
    """

    latency: int
    passes: int
    least: int

    def delay(self, places: int) -> int:
        """From the first place of a row to its first result."""
        return self.latency + (self.passes - 1) * (places - 1)


@functools.lru_cache(maxsize=64)
def operator(unit: Unit) -> Operator:
    """The times of a unit of codes or of rows in its default form."""
    if isinstance(unit, Program) and unit.extent is Extent.ROWS:
        plan = row_passes(unit)
        waits = [each.between.plan.latency + 4 for each in plan.passes if each.between is not None]
        return Operator(plan.latency, len(plan.passes), -(-max(waits, default=1) // 3))
    return Operator(unit.cost().latency, 1, 1)


def busy_cycles(tile: Tile, compute: Compute) -> int:
    """Cycles for which a COMPUTE keeps the tile from the next one."""
    groups, count = _groups(compute), compute.count
    last = (groups - 1) * max(count, compute.period) + count - 1
    if compute.mode in (Mode.ARRAY, Mode.LOOK_UP):
        last += ARRAY + compute.columns - 1
    elif compute.mode is Mode.ENCODE:
        assert tile.encoder is not None
        last += ENCODE[tile.encoder]
    if compute.operator >= 0:
        last += operator(tile.operators[compute.operator]).delay(count if compute.mode is Mode.VECTOR else 1)
    return last + 1 + LANE


def _groups(compute: Compute) -> int:
    steps = 1
    for size in compute.feed.sizes:
        steps *= size
    groups, rest = divmod(steps, compute.count)
    if rest:
        raise ValueError(f"Tile count must divide the {steps} steps of the feed, not {compute.count}")
    return groups


def word_bits(tile: Tile, target: Target) -> int:
    """Bits of a word of what a LOAD fills, as it comes in beats."""
    return {
        Target.WEIGHTS: tile.columns * tile.weight_bits,
        Target.CONSTANTS: tile.constant_bits,
        Target.TABLES: tile.table_outputs,
        Target.INPUTS: 8 * tile.beat_bytes,
    }[target]


def load_parts(tile: Tile, bits: int) -> int:
    """Beats of a word of so many bits."""
    return -(-bits // (8 * tile.beat_bytes))


def load_beats(tile: Tile, bits: int, count: int) -> int:
    """Beats, and cycles, of a LOAD of `count` words."""
    return load_parts(tile, bits) * count
