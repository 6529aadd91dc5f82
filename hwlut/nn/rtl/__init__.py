"""Layers of torch that compute in Verilated hardware."""

from hwlut.nn.rtl.activation import RtlActivation
from hwlut.nn.rtl.layer import RtlLayer
from hwlut.nn.rtl.matmul import RtlMatmul
from hwlut.nn.rtl.replace import InRtl
from hwlut.nn.rtl.rows import RtlRows
from hwlut.nn.rtl.sums import RtlSums

__all__ = ["InRtl", "RtlActivation", "RtlLayer", "RtlMatmul", "RtlRows", "RtlSums"]
