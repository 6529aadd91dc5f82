"""Layers whose products are looked up."""

from hwlut.nn.lut.attention import LutMultiheadAttention
from hwlut.nn.lut.conv import LutConv1d, LutConv2d
from hwlut.nn.lut.layer import LutLayer
from hwlut.nn.lut.linear import LutLinear
from hwlut.nn.lut.spec import Lookup

__all__ = ["Lookup", "LutConv1d", "LutConv2d", "LutLayer", "LutLinear", "LutMultiheadAttention"]
