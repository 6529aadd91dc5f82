"""A model whose weights, and activations, get quantizers with learned ranges."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from hwlut.fixed import Fixed
from hwlut.nn.quantized import FormatChoice, Operands, quantize, quantized_operations, ranged_quantizers
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.search import Space, space_of

__all__ = ["quantize_ranged"]

_START = Fixed(16)


def quantize_ranged(
    model: nn.Module,
    sample: Any,
    data: Iterable[Any],
    *,
    weights: bool = True,
    activations: bool = False,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    powers: bool = False,
) -> Space:
    """Give operations of `model`, in place, a `hwlut.quant.RangedQuantizer` of 16 bits for each operand, calibrated.

    Linear layers, convolutions and embeddings take part, and with `activations` products of activations too. Layers
    that share a weight share its quantizer. Activations that are never negative in `data` get no sign.

    Parameters
    ----------
    sample: what the model is called with, to find its operations.
    data: batches that the model is called with, as of `hwlut.quant.calibrate`.
    weights, activations: which operands; at least one.
    include, exclude: patterns of names of operations, as of `hwlut.search.space_of`.
    powers: whether the powers of weights are learned.

    Returns the operations with their shapes, the owners of products, and why others are left. Raises ValueError where
    nothing takes part, and for data without a batch.
    """
    if not (weights or activations):
        raise ValueError("quantize_ranged must quantize weights or activations, not neither")
    asked = "same" if activations else "weights"
    space = space_of(model, sample, (_START,), include=include, exclude=exclude, operands=asked)
    if not weights:
        space = _without_tables(model, space)
    precisions = {}
    for name, shape in space.shapes.items():
        weight = _START if weights or not shape.weights else None  # the second operand of a product is an activation
        precisions[name] = (Precision(weight, _START if activations else None),)
    operands = Operands({"source": "ranged", "powers": powers}, {"source": "ranged", "find_sign": True})
    before = set(ranged_quantizers(model).values())
    quantize(model, precisions, operands, space.owners)
    _share(model, space.shapes)
    calibrate(model, data, [each for each in ranged_quantizers(model).values() if each not in before])
    return space


def _without_tables(model: nn.Module, space: Space) -> Space:
    """The space without embeddings, which have no activations."""
    modules = dict(model.named_modules())
    tables = [name for name in space.shapes if isinstance(modules.get(name), nn.Embedding)]
    shapes = {name: shape for name, shape in space.shapes.items() if name not in tables}
    if not shapes:
        raise ValueError(f"quantize_ranged must leave an operation with activations; there are {', '.join(tables)}")
    left = {**space.left, **dict.fromkeys(tables, "an embedding, which has no activations")}
    decisions = tuple(each for each in space.decisions if each.name not in tables)
    return replace(space, decisions=decisions, shapes=shapes, left=left)


def _share(model: nn.Module, names: Collection[str]) -> None:
    """Let layers with one weight have one quantizer of it."""
    choices: dict[int, FormatChoice] = {}
    for name, operation in quantized_operations(model).items():
        weight = getattr(operation, "weight", None)
        if name in names and weight is not None:
            operation.weight_choice = choices.setdefault(id(weight), operation.weight_choice)
