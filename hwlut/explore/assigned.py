"""A multiplier for each operation of a model, out of few: the cells of a tile hold all that are chosen."""

import copy
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from hwlut.quant.calibration import called
from hwlut.search import CostTable, MultiplierAssignment, assign_multipliers
from hwlut.train import Task
from hwlut.units.multiplier import Multiplier

__all__ = ["assign_cells"]

_MOST = 2
"""Multipliers in a cell."""


def assign_cells(
    model: nn.Module,
    multipliers: Sequence[Multiplier],
    task: Task,
    batches: Iterable[Any],
    *,
    areas: CostTable,
    harm: float,
    file: Path,
) -> MultiplierAssignment:
    """Give each operation of `model`, in place, one of at most two of `multipliers`, so that a cell with these takes up
    the least area, and of equal ones operations the smaller.

    The loss of each operation alone with each multiplier is measured on `batches` of inputs and targets, less that of
    `model` as it is; the sum of these may be `harm`. What was measured is kept in the file.

    Raises ValueError where no such choice does as little harm.
    """
    held = list(batches)

    def loss(each: nn.Module, batch: Any) -> Any:
        inputs, target = batch
        return task.loss(called("assign_cells", each, inputs), target)

    found: list[tuple[tuple[float, float], nn.Module, MultiplierAssignment]] = []
    for size in range(1, _MOST + 1):
        for cell in itertools.combinations(multipliers, size):
            tried = copy.deepcopy(model)
            try:
                made = assign_multipliers(
                    tried, cell, held, budget=harm, limit="sensitivity", cost=areas.cost(), measure=loss, file=file
                )
            except ValueError:
                continue
            used = {row.multiplier.digest: areas[row.multiplier].area for row in made.layers}
            found.append(((sum(used.values()), made.assignment.cost), tried, made))
    if not found:
        raise ValueError(f"multipliers must do harm of at most {harm:g} in all operations; none do")
    _, best, made = min(found, key=lambda each: each[0])
    for row in made.layers:
        model.set_submodule(row.layer, best.get_submodule(row.layer))
    return made
