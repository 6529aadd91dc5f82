"""Operands with learned ranges: found, fixed to whole numbers of bits, and made ordinary ones."""

import torch
from torch import nn

from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.quantize import quantized_operations
from hwlut.quant import RangedQuantizer

__all__ = ["fix_ranges", "ranged_quantizers", "settle_ranges"]


def ranged_quantizers(model: nn.Module) -> dict[str, RangedQuantizer]:
    """The quantizers of `model` with learned ranges, by module path; one that several layers share is there once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, RangedQuantizer)}


def fix_ranges(model: nn.Module) -> None:
    """Let every quantizer of `model` with a learned range take the nearest whole number of bits, see its `fix`.

    Weights are overwritten by what their codes stand for before they are rounded. ValueError where there is none.
    """
    found = ranged_quantizers(model)
    _check_found("fix_ranges", found)
    weights: dict[RangedQuantizer, torch.Tensor] = {}
    for operation in quantized_operations(model).values():
        weight = getattr(operation, "weight", None)
        chosen = operation.weight_choice.quantizer(operation.weight_choice.selected)
        if isinstance(weight, torch.Tensor) and isinstance(chosen, RangedQuantizer):
            weights[chosen] = weight
    for quantizer in found.values():
        quantizer.fix(weights.get(quantizer))


def settle_ranges(model: nn.Module) -> None:
    """Replace every quantizer of `model` with a learned range, once it is fixed, by an ordinary one of its format.

    Steps are the same parameters. ValueError where there is none, and for one that is not fixed, by its path; then
    the model is as it was.
    """
    found = ranged_quantizers(model)
    _check_found("settle_ranges", found)
    for name, quantizer in found.items():
        if not quantizer.fixed:
            raise ValueError(f"settle_ranges quantizer {name!r} must have a fixed number of bits, by fix_ranges")
    for module in list(model.modules()):
        if isinstance(module, FormatChoice):
            chosen = module.quantizer(module.selected)
            if isinstance(chosen, RangedQuantizer):
                module.settle_on(chosen.plain())


def _check_found(verb: str, found: dict[str, RangedQuantizer]) -> None:
    if not found:
        raise ValueError(f"{verb} model must have a quantizer with a learned range; it has none")
