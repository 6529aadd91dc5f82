"""The cost counter: a network's operations, look-ups, bytes and cycles, layer by layer beside the dense network's."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hwlut.nn.lut import LutLayer
from hwlut.nn.lut.cost import LayerCost, dense_cost, lookup_cost, rows_of
from hwlut.nn.lut.replace import sizes_of
from hwlut.units.lut_array import reads

__all__ = ["Costs", "CountedLayer", "costs"]


@dataclass(frozen=True, kw_only=True)
class CountedLayer:
    """A layer's cost, and that of the dense layer that it stands for or is. kind: "dense", or the encoder with K, v
    and the bits of the table. cycles: of an array for one sample, None of a dense layer."""

    name: str
    kind: str
    cost: LayerCost
    dense: LayerCost
    cycles: int | None


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
        """A table: layer, kind, rows, operations, look-ups, bytes, those of the dense layer, cycles."""
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
        return [*rows, ["total", "", None, *sums, *before, sum(cycles) if cycles else None]]

    HEADERS = ("layer", "kind", "rows", "operations", "look-ups", "bytes", "dense operations", "dense bytes", "cycles")


def costs(model: nn.Module, sample: Any, banks: int | None = None, tile: int | None = None) -> Costs:
    """What `model` costs for one sample, all tokens and places counted.

    Parameters
    ----------
    sample: a batch that the model is called with; how often each layer is used is seen on it.
    banks, tile: of the arrays whose cycles are reckoned, as `hwlut.units.lut_array` has them.

    Products of activations with each other, in attention, are in neither column. Raises ValueError where there is no
    linear layer or convolution.
    """
    rows = rows_of(model, sample)
    if not rows:
        raise ValueError("costs model must call a linear layer, a convolution or a layer of look-ups; it calls none")
    modules = dict(model.named_modules())
    return Costs(tuple(_counted(name, modules[name], count, banks, tile) for name, count in rows.items()))


def _counted(name: str, layer: Any, rows: int, banks: int | None, tile: int | None) -> CountedLayer:
    features, outputs = sizes_of(layer)
    dense = dense_cost(features, outputs, layer.bias is not None, rows)
    if not isinstance(layer, LutLayer):
        return CountedLayer(name=name, kind="dense", cost=dense, dense=dense, cycles=None)
    lookup = layer.lookup
    return CountedLayer(
        name=name,
        kind=f"{lookup.encoder} K={lookup.k} v={layer.v} {lookup.table_bits} bits",
        cost=lookup_cost(lookup, features, outputs, layer.v, layer.bias is not None, rows),
        dense=dense,
        cycles=rows * reads(layer.codebooks, outputs, banks, tile),
    )
