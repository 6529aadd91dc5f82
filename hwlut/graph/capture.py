"""A model as `torch.export` sees it."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from hwlut.fields import shorten
from hwlut.graph.lines import cause_of, refusal
from hwlut.quant.modes import evaluating

__all__ = ["batch_of", "capture"]


def batch_of(sample: Any) -> int:
    """Batch size of what a model is called with: the first dimension of the first tensor.

    Raises ValueError where there is none.
    """
    for leaf in tree_leaves(sample):
        if isinstance(leaf, torch.Tensor):
            if leaf.ndim == 0 or len(leaf) == 0:
                raise ValueError(f"trace sample must have a batch of at least 1 in front, not {tuple(leaf.shape)}")
            return len(leaf)
    raise ValueError(f"trace sample must hold a tensor, not {shorten(sample)}")


def capture(model: nn.Module, sample: Any) -> ExportedProgram:
    """The model in evaluation mode, called with `sample`, as torch.export has it without dynamo.

    Raises TypeError for a sample that the model cannot be called with, and ValueError, with the line of the model and
    the reason, where export fails.
    """
    positional, named = _arguments(sample)
    try:
        inspect.signature(model.forward).bind(*positional, **named)
    except TypeError as error:
        raise TypeError(f"trace sample must be what the model is called with: {error}") from error
    with evaluating(model), _keeping_attributes(model), _silence():
        try:
            return torch.export.export(model, positional, named, strict=False)
        except Exception as error:
            raise refusal(*cause_of(error)) from error


def _arguments(sample: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(sample, dict):
        return (), sample
    return (tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)), {}


@contextlib.contextmanager
def _keeping_attributes(model: nn.Module) -> Iterator[None]:
    """What the modules note of a call is of tensors without values, and goes with them."""
    kept = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in kept:
            vars(module).clear()
            vars(module).update(attributes)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Export logs and prints what it then raises, and warns of attributes that it restores."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", message="The tensor attribute")
            yield
    finally:
        logging.disable(disabled)
