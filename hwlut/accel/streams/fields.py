"""What a random COMPUTE does with its numbers, wherever these lie."""

from typing import Any

from hwlut.accel.commands import (
    IMMEDIATE_BITS,
    OPERATIONS,
    ROUNDINGS,
    Destination,
    Mode,
    Reduction,
    Requantization,
    WSource,
    XSource,
    YSource,
)
from hwlut.accel.model.accesses import by_tree
from hwlut.accel.streams.draws import Draws
from hwlut.accel.timing import operator
from hwlut.units.nodes import Extent
from hwlut.units.passes import row_passes
from hwlut.units.program import Program
from hwlut.units.tile import SHIFT_BITS, Tile

__all__ = ["STEPS", "fields"]

STEPS = 12
"""About so many of a feed, and most of a group."""


def fields(tile: Tile, draws: Draws, tables: int) -> dict[str, Any]:
    """Fields of a `Compute` by name, of all that has no address; `tables`: how many may be looked up in."""
    modes = [Mode.VECTOR, *([Mode.ARRAY] if tile.multipliers else [])]
    modes += [Mode.LOOK_UP, Mode.ENCODE] if tile.entries else []
    mode = draws.one(modes)
    found = {"mode": mode} | _group(tile, draws, mode) | _ends(tile, draws, mode) | _lane(tile, draws)
    found["table"] = draws.integer(0, tables) if tables and draws.chance(0.3) else -1
    constant = found["requantization"] is Requantization.CONSTANT
    if (by_tree(tile, mode) or found["operator"] >= 0) and constant:
        found["requantization"] = Requantization.REGISTERS
    alone = found["reduction"] is Reduction.NONE and found["operator"] < 0
    found["where"] = alone and found["destination"] is not Destination.OUTPUT and draws.chance(0.3)
    return found


def _group(tile: Tile, draws: Draws, mode: Mode) -> dict[str, Any]:
    """Groups, the time of each, and what is made of it."""
    count, columns, least = draws.integer(1, STEPS // 2), draws.integer(1, tile.columns + 1), 1
    number = draws.integer(0, len(tile.operators)) if tile.operators and draws.chance(0.4) else -1
    reduction = Reduction.NONE
    unit: Any = tile.operators[number] if number >= 0 else None
    if isinstance(unit, Program) and unit.extent is Extent.ROWS:
        if mode is Mode.VECTOR:
            plan, least = row_passes(unit), operator(unit).least
            count = draws.integer(plan.least, min(plan.most, plan.least + STEPS) + 1)
        else:
            number = -1
    elif mode is Mode.VECTOR:
        reduction = draws.one([Reduction.NONE, Reduction.NONE, *Reduction])
    if mode in (Mode.ARRAY, Mode.LOOK_UP):
        least = columns
    elif by_tree(tile, mode):
        count = (tile.entries - 1).bit_length()
    period = draws.integer(least, max(least, count) + 4)
    return {"count": count, "columns": columns, "period": period, "reduction": reduction, "operator": number}


def _ends(tile: Tile, draws: Draws, mode: Mode) -> dict[str, Any]:
    """Where x, w and y come from, and where the results go."""
    w_source = WSource.WEIGHTS
    kept = [Destination.VALUES, Destination.VALUES, Destination.OUTPUT]
    if tile.operands and mode is Mode.ARRAY and draws.chance(0.5):
        w_source = WSource.OPERANDS
    elif tile.operands:
        kept.append(Destination.OPERANDS)
    return {
        "x_source": draws.one(list(XSource)),
        "w_source": w_source,
        "multiplier": draws.integer(0, len(tile.multipliers)),
        "y_source": YSource.IMMEDIATE if by_tree(tile, mode) else draws.one(list(YSource)),
        "destination": draws.one(kept),
    }


def _lane(tile: Tile, draws: Draws) -> dict[str, Any]:
    """What a lane does beside reductions, operators and tables: often little, so that much can be told from results."""
    low, high = draws.clamp(tile.value_bits - 1)
    least, most = draws.clamp(tile.value_bits - 1)
    operations = ["y", *(each for each in OPERATIONS[2:] if each in tile.operations)]
    factor = draws.integer(0, 1 << tile.factor_bits)
    near = draws.integer(factor.bit_length() - 4, factor.bit_length() + 4)  # where a product is about as large as x
    return {
        "offset": draws.chance(0.3),
        "operation": draws.one(operations) if draws.chance(0.5) else None,
        "swap": draws.chance(0.3),
        "rounding": draws.one(ROUNDINGS),
        "bits": draws.integer(0, 1 << 6),
        "immediate": draws.signed(tile.lane_bits - 1),
        "low": low,
        "high": high,
        "requantization": draws.one(list(Requantization)) if draws.chance(0.5) else Requantization.NONE,
        "factor": factor,
        "shift": max(0, near) if draws.chance(0.7) else draws.integer(0, 1 << SHIFT_BITS),
        "requantize_rounding": draws.one(ROUNDINGS),
        "zero_point": draws.signed(IMMEDIATE_BITS - 1 if draws.chance(0.3) else tile.value_bits // 2),
        "least": least,
        "most": most,
    }
