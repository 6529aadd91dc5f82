"""Layers of torch whose products are an approximate multiplier's."""

from hwlut.nn.approx.attention import ApproxMultiheadAttention
from hwlut.nn.approx.conv import ApproxConv1d, ApproxConv2d, ApproxConv3d
from hwlut.nn.approx.gradients import Date
from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.matmul import ApproxMatmul, approx_bmm
from hwlut.nn.approx.spec import Approximate
from hwlut.nn.approx.transposed import ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d

__all__ = [
    "ApproxConv1d",
    "ApproxConv2d",
    "ApproxConv3d",
    "ApproxConvTranspose1d",
    "ApproxConvTranspose2d",
    "ApproxConvTranspose3d",
    "ApproxLayer",
    "ApproxLinear",
    "ApproxMatmul",
    "ApproxMultiheadAttention",
    "Approximate",
    "Date",
    "approx_bmm",
]
