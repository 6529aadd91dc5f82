"""What look-ups cost in hardware: an array for each of their shapes, as the generator that emits its RTL makes it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.nn.lut import Lookup, LutLayer
from hwlut.nn.lut.cost import rows_of
from hwlut.nn.lut.replace import looked_up_layer
from hwlut.search.blocks import CostTable
from hwlut.search.cost import Cost
from hwlut.units.lut_array import reads
from hwlut.units.lut_matmul import CODE, Encoder, LutMatmul

__all__ = ["lookup_area", "lookup_cycles_of_block", "lookup_unit", "lookup_units"]

_OUTPUTS = 16


def lookup_unit(lookup: Lookup, v: int) -> LutMatmul:
    """An array of the shape of `lookup`: one codebook of v inputs, 16 outputs at once, without what follows the sums.

    Its prototypes and entries are drawn, the same each time: costs are of a shape, before any layer has learned.
    """
    numbers = np.random.default_rng(0)
    entries = Fixed(lookup.table_bits)
    given: dict[str, Any] = {"table": numbers.integers(entries.min, entries.max + 1, (1, lookup.k, _OUTPUTS))}
    if lookup.encoder == "tree":
        given["thresholds"] = numbers.integers(CODE.min, CODE.max + 1, (1, lookup.k - 1))
        given["dimensions"] = numbers.integers(0, v, (1, lookup.k.bit_length() - 1))
    else:
        given["prototypes"] = numbers.integers(CODE.min, CODE.max + 1, (1, lookup.k, v))
    name = f"lookup_{lookup.encoder}_k{lookup.k}_v{v}_{lookup.table_bits}"
    return LutMatmul(name=name, encoder=Encoder(lookup.encoder), features=v, v=v, table_bits=lookup.table_bits, **given)


def lookup_units(model: nn.Module, lookups: Iterable[Lookup]) -> tuple[LutMatmul, ...]:
    """The arrays of all shapes that `lookups` make of linear layers and convolutions of one group, each once: what
    `hwlut.search.synthesized` takes."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and getattr(module, "groups", 1) == 1
    ]
    units = (lookup_unit(lookup, _like(layer, lookup).v) for lookup in lookups for layer in layers)
    return tuple({unit.digest: unit for unit in units}.values())


def lookup_cycles_of_block(layer: LutLayer, rows: int) -> int:
    """Cycles of so many rows of a layer on the array of `lookup_unit`, whose encoder keeps up."""
    return rows * reads(layer.codebooks, layer.outputs, 1, _OUTPUTS)


def lookup_area(table: CostTable, model: nn.Module, sample: Any, figure: str = "area") -> Cost:
    """The `Cost` of (name of a layer, Lookup): a figure of the array of its shape, times the cycles that it takes.

    With "area" this is um^2 cycles; memories are in no area.

    table: blocks of the shapes, as ``synthesized(lookup_units(model, lookups), file=...)`` and ``CostTable.load`` give.
    sample: a batch that the model is called with. figure: as for `CostTable.cost`.

    ValueError for another figure, and when called: for a layer that the model does not call, and a shape that is not in
    the table.
    """
    of_unit, rows, modules = table.cost(figure), rows_of(model, sample), dict(model.named_modules())

    def cost(name: Any, lookup: Any) -> float:
        if name not in rows:
            raise ValueError(f"lookup_area model must call layer {shorten(name)}")
        like = _like(modules[name], lookup)
        return lookup_cycles_of_block(like, rows[name]) * of_unit(name, lookup_unit(lookup, like.v))

    return cost


def _like(layer: nn.Module, lookup: Lookup) -> LutLayer:
    like = looked_up_layer(layer, lookup)
    assert isinstance(like, LutLayer)
    return like
