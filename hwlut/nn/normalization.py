"""Softmax and layer normalization whose exponential, reciprocal and inverse root are units."""

import math

import torch
from torch import nn

from hwlut.fixed import power_of_two
from hwlut.nn.pwl import PwlActivation
from hwlut.quant import Quantizer
from hwlut.units import Pwl

__all__ = ["PwlLayerNorm", "PwlSoftmax"]


class PwlSoftmax(nn.Module):
    """Softmax by two units: exp of x - max(x), and the reciprocal of their sum.

    The sum is m * 2^e with m in [1, 2): its reciprocal is the unit's at m, shifted by e. Both look-ups are bit-exact
    with their units, the shift is exact; sum and product are torch's. The sum is taken in float32.

    A position masked by -inf gets exactly 0, and no gradient; so does a row of nothing else, whose torch softmax is
    NaN. Calibration sees 0 there, which every scale holds.

    Parameters
    ----------
    exp: a unit for exp on numbers <= 0; its input scale is to be calibrated.
    reciprocal: a unit for 1/m on [1, 2), read at the finest of its scales that holds 2.
    dim: the dimension that sums to 1.
    """

    def __init__(self, exp: Pwl, reciprocal: Pwl, dim: int | None = -1):
        super().__init__()
        if dim is None:
            raise ValueError("PwlSoftmax dim must be a dimension, not None")
        self.exp = PwlActivation(exp)
        self.reciprocal = _over_octaves(reciprocal, 1)
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        real = x.float()
        highest = real.detach().amax(self.dim, keepdim=True)
        empty = highest == -math.inf
        shifted = real - highest.masked_fill(empty, 0.0)
        masked = shifted == -math.inf
        powers = self.exp(shifted.masked_fill(masked, 0.0)).masked_fill(masked, 0.0)
        total = powers.sum(self.dim, keepdim=True).masked_fill(empty, 1.0)
        shift = power_of_two(-_exponent(total))
        return (powers * (self.reciprocal(total * shift) * shift)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class PwlLayerNorm(nn.Module):
    """Layer normalization in the place of `norm`, whose weight and bias it takes over, with a unit for 1/sqrt.

    The variance plus eps is m * 4^e with m in [1, 4): its inverse root is the unit's at m, shifted by e. The look-up
    is bit-exact with the unit, the shift is exact; mean, variance and products are torch's, in float32.

    Parameters
    ----------
    norm: the layer to stand in for.
    rsqrt: a unit for 1/sqrt(m) on [1, 4), read at the finest of its scales that holds 4.
    """

    def __init__(self, norm: nn.LayerNorm, rsqrt: Pwl):
        super().__init__()
        self.dims = tuple(range(-len(norm.normalized_shape), 0))
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self.rsqrt = _over_octaves(rsqrt, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        real = x.float()
        centred = real - real.mean(self.dims, keepdim=True)
        variance = centred.square().mean(self.dims, keepdim=True) + self.eps
        half = _exponent(variance) >> 1
        result = centred * (self.rsqrt(variance * power_of_two(-2 * half)) * power_of_two(-half))
        if self.weight is not None:
            result = result * self.weight
        if self.bias is not None:
            result = result + self.bias
        return result.to(x.dtype)


def _over_octaves(unit: Pwl, octaves: int) -> PwlActivation:
    """The activation of `unit` on [1, 2^octaves), at the finest scale at which its codes reach that far."""
    fitting = [scale for scale in unit.scales if unit.input.max + 1 >= 1 << (scale + octaves)]
    if not fitting:
        raise ValueError(f"unit {unit.name!r} must have a scale at which its input holds {1 << octaves}")
    return PwlActivation(unit, Quantizer(unit.input_format(fitting[-1])))


def _exponent(x: torch.Tensor) -> torch.Tensor:
    """e of positive normal float32 numbers m * 2^e, 1 <= m < 2: where the leading one stands."""
    return (x.detach().view(torch.int32) >> 23) - 127
