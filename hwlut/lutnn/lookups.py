"""How layers look up, as plain JSON, and layers made from that and a state."""

import dataclasses
import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hwlut.fields import shorten
from hwlut.nn import Lookup, convert
from hwlut.quant import Quantizer
from hwlut.quant.steps import MultiplierSteps, RealSteps
from hwlut.train.states import load_state
from hwlut.units.lut_matmul import CODE

__all__ = ["from_json", "rebuild", "to_json"]


def to_json(lookup: Lookup) -> dict[str, Any]:
    """All that a `Lookup` says, as JSON has it."""
    content = {field.name: getattr(lookup, field.name) for field in dataclasses.fields(lookup)}
    quantizer = lookup.activations
    if quantizer is not None:
        real = isinstance(quantizer.steps, RealSteps)
        content["activations"] = {
            "steps": quantizer.steps.kind,
            "scales": None if real else list(quantizer.scales),
            "symmetric": quantizer.symmetric,
            "source": quantizer.source,
            "method": quantizer.method,
            "percentile": quantizer.percentile,
            "momentum": quantizer.momentum,
        }
        if isinstance(quantizer.steps, MultiplierSteps):
            content["activations"]["multiplier_bits"] = quantizer.steps.bits
    return content


def from_json(content: Any) -> Lookup:
    """The `Lookup` that `to_json` wrote; ValueError for what it did not."""
    if not isinstance(content, dict):
        raise ValueError(f"Lookup must be an object, not {shorten(content)}")
    try:
        given = dict(content)
        if given.get("activations") is not None:
            given["activations"] = Quantizer(CODE, **given["activations"])
        return Lookup(**given)
    except TypeError as error:
        raise ValueError(f"Lookup must be as it was written: {error}") from None


def rebuild(model: nn.Module, layers: Mapping[str, Lookup], path: Path) -> None:
    """Give a dense model its layers of look-ups, in place, and the state in a file."""
    try:
        convert(model, {glob.escape(name): lookup for name, lookup in layers.items()})
    except ValueError as error:
        raise ValueError(f"{path}: the task's model must hold the layers that were looked up: {error}") from None
    load_state(path, model)
