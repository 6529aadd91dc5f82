"""Stages of tables of rows."""

import numpy as np
import torch

from hwlut.lowering.elementwise import Operator, numpy_of
from hwlut.lowering.layers import chosen
from hwlut.lowering.numbers import Number
from hwlut.lowering.stage import Context, Stage, for_kinds, for_modules
from hwlut.nn.quantized.layers import QuantizedEmbedding
from hwlut.units.movement import Gather
from hwlut.units.operations import Clamp

__all__: list[str] = []


def _gathered(context: Context, stage: Stage, index: Number, rows: np.ndarray) -> Number:
    """Real rows, on one grid, at each index."""
    grid = context.spanning(float(rows.min()), float(rows.max()))
    codes = np.clip(np.rint(rows / grid.step), grid.format.min, grid.format.max).astype(np.int64)
    low, high = context.builder.spans[index.name]
    name = index.name
    if low < 0 or high >= len(rows):
        name = context.builder.add(Clamp, f"{stage.name}_index", name, 0, len(rows) - 1)
    return Number.on(context.builder.add(Gather, stage.name, name, codes), index.dims + 1, grid)


@for_modules(QuantizedEmbedding)
class QuantizedEmbeddingStage(Stage):
    """A table of quantized rows."""

    def real(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.module(inputs[0].long())

    def lower(self, context: Context, index: Number) -> Number:
        layer = self.module
        with torch.no_grad():
            rows = numpy_of(chosen(layer.weight_choice, "weights").quantized(layer.weight))
        return _gathered(context, self, index, rows)


@for_kinds("embedding")
class Embedding(Operator):
    """A table of real rows, rounded to 16 bits."""

    def real(self, *inputs: torch.Tensor) -> torch.Tensor:
        return super().real(inputs[0].long())

    def lower(self, context: Context, index: Number) -> Number:
        return _gathered(context, self, index, numpy_of(self.argument("weight")))
