"""Real inputs of layers: what they must be, and autocast kept out of integer arithmetic."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["check_real", "in_float32", "without_autocast"]


def check_real(label: str, x: object) -> None:
    """Refuse what is no tensor of real numbers."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{label} must be a tensor, not {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{label} must be floating point, not {x.dtype}")


def in_float32(run: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
    """What `run` makes of the inputs, without autocast, in their dtype, or in autocast's where that is on."""
    kind = inputs[0].device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return run(*inputs).to(inputs[0].dtype)
    with without_autocast(kind):
        return run(*(x.float() for x in inputs)).to(torch.get_autocast_dtype(kind))


def without_autocast(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """A context without autocast, on devices that have it."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
