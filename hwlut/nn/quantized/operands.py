"""How the operands of layers are quantized, whatever their formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.quant import Quantizer, RangedQuantizer
from hwlut.quant.formats import Format

__all__ = ["Operands"]

_WEIGHTS = MappingProxyType({"steps": "real", "granularity": "channel", "source": "learned"})
_ACTIVATIONS = MappingProxyType({"steps": "real", "source": "learned", "symmetric": False})
_GIVEN_ELSEWHERE = ("format", "axis")


@dataclass(frozen=True)
class Operands:
    """Options of `hwlut.quant.Quantizer`, of weights and of activations.

    With ``{"source": "ranged"}``, the other options are those of `hwlut.quant.RangedQuantizer`.

    weights: by default a learned real step a channel. activations: by default one learned real step, and a zero point
    where codes are integers; ``symmetric`` counts for these alone, since minifloats have none. The second operand of a
    product of two activations is quantized as activations are. The axis is that of the layer.
    """

    weights: Mapping[str, Any] = field(default_factory=lambda: _WEIGHTS)
    activations: Mapping[str, Any] = field(default_factory=lambda: _ACTIVATIONS)

    def __post_init__(self) -> None:
        for label in ("weights", "activations"):
            options = getattr(self, label)
            if not isinstance(options, Mapping):
                raise TypeError(f"Operands {label} must be a mapping of options, not {shorten(options)}")
            for name in _GIVEN_ELSEWHERE:
                if name in options:
                    raise ValueError(f"Operands {label} must leave {name} to the layer, not give {options[name]!r}")
            object.__setattr__(self, label, MappingProxyType(dict(options)))
        if self.activations.get("granularity") == "channel":
            raise ValueError("Operands activations granularity must be tensor, token or block, not channel")
        if self.activations.get("powers"):
            raise ValueError("Operands activations powers must be left out; only a weight can have a learned one")

    def __reduce__(self) -> tuple[Any, ...]:
        return Operands, (dict(self.weights), dict(self.activations))

    def weight(self, format: Format, channel: int, inputs: int) -> Quantizer:
        """A quantizer of a weight with these axes of output channels and of inputs, which blocks lie along."""
        return _quantizer(format, self.weights, {"channel": channel, "block": inputs})

    def activation(self, format: Format, inputs: int = -1) -> Quantizer:
        """A quantizer of activations with this axis of inputs."""
        return _quantizer(format, self.activations, {"block": inputs})


def _quantizer(format: Format, options: Mapping[str, Any], axes: Mapping[str, int]) -> Quantizer:
    taken = dict(options)
    if taken.get("source") == "ranged":
        del taken["source"]
        return RangedQuantizer(format, **taken)
    if not isinstance(format, Fixed):
        taken.pop("symmetric", None)
    axis = axes.get(taken.get("granularity", "tensor"))
    if axis is not None:
        taken["axis"] = axis
    return Quantizer(format, **taken)
