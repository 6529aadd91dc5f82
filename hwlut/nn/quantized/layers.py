"""Layers whose weights and inputs are quantized."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.operands import Operands
from hwlut.quant.precision import Precision

__all__ = [
    "LAYERS",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedConv3d",
    "QuantizedEmbedding",
    "QuantizedLayer",
    "QuantizedLinear",
    "QuantizedTransposedLinear",
    "layer_kind",
]


class QuantizedLayer(nn.Module):
    """A layer of torch with its parameters, whose weight and input are quantized before they meet.

    base: what it stands in for. channel, inputs, features: the axes of the weight's output channels and inputs, and of
    the input's features; None where the input is no real number.

    Each operand has its formats in a `FormatChoice`: `weight_choice` and `input_choice`.
    """

    base: ClassVar[type[nn.Module]]
    channel: ClassVar[int] = 0
    inputs: ClassVar[int] = 1
    features: ClassVar[int | None] = -1

    weight: torch.Tensor
    weight_choice: FormatChoice
    input_choice: FormatChoice | None

    @classmethod
    def of(cls, layer: nn.Module, precisions: Iterable[Precision], operands: Operands) -> "QuantizedLayer":
        """The layer in the place of `layer`, with its parameters and attributes, to select a precision for."""
        precisions = tuple(precisions)
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        for name, value in vars(layer).items():
            new.__dict__[name] = value.copy() if isinstance(value, dict) else value
        new.weight_choice = FormatChoice(
            (each.weight for each in precisions), lambda format: operands.weight(format, cls.channel, cls.inputs)
        )
        new.input_choice = None
        if (features := cls.features) is not None:
            new.input_choice = FormatChoice(
                (each.activation for each in precisions), lambda format: operands.activation(format, features)
            )
        return new

    @property
    def choices(self) -> tuple[FormatChoice, FormatChoice | None]:
        """Those of weight and input."""
        return self.weight_choice, self.input_choice

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x = input if self.input_choice is None else self.input_choice(input)
        return self._product(x, self.weight_choice(self.weight))

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class QuantizedLinear(QuantizedLayer, nn.Linear):
    """``nn.Linear`` of quantized operands."""

    base = nn.Linear

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight, self.bias)


class _QuantizedConv(QuantizedLayer):
    bias: torch.Tensor | None

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        convolve: Any = self._conv_forward
        return convolve(x, weight, self.bias)


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):
    """``nn.Conv1d`` of quantized operands."""

    base = nn.Conv1d
    features = -2


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):
    """``nn.Conv2d`` of quantized operands."""

    base = nn.Conv2d
    features = -3


class QuantizedConv3d(_QuantizedConv, nn.Conv3d):
    """``nn.Conv3d`` of quantized operands."""

    base = nn.Conv3d
    features = -4


class QuantizedEmbedding(QuantizedLayer, nn.Embedding):
    """``nn.Embedding`` of a quantized table, a channel being a row of it; there is no activation to quantize."""

    base = nn.Embedding
    features = None

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.embedding(
            x, weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )


class QuantizedTransposedLinear(QuantizedLayer):
    """The linear layer that Hugging Face's transformers call Conv1D, of GPT-2: its weight is [inputs, outputs]."""

    base = nn.Module
    channel = 1
    inputs = 0
    nf: int
    bias: torch.Tensor

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.flatten(0, -2), weight).unflatten(0, x.shape[:-1])


LAYERS: tuple[type[QuantizedLayer], ...] = (
    QuantizedLinear,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedEmbedding,
)
"""The layers that stand in for those of torch."""


def layer_kind(layer: nn.Module) -> type[QuantizedLayer] | None:
    """The kind of quantized layer that can stand in for `layer`: one of its type that computes as torch's does."""
    if type(layer).__name__ == "Conv1D" and type(layer).__module__ == "transformers.pytorch_utils":
        return QuantizedTransposedLinear
    for kind in LAYERS:
        if isinstance(layer, kind.base) and type(layer).forward in (kind.base.forward, kind.forward):
            return kind
    return None
