"""One precision for every operation of a model: what a search starts from, without one."""

from collections.abc import Collection, Iterable
from typing import Any

from torch import nn

from hwlut.nn.quantized import Operands, quantize
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.search.space import Space, space_of

__all__ = ["quantize_uniform"]


def quantize_uniform(
    model: nn.Module,
    batches: Iterable[Any],
    precision: str | Precision = "s8/s8",
    *,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    operands: Operands | None = None,
) -> Space:
    """Let all linear layers, convolutions, embeddings and products of activations of `model`, in place, have operands
    of one precision, calibrated by the batches; the operations that there are.

    batches: what the model is called with, in evaluation mode. precision: of weights and activations, as "s8/s8" or "4"
    name it. include, exclude: patterns of names, as of `space_of`. operands: how they are quantized.

    Raises ValueError where nothing is to be quantized.
    """
    shown = list(batches)
    if not shown:
        raise ValueError("quantize_uniform batches must be at least one")
    chosen = precision if isinstance(precision, Precision) else Precision.parse(precision)
    space = space_of(model, shown[0], (None,), include=include, exclude=exclude)
    quantize(model, {name: (chosen,) for name in space.shapes}, operands, space.owners)
    calibrate(model, shown)
    return space
