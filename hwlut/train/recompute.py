"""Activations that are computed again in the backward pass, for less memory."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["check_recomputes", "recomputing"]

_WITHOUT_REENTRY = {"use_reentrant": False}


def check_recomputes(model: nn.Module) -> None:
    """ValueError for a model without gradient checkpointing of its own, as those of transformers have."""
    if not _method(model, "enable") or not getattr(model, "supports_gradient_checkpointing", True):
        raise ValueError(f"Finetune recompute must be left out for {type(model).__name__}: it has no such checkpoints")


@contextmanager
def recomputing(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Within it, `model` keeps only the inputs of its blocks in training, where that is wanted."""
    if not wanted:
        yield
        return
    check_recomputes(model)
    enable = _method(model, "enable")
    named = next(iter(inspect.signature(enable).parameters), None)
    enable(**({named: _WITHOUT_REENTRY} if named else {}))
    try:
        yield
    finally:
        disable = _method(model, "disable")
        if disable is not None:
            disable()


def _method(model: nn.Module, does: str) -> Any:
    """The model's own method, by the name that transformers 5.24 gave it, or else the older one."""
    names = (f"activation_checkpointing_{does}", f"gradient_checkpointing_{does}")
    return next((found for name in names if callable(found := getattr(model, name, None))), None)
