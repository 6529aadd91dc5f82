"""Layers of torch that compute with units."""

from hwlut.nn.approx import (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConv3d,
    ApproxConvTranspose1d,
    ApproxConvTranspose2d,
    ApproxConvTranspose3d,
    Approximate,
    ApproxLinear,
    ApproxMatmul,
    ApproxMultiheadAttention,
    Date,
    approx_bmm,
)
from hwlut.nn.convert import Conversion, convert, restore
from hwlut.nn.lut import Lookup, LutConv1d, LutConv2d, LutLayer, LutLinear, LutMultiheadAttention
from hwlut.nn.normalization import PwlLayerNorm, PwlSoftmax
from hwlut.nn.pwl import PwlActivation
from hwlut.nn.rtl import InRtl, RtlActivation, RtlLayer, RtlMatmul, RtlRows, RtlSums

__all__ = [
    "ApproxConv1d",
    "ApproxConv2d",
    "ApproxConv3d",
    "ApproxConvTranspose1d",
    "ApproxConvTranspose2d",
    "ApproxConvTranspose3d",
    "ApproxLinear",
    "ApproxMatmul",
    "ApproxMultiheadAttention",
    "Approximate",
    "Conversion",
    "Date",
    "InRtl",
    "Lookup",
    "LutConv1d",
    "LutConv2d",
    "LutLayer",
    "LutLinear",
    "LutMultiheadAttention",
    "PwlActivation",
    "PwlLayerNorm",
    "PwlSoftmax",
    "RtlActivation",
    "RtlLayer",
    "RtlMatmul",
    "RtlRows",
    "RtlSums",
    "approx_bmm",
    "convert",
    "restore",
]
