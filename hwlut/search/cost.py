"""What a choice costs a layer: memory and bit operations by arithmetic, blocks by their tables."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from hwlut.fields import shorten

__all__ = ["Bits", "Cost", "LayerShape", "bit_operations", "memory"]


class Cost(Protocol):
    """A number for a layer and a choice that it has, whatever these are: what `hwlut.search.assign` adds up."""

    def __call__(self, layer: Any, choice: Any, /) -> float: ...


class Bits(NamedTuple):
    """A choice of widths, in bits: of weights and of activations; they need not be whole."""

    weight_bits: float
    activation_bits: float


@dataclass(frozen=True)
class LayerShape:
    """How large a layer is. macs: multiply-accumulates for one sample. weights: how many it holds."""

    macs: int
    weights: int


def memory(shapes: Mapping[Hashable, LayerShape]) -> Cost:
    """Bits that the weights take up, by the `shapes` of the layers; choices are as `Bits` or `Precision`."""
    return lambda layer, choice: _shape(shapes, layer).weights * choice.weight_bits


def bit_operations(shapes: Mapping[Hashable, LayerShape]) -> Cost:
    """Multiply-accumulates times the bits of both operands, for one sample, by the `shapes` of the layers.

    Choices are as `Bits` or `Precision`.

    As of Baskin et al., "UNIQ: Uniform noise injection for non-uniform quantization of neural networks" (2018),
    without the adders.
    """
    return lambda layer, choice: _shape(shapes, layer).macs * choice.weight_bits * choice.activation_bits


def _shape(shapes: Mapping[Hashable, LayerShape], layer: Hashable) -> LayerShape:
    if layer not in shapes:
        raise ValueError(f"shapes must have an entry for layer {shorten(layer)}")
    return shapes[layer]
