"""Operators of torch, by kernels where they can be built."""

from hwlut.ops.approx_expansion import ExpandedWeights, expand_weights
from hwlut.ops.approx_matmul import approx_matmul, approx_matmul_path
from hwlut.ops.evaluate import evaluate, table
from hwlut.ops.fake_quantize import fake_quantize
from hwlut.ops.group_bounds import group_bounds
from hwlut.ops.lookup import lookup
from hwlut.ops.lut_matmul import lut_encode, lut_matmul, lut_scan
from hwlut.ops.lut_tables import LutTables, lut_tables
from hwlut.ops.quantize_codes import quantize_codes
from hwlut.ops.quantized_lookup import quantized_lookup
from hwlut.ops.ranged_quantize import ranged_quantize
from hwlut.ops.registry import implementation
from hwlut.ops.requantize import requantize

__all__ = [
    "ExpandedWeights",
    "LutTables",
    "approx_matmul",
    "approx_matmul_path",
    "evaluate",
    "expand_weights",
    "fake_quantize",
    "group_bounds",
    "implementation",
    "lookup",
    "lut_encode",
    "lut_matmul",
    "lut_scan",
    "lut_tables",
    "quantize_codes",
    "quantized_lookup",
    "ranged_quantize",
    "requantize",
    "table",
]
