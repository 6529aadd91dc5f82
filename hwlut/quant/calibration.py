"""Calibration: modules of a model choose their numbers, most often scales, by the data that flows through it."""

import inspect
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from hwlut.quant.modes import evaluating

__all__ = ["Calibrated", "batches_of", "calibrate", "called"]


@runtime_checkable
class Calibrated(Protocol):
    """A module that chooses numbers by the values it sees between `start` and `freeze`: a `Quantizer`, for one.

    calibrates: whether there is anything to choose. calibrated: whether it is chosen. reached: whether it has seen a
    value since `start`. `settle` is called before `freeze`.
    """

    calibrated: bool
    reached: bool

    @property
    def calibrates(self) -> bool: ...

    def start(self) -> None:
        """Begin to observe."""

    def settle(self) -> None:
        """Choose what takes all values at once."""

    def freeze(self) -> None:
        """Choose, and observe no more."""


def calibrate(model: nn.Module, data: Iterable[Any], modules: Iterable[Calibrated] | None = None) -> None:
    """Let `modules` (all of `model`'s that have a choice, unless given), most often quantizers, choose their numbers.

    `data` are batches that the model is called with: each a tensor, a tuple of positional or a dict of keyword
    arguments. The model runs in evaluation mode, without gradients, and each quantizer quantizes by the values it has
    seen so far; afterwards all are frozen and every module is in the mode it was in. Raises ValueError where there is
    no quantizer, no batch, or a quantizer that no batch reached; its scale is as before. Raises TypeError for a tensor
    in the place of batches, and for batches that the model cannot be called with, such as pairs with labels.
    """
    batches = batches_of("calibration", data)
    names: dict[Any, str] = {module: name for name, module in model.named_modules() if isinstance(module, Calibrated)}
    chosen = [module for module in (names if modules is None else modules) if module.calibrates]
    if not chosen:
        raise ValueError("calibration needs a model with a Quantizer that chooses its scale")
    try:
        with evaluating(model):
            for module in chosen:
                module.start()
            for batch in batches:
                called("calibration", model, batch)
        for module in chosen:
            if not module.reached:
                raise ValueError(f"calibration data must reach every quantizer, but not {names.get(module, '?')!r}")
        for module in chosen:
            try:
                module.settle()
            except ValueError as error:
                label = repr(names[module]) if names.get(module) else type(module).__name__
                raise ValueError(f"calibration of {label}: {error}") from error
    finally:
        for module in chosen:
            module.freeze()


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
