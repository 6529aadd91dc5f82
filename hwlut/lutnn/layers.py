"""The look-up layers of a network, their names outside Python, and their units."""

from pathlib import Path

import torch
from torch import nn

from hwlut.names import legal_name, shortened_name
from hwlut.nn import LutLayer
from hwlut.units import LutMatmul

__all__ = ["input_step", "legal_names", "look_up_layers", "save_units", "units"]


def look_up_layers(model: nn.Module) -> dict[str, LutLayer]:
    """Every `LutLayer` of `model` by module path, a shared one by its first.

    TypeError for what is no module, ValueError where there is no such layer.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module of torch, not {type(model).__name__}")
    found = {path: module for path, module in model.named_modules() if isinstance(module, LutLayer)}
    if not found:
        raise ValueError("model must have a layer of look-ups, which hwlut.nn.convert makes")
    return found


def legal_names(paths: list[str]) -> dict[str, str]:
    """A name for each module path, fit for files, C and Verilog, no two the same: other characters become "_", and
    "layer" is put before what starts with a digit or is a keyword.
    """
    names: dict[str, str] = {}
    for path in paths:
        name = legal_name(path)
        if name in names.values():
            name = shortened_name(name, path)
        names[path] = name
    return names


def units(model: nn.Module) -> dict[str, LutMatmul]:
    """The unit of every look-up layer of `model` by module path, named after it.

    Results are sums in whole steps (`LutLayer.unit`). Raises as `look_up_layers`, RuntimeError for a layer that was
    not calibrated.
    """
    layers = look_up_layers(model)
    names = legal_names(list(layers))
    return {path: layer.unit(names[path]) for path, layer in layers.items()}


def input_step(layer: LutLayer) -> torch.Tensor:
    """The step that a layer's inputs are counted in: float32, one number, on the CPU."""
    return layer.activation_quantizer.quantize(layer.temperature.detach()).step.cpu()


def save_units(model: nn.Module, folder: str | Path) -> list[Path]:
    """Write the unit of every look-up layer to ``<folder>/<name>.json``, with large arrays in ``<name>.safetensors``
    beside it; the paths of the JSON files.
    """
    return [unit.save(Path(folder) / f"{unit.name}.json") for unit in units(model).values()]
