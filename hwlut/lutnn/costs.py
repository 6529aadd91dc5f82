"""The cost counter: a network's operations, look-ups, bytes and cycles, layer by layer beside the dense network's."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hwlut.nn.lut import LutLayer
from hwlut.nn.lut.cost import LayerCost, dense_cost, lookup_cost, rows_of
from hwlut.nn.lut.replace import sizes_of
from hwlut.search import CostTable, lookup_unit
from hwlut.search.lookup_cost import lookup_cycles_of_block
from hwlut.units.lut_array import reads
from hwlut.units.lut_matmul import LutMatmul

__all__ = ["Costs", "CountedLayer", "costs", "shapes_of"]


@dataclass(frozen=True, kw_only=True)
class CountedLayer:
    """A layer's cost, and that of the dense layer that it stands for or is. kind: "dense", or the encoder with K, v
    and the bits of the table. cycles: of an array for one sample, None of a dense layer. area_cycles: um^2 of the
    synthesised array of its shape times the cycles on that, None of a dense layer and without a table of costs."""

    name: str
    kind: str
    cost: LayerCost
    dense: LayerCost
    cycles: int | None
    area_cycles: float | None


@dataclass(frozen=True)
class Costs:
    """Of every linear layer and convolution, dense or by look-ups, for one sample."""

    layers: tuple[CountedLayer, ...]

    def total(self, figure: str, dense: bool = False) -> int:
        """The sum of a figure of `LayerCost` ("operations" too) over all layers, or over all as dense ones."""
        return sum(getattr(layer.dense if dense else layer.cost, figure) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, with the totals."""
        figures = ("operations", "macs", "lookups", "bytes")
        return {
            "layers": [
                asdict(layer) | {"operations": [layer.cost.operations, layer.dense.operations]} for layer in self.layers
            ],
            "total": {name: self.total(name) for name in figures},
            "dense": {name: self.total(name, dense=True) for name in figures},
        }

    def rows(self) -> list[list[Any]]:
        """A table under `headers`."""
        rows: list[list[Any]] = [
            [
                *(each.name, each.kind, each.cost.rows, each.cost.operations, each.cost.lookups, each.cost.bytes),
                *(each.dense.operations, each.dense.bytes, each.cycles),
            ]
            for each in self.layers
        ]
        sums = [self.total(name) for name in ("operations", "lookups", "bytes")]
        cycles = [each.cycles for each in self.layers if each.cycles is not None]
        before = [self.total(name, dense=True) for name in ("operations", "bytes")]
        rows.append(["total", "", None, *sums, *before, sum(cycles) if cycles else None])
        if not self._areas:
            return rows
        areas = [*(each.area_cycles for each in self.layers), sum(self._areas)]
        return [[*row, None if area is None else area / 1e6] for row, area in zip(rows, areas)]

    @property
    def headers(self) -> tuple[str, ...]:
        """Of the columns: areas are there where there was a table of costs."""
        names = (
            "layer",
            "kind",
            "rows",
            "operations",
            "look-ups",
            "bytes",
            "dense operations",
            "dense bytes",
            "cycles",
        )
        return (*names, "mm^2 cycles") if self._areas else names

    @property
    def _areas(self) -> list[float]:
        return [each.area_cycles for each in self.layers if each.area_cycles is not None]


def costs(
    model: nn.Module, sample: Any, banks: int | None = None, tile: int | None = None, table: CostTable | None = None
) -> Costs:
    """What `model` costs for one sample, all tokens and places counted.

    Parameters
    ----------
    sample: a batch that the model is called with; how often each layer is used is seen on it.
    banks, tile: of the arrays whose cycles are reckoned, as `hwlut.units.lut_array` has them.
    table: blocks of the shapes of look-ups, `shapes_of` the model, by which areas are told.

    Products of activations with each other, in attention, are in neither column. Raises ValueError where there is no
    linear layer or convolution.
    """
    rows = rows_of(model, sample)
    if not rows:
        raise ValueError("costs model must call a linear layer, a convolution or a layer of look-ups; it calls none")
    modules = dict(model.named_modules())
    return Costs(tuple(_counted(name, modules[name], count, banks, tile, table) for name, count in rows.items()))


def shapes_of(model: nn.Module) -> tuple[LutMatmul, ...]:
    """The arrays of all shapes of look-ups in `model`, each once: what `hwlut.search.synthesized` takes."""
    layers = [module for module in model.modules() if isinstance(module, LutLayer)]
    return tuple({unit.digest: unit for unit in (lookup_unit(each.lookup, each.v) for each in layers)}.values())


def _counted(
    name: str, layer: Any, rows: int, banks: int | None, tile: int | None, table: CostTable | None
) -> CountedLayer:
    features, outputs = sizes_of(layer)
    dense = dense_cost(features, outputs, layer.bias is not None, rows)
    if not isinstance(layer, LutLayer):
        return CountedLayer(name=name, kind="dense", cost=dense, dense=dense, cycles=None, area_cycles=None)
    lookup = layer.lookup
    area = None if table is None else table[lookup_unit(lookup, layer.v)].area
    return CountedLayer(
        name=name,
        kind=f"{lookup.encoder} K={lookup.k} v={layer.v} {lookup.table_bits} bits",
        cost=lookup_cost(lookup, features, outputs, layer.v, layer.bias is not None, rows),
        dense=dense,
        cycles=rows * reads(layer.codebooks, outputs, banks, tile),
        area_cycles=None if area is None else area * lookup_cycles_of_block(layer, rows),
    )
