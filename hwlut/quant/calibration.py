"""Calibration: quantizers of a model choose their scales by the data that flows through it."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hwlut.quant.quantizer import Quantizer

__all__ = ["batches_of", "calibrate", "called"]


def calibrate(model: nn.Module, data: Iterable[Any], quantizers: Iterable[Quantizer] | None = None) -> None:
    """Let `quantizers` (all of `model`'s that have a choice, unless given) choose their scales.

    `data` are batches that the model is called with: each a tensor, a tuple of positional or a dict of keyword
    arguments. The model runs in evaluation mode, without gradients, and each quantizer quantizes by the values it has
    seen so far; afterwards all are frozen and every module is in the mode it was in. Raises ValueError where there is
    no quantizer, no batch, or a quantizer that no batch reached; its scale is as before. Raises TypeError for a tensor
    in the place of batches, and for batches that the model cannot be called with, such as pairs with labels.
    """
    batches = batches_of("calibration", data)
    names = {module: name for name, module in model.named_modules() if isinstance(module, Quantizer)}
    chosen = [q for q in (names if quantizers is None else quantizers) if q.calibrates]
    if not chosen:
        raise ValueError("calibration needs a model with a Quantizer that chooses its scale")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for quantizer in chosen:
            quantizer.start()
        with torch.no_grad():
            for batch in batches:
                called("calibration", model, batch)
        for quantizer in chosen:
            if not quantizer.reached:
                raise ValueError(f"calibration data must reach every quantizer, but not {names.get(quantizer, '?')!r}")
    finally:
        for quantizer in chosen:
            quantizer.freeze()
        for module, training in modes:
            module.training = training


def batches_of(purpose: str, data: Iterable[Any]) -> Iterable[Any]:
    """`data`, unless it is one tensor, whose rows would be taken for batches."""
    if isinstance(data, torch.Tensor):
        raise TypeError(f"{purpose} data must be batches, such as [x], not a tensor")
    return data


def called(purpose: str, model: nn.Module, batch: Any) -> Any:
    """What the model gives for a batch: a tensor, a tuple of positional or a dict of keyword arguments."""
    if isinstance(batch, dict):
        return model(**batch)
    if not isinstance(batch, (tuple, list)):
        return model(batch)
    try:
        return model(*batch)
    except TypeError as error:
        try:
            inspect.signature(model.forward).bind(*batch)
        except TypeError as unfit:
            raise TypeError(
                f"{purpose} data must be batches that the model is called with, such as (images for images, _ in"
                f" loader), not of {len(batch)} arguments: {unfit}"
            ) from error
        raise
