"""Which size of array a program should have, from one tile that is synthesised."""

from collections.abc import Iterable
from dataclasses import dataclass

from hwlut.accel.area import tile_area
from hwlut.accel.fit import fit_tile
from hwlut.explore.choices import Array
from hwlut.explore.costs import cycles_of
from hwlut.units.program import Program

__all__ = ["Estimate", "estimates"]

_SMALL = Array(rows=2, columns=2)
_CELLS = ("multipliers", "accumulators")
_ROWS = ("encoders", "operations", "requantizers", "operators", "lanes", "rows")
"""Blocks of each cell, and of each row; the others are of a tile."""


@dataclass(frozen=True)
class Estimate:
    """cycles: a sample's, as of `cycles_of`. area: gate equivalents."""

    array: Array
    cycles: float
    area: float

    @property
    def product(self) -> float:
        """What an array is chosen by: area times cycles."""
        return self.cycles * self.area


def estimates(program: Program, arrays: Iterable[Array]) -> list[Estimate]:
    """The costs of each array for a program, least product first.

    Cycles are the model's; areas of cells, rows and the rest are those of a tile of 2 x 2. ToolError where yosys is
    missing.
    """
    small = tile_area(fit_tile(program, name="tile_2x2", rows=_SMALL.rows, columns=_SMALL.columns))
    blocks = {block.name: block.gate_equivalents or 0.0 for block in small.blocks}
    cell = sum(blocks.pop(name, 0.0) for name in _CELLS) / (_SMALL.rows * _SMALL.columns)
    row = sum(blocks.pop(name, 0.0) for name in _ROWS) / _SMALL.rows
    whole = sum(blocks.values())
    found = []
    for array in arrays:
        tile = fit_tile(program, rows=array.rows, columns=array.columns)
        area = whole + array.rows * (row + array.columns * cell)
        found.append(Estimate(array, cycles_of(program, tile), area))
    return sorted(found, key=lambda each: each.product)
