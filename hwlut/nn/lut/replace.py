"""Which layer of torch becomes which layer of look-ups."""

import torch
from torch import nn

from hwlut.nn.lut.attention import LutMultiheadAttention
from hwlut.nn.lut.conv import LutConv1d, LutConv2d
from hwlut.nn.lut.layer import LutLayer
from hwlut.nn.lut.linear import LutLinear
from hwlut.nn.lut.spec import Lookup

__all__ = ["LOOKED_UP", "looked_up_layer", "sizes_of"]

_KINDS: tuple[type[LutLayer], ...] = (LutLinear, LutConv1d, LutConv2d)

LOOKED_UP: tuple[type[nn.Module], ...] = (*(kind.base for kind in _KINDS), nn.MultiheadAttention)
"""The layers of torch that can be replaced."""


def looked_up_layer(layer: nn.Module, lookup: Lookup) -> nn.Module:
    """The layer of look-ups that is to learn from `layer`.

    ValueError for a layer of another kind or with a forward of its own.
    """
    if isinstance(layer, nn.MultiheadAttention) and type(layer).forward is nn.MultiheadAttention.forward:
        return LutMultiheadAttention.of(layer, lookup)
    kind = next((kind for kind in _KINDS if isinstance(layer, kind.base)), None)
    if kind is None:
        known = ", ".join(base.__name__ for base in LOOKED_UP)
        raise ValueError(f"a layer of look-ups must be made of one of {known}, not {type(layer).__name__}")
    if type(layer).forward is not kind.base.forward:
        raise ValueError(f"{type(layer).__name__} must compute as {kind.base.__name__} does, not by its own forward")
    return kind.of(layer, lookup)


def sizes_of(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a row of a dense layer, or one of look-ups."""
    if isinstance(layer, LutLayer):
        return layer.features, layer.outputs
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight[0].numel(), len(layer.weight)
