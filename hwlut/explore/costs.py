"""What a design costs: cycles and area of the tile of an array that a program fits."""

import math
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hwlut.accel.area import tile_area
from hwlut.accel.compiler import compile_program
from hwlut.accel.fit import fit_tile
from hwlut.accel.model import profile
from hwlut.explore.choices import Array
from hwlut.fields import shorten
from hwlut.search import CostTable, synthesized
from hwlut.unit import load
from hwlut.units.multiplier import Multiplier
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["Budget", "cost_design", "cycles_of", "multiplier_costs"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a design may cost: area in gate equivalents, cycles a sample; None for no limit."""

    area: float | None = None
    cycles: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"Budget {field.name} must be a number, not {shorten(value)}")
            if not 0 < value < math.inf:
                raise ValueError(f"Budget {field.name} must be above 0 and finite, not {value:g}")
            object.__setattr__(self, field.name, float(value))

    def excess(self, *, area: float | None = None, cycles: float | None = None) -> str | None:
        """What of these is over the budget, in words."""
        if self.cycles is not None and cycles is not None and cycles > self.cycles:
            return f"over the budget: {cycles:.6g} cycles a sample of at most {self.cycles:.6g}"
        if self.area is not None and area is not None and area > self.area:
            return f"over the budget: {area:.6g} gate equivalents of at most {self.area:.6g}"
        return None

    def too_many(self, array: Array, multiplier: float) -> str | None:
        """Whether the array's multipliers alone, of so many gate equivalents each, are over the budget, in words."""
        if (found := self.excess(area=array.rows * array.columns * multiplier)) is None:
            return None
        return f"{found}, for the multipliers alone"


def cycles_of(program: Program, tile: Tile) -> float:
    """Cycles that a sample takes on a tile whose rows are all in use, in a long run, without stalls.

    Of the two batches behind the first: they begin while the batch before is computed, as all others do.
    """
    compiled = compile_program(program, tile)
    first, third = (profile(tile, compiled.words(batches))[-1].cycles for batches in (1, 3))
    return (third - first) / (2 * tile.rows)


def cost_design(folder: Path, array: Array, budget: Budget) -> dict[str, Any]:
    """Figures of the tile of an `array` for the program in a network's folder, and why by the `budget` it is no choice.

    The tile is kept as ``tile_RxC.json``. No area is told of one that takes more cycles than there are. ToolError where
    yosys is missing.
    """
    program = load(folder / "program.json")
    assert isinstance(program, Program)
    name = f"tile_{array.label}"
    try:
        tile = fit_tile(program, name=name, rows=array.rows, columns=array.columns)
    except ValueError as error:
        return {"reason": f"no tile computes it: {error}"}
    tile.save(folder / f"{name}.json")
    cycles = cycles_of(program, tile)
    found: dict[str, Any] = {"tile": tile.digest, "cycles": cycles, "reason": budget.excess(cycles=cycles)}
    if found["reason"] is None:
        taken = tile_area(tile)
        area = taken.gate_equivalents
        assert area is not None  # the default cell library has a two-input NAND
        found |= {"area": area, "ram_bits": taken.ram_bits, "delay": taken.delay, "reason": budget.excess(area=area)}
    return found


def multiplier_costs(units: Iterable[Multiplier], file: Path, executor: Executor | None) -> CostTable:
    """Costs of `units`, bare as a tile's cells have them, in a file that searches take too; without an executor, mapped
    here, one by one."""
    every = list(units)
    groups = [every] if executor is not None else [every[place : place + 1] for place in range(max(1, len(every)))]
    for group in groups:
        table = synthesized(group, file=file, form={"combinational": True}, executor=executor)
    return table
