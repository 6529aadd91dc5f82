"""The linear layer."""

from typing import Any

import torch
from torch import nn

from hwlut.nn.approx.forms import Form, Linear
from hwlut.nn.approx.layer import ApproxLayer, check_activations
from hwlut.nn.approx.spec import Approximate
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxLinear"]


class ApproxLinear(ApproxLayer, nn.Linear):
    """``nn.Linear`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step, or one for each token, a vector along the last dimension. See `ApproxLayer`.
    """

    base = nn.Linear

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        multiplier: Multiplier,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
    ):
        spec = Approximate(multiplier, activations, weights, gradient)
        nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
        self._make(spec)

    def _make(self, spec: Approximate) -> None:
        super()._make(spec)
        check_activations(self.activation_quantizer, ("tensor", "token"))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.shape[-1:] != (self.in_features,):
            raise ValueError(f"ApproxLinear input must be [..., {self.in_features}], not {list(input.shape)}")
        return self._product(input)

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        return Linear(tuple(x.shape[:-1])), x
