"""Layers of torch that compute with units."""

from hwlut.nn.convert import Conversion, convert
from hwlut.nn.normalization import PwlLayerNorm, PwlSoftmax
from hwlut.nn.pwl import PwlActivation

__all__ = ["Conversion", "PwlActivation", "PwlLayerNorm", "PwlSoftmax", "convert"]
