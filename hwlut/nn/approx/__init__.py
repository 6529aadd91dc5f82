"""Layers of torch whose products are an approximate multiplier's."""

from hwlut.nn.approx.conv import ApproxConv1d, ApproxConv2d, ApproxConv3d
from hwlut.nn.approx.gradients import Date
from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.spec import Approximate

__all__ = [
    "ApproxConv1d",
    "ApproxConv2d",
    "ApproxConv3d",
    "ApproxLayer",
    "ApproxLinear",
    "Approximate",
    "Date",
]
