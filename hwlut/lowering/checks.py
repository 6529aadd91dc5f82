"""What a sample must be, and that its stages compute what the model computes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from hwlut.fixed import Fixed
from hwlut.quant.calibration import called

__all__ = ["calls_of", "check_finite", "check_integers", "check_same"]

Call = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""Arguments and result."""

_NEAR = 1e-3
"""Of the greatest number, to which they are those of the model."""


def check_integers(name: str, format: Fixed, value: torch.Tensor) -> None:
    """Refuse, by a ValueError, an input of integers that its format does not hold."""
    low, high = int(value.min()), int(value.max())
    if not format.min <= low <= high <= format.max:
        raise ValueError(f"input {name!r} must be from {format.min} to {format.max}, not from {low} to {high}")


def check_finite(values: Mapping[str, torch.Tensor], where: Mapping[str, str]) -> None:
    """Refuse, by a ValueError, the first value without a finite number; `where` has the places of stages' values."""
    for name, value in values.items():
        if not bool(value.isfinite().any()):
            raise ValueError(f"sample must give finite numbers at {where.get(name, f'input {name!r}')}")


def calls_of(
    model: nn.Module, sample: Any, layers: Mapping[str, nn.Module]
) -> tuple[list[torch.Tensor], dict[str, list[Call]]]:
    """What a model gives for a sample, and how it calls each of its layers, by path."""
    calls: dict[str, list[Call]] = {path: [] for path in layers}

    def note(path: str, given: tuple[Any, ...], result: torch.Tensor) -> None:
        calls[path].append((tuple(each.clone() for each in given if isinstance(each, torch.Tensor)), result.clone()))

    hooks = [
        module.register_forward_hook(lambda _, given, result, path=path: note(path, given, result))
        for path, module in layers.items()
    ]
    own = tree_map(lambda each: each.clone() if isinstance(each, torch.Tensor) else each, sample)
    try:
        results = tree_leaves(called("sample", model, own))
    finally:
        for hook in hooks:
            hook.remove()
    return [each for each in results if isinstance(each, torch.Tensor)], calls


def check_same(label: str, found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> None:
    """Refuse, by a ValueError, numbers of the stages that are not those of the model."""
    if not all(_same(*pair) for pair in zip(found, wanted)):
        raise ValueError(
            f"{label} must be what the model computes for the sample, whose operators by themselves give something "
            "else: nothing may follow from the size of the batch, from random numbers, or from casts that round"
        )


def _same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    if found.shape != wanted.shape:
        return False
    if not wanted.is_floating_point():
        return bool((found == wanted).all())
    found, wanted = found.double(), wanted.double()
    finite = wanted[wanted.isfinite()].abs()
    near = (found - wanted).abs() <= _NEAR * (float(finite.max()) if finite.numel() else 0.0)
    return bool((near | (found == wanted) | (found.isnan() & wanted.isnan())).all())
