"""What happens in a tile's lanes to numbers on their way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwlut.accel.commands import Reduction, Requantization
from hwlut.accel.instructions import Compute
from hwlut.accel.model.numbers import low_bits, round_shift, wrap
from hwlut.unit import Unit
from hwlut.units.nodes import Extent
from hwlut.units.program import Program
from hwlut.units.tile import REQUANTIZED_BITS, Operation, Tile

__all__ = ["Constants", "lanes"]

_AMOUNT = 63


@dataclass(frozen=True)
class Constants:
    """Words of constants, each int64 [n, 1]."""

    offset: np.ndarray
    factor: np.ndarray
    shift: np.ndarray

    def at(self, places: slice) -> "Constants":
        """Some of them."""
        return Constants(self.offset[places], self.factor[places], self.shift[places])


def lanes(
    tile: Tile, tables: np.ndarray, compute: Compute, x: np.ndarray, y: np.ndarray, constants: Constants
) -> np.ndarray:
    """What a COMPUTE stores, int64 [results, rows], of its numbers with their offsets added.

    Parameters
    ----------
    tables: entries int64.
    x: int64 [n, rows], in whole groups of `compute.count` where it reduces or has an operator of rows.
    y: int64 of `lane_bits` that broadcasts to x.
    constants: n of them.
    """
    bits = tile.lane_bits
    x, y = wrap(x, bits), np.broadcast_to(y, x.shape)
    if compute.swap:
        x, y = y, x
    x = _operated(compute, x, y, bits)
    if compute.reduction is not Reduction.NONE:
        groups = x.reshape(-1, compute.count, x.shape[1])
        x = wrap(groups.sum(1), bits) if compute.reduction is Reduction.SUM else groups.max(1)
        constants = constants.at(slice(compute.count - 1, None, compute.count))
    if compute.operator >= 0:
        x = _operator(tile.operators[compute.operator], x, compute.count)
    x = np.minimum(np.maximum(x, compute.low), compute.high)
    if compute.requantization is not Requantization.NONE:
        x = _requantized(compute, x, constants)
    if compute.table >= 0:
        size = 1 << tile.table_inputs
        x = tables[compute.table * size + (x & size - 1)]
    return wrap(x, tile.value_bits)


def _operated(compute: Compute, x: np.ndarray, y: np.ndarray, bits: int) -> np.ndarray:
    if compute.operation is None:
        return x
    if compute.operation == "y":
        return y
    if compute.operation is Operation.LEADING_ONE:
        return np.maximum(np.frexp((x & (1 << bits) - 1).astype(np.float64))[1].astype(np.int64) - 1, 0)
    return wrap(_OPERATIONS[Operation(compute.operation)](x, y, compute), bits)


_OPERATIONS: dict[Operation, Callable[[np.ndarray, np.ndarray, Compute], np.ndarray]] = {
    Operation.ADD: lambda x, y, _: x + y,
    Operation.SUBTRACT: lambda x, y, _: x - y,
    Operation.MULTIPLY: lambda x, y, _: x * y,
    Operation.LESS: lambda x, y, _: (x < y).astype(np.int64),
    Operation.EQUAL: lambda x, y, _: (x == y).astype(np.int64),
    Operation.SHIFT_LEFT: lambda x, y, _: x << (y & _AMOUNT),
    Operation.SHIFT_RIGHT: lambda x, y, compute: round_shift(x, y & _AMOUNT, compute.rounding),
    Operation.BITS: lambda x, y, compute: x >> (y & _AMOUNT) & (1 << compute.bits) - 1,
}


def _operator(unit: Unit, x: np.ndarray, count: int) -> np.ndarray:
    import torch

    codes = low_bits(x, unit.input)  # type: ignore[attr-defined]
    rows = isinstance(unit, Program) and unit.extent is Extent.ROWS
    if rows:
        codes = codes.reshape(-1, count, x.shape[1]).swapaxes(1, 2)
    found = unit(torch.from_numpy(np.ascontiguousarray(codes))).numpy().astype(np.int64)
    return found.swapaxes(1, 2).reshape(x.shape) if rows else found


def _requantized(compute: Compute, x: np.ndarray, constants: Constants) -> np.ndarray:
    factor: Any = compute.factor
    shift: Any = compute.shift
    if compute.requantization is Requantization.CONSTANT:
        factor, shift = constants.factor, constants.shift
    rounded = round_shift(wrap(x, REQUANTIZED_BITS) * factor, shift, compute.requantize_rounding)
    # Clamped before the zero point is added, which int64 then holds.
    least, most = compute.least - compute.zero_point, compute.most - compute.zero_point
    return np.minimum(np.maximum(rounded, least), most) + compute.zero_point
