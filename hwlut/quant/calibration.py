"""Calibration: quantizers of a model choose their scales by the data that flows through it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hwlut.quant.quantizer import Quantizer

__all__ = ["calibrate"]


def calibrate(model: nn.Module, data: Iterable[Any], quantizers: Iterable[Quantizer] | None = None) -> None:
    """Let `quantizers` (all of `model`'s that have a choice, unless given) choose their scales.

    `data` are batches that the model is called with: each a tensor, a tuple of positional or a dict of keyword
    arguments. The model runs in evaluation mode, without gradients, and each quantizer quantizes by the values it has
    seen so far; afterwards all are frozen and every module is in the mode it was in. Raises ValueError where there is
    no quantizer, no batch, or a quantizer that no batch reached; its scale is as before.
    """
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
            for batch in data:
                _call(model, batch)
        for quantizer in chosen:
            if not quantizer.reached:
                raise ValueError(f"calibration data must reach every quantizer, but not {names.get(quantizer, '?')!r}")
    finally:
        for quantizer in chosen:
            quantizer.freeze()
        for module, training in modes:
            module.training = training


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
