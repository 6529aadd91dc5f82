"""Training and evaluation modes, left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating", "keeping_modes"]


@contextmanager
def keeping_modes(*models: nn.Module) -> Iterator[None]:
    """Every module of the models is afterwards in the mode that it was in."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation mode meanwhile, and nothing has a gradient."""
    with keeping_modes(model), torch.no_grad():
        model.eval()
        yield
