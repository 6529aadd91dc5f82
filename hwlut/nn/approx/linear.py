"""The linear layer."""

from typing import Any

import torch
from torch import nn

from hwlut.nn.approx.layer import ApproxLayer
from hwlut.ops.forms import Form, Linear

__all__ = ["ApproxLinear"]


class ApproxLinear(ApproxLayer, nn.Linear):
    """``nn.Linear`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    Activations have one step, or one for each token, a vector along the last dimension. See `ApproxLayer`.
    """

    base = nn.Linear
    sharing = ("tensor", "token")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._product(input)

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"ApproxLinear input must be [..., {self.in_features}], not {list(x.shape)}")
        return Linear(tuple(x.shape[:-1])), x
