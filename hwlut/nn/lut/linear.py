"""The linear layer."""

from typing import Any

import torch
from torch import nn

from hwlut.nn.lut.layer import LutLayer
from hwlut.nn.lut.spec import Lookup

__all__ = ["LutLinear"]

_LENGTH = 8


class LutLinear(LutLayer):
    """``nn.Linear`` by look-ups: its arguments, and `lookup`. A row is a vector along the last dimension."""

    base = nn.Linear

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, lookup: Lookup, device: Any = None):
        super().__init__(lookup, in_features, out_features, lookup.v or _LENGTH, bias, device)

    @classmethod
    def like(cls, dense: nn.Linear, lookup: Lookup) -> "LutLinear":
        """One of the sizes of `dense`."""
        sizes = dense.in_features, dense.out_features, dense.bias is not None
        return cls(*sizes, lookup=lookup, device=dense.weight.device)

    def _padded(self, x: torch.Tensor, zero: float) -> torch.Tensor:
        if x.shape[-1:] != (self.features,):
            raise ValueError(f"LutLinear input must be [..., {self.features}], not {list(x.shape)}")
        return x

    def _rows(self, padded: torch.Tensor) -> torch.Tensor:
        return padded.reshape(-1, self.features)

    def _joined(self, g: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return g.flatten(0, 1)[: self.features].t().reshape(shape)

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y.view(*x.shape[:-1], self.outputs)
