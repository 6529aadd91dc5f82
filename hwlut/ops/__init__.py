"""Operators of torch, by kernels where they can be built."""

from hwlut.ops.approx_expansion import ExpandedWeights, expand_weights
from hwlut.ops.approx_matmul import approx_matmul, approx_matmul_path
from hwlut.ops.evaluate import evaluate, table
from hwlut.ops.lookup import lookup
from hwlut.ops.quantized_lookup import quantized_lookup
from hwlut.ops.registry import implementation

__all__ = [
    "ExpandedWeights",
    "approx_matmul",
    "approx_matmul_path",
    "evaluate",
    "expand_weights",
    "implementation",
    "lookup",
    "quantized_lookup",
    "table",
]
