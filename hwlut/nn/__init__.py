"""Layers of torch that compute with units."""

from hwlut.nn.approx import (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConv3d,
    Approximate,
    ApproxLinear,
    Date,
)
from hwlut.nn.convert import Conversion, convert, restore
from hwlut.nn.normalization import PwlLayerNorm, PwlSoftmax
from hwlut.nn.pwl import PwlActivation

__all__ = [
    "ApproxConv1d",
    "ApproxConv2d",
    "ApproxConv3d",
    "ApproxLinear",
    "Approximate",
    "Conversion",
    "Date",
    "PwlActivation",
    "PwlLayerNorm",
    "PwlSoftmax",
    "convert",
    "restore",
]
