"""Layers of torch whose operands are quantized, each to a format that can be chosen anew."""

from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.integers import IntegerOperand, IntegerOperation, integers
from hwlut.nn.quantized.layers import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedTransposedLinear,
)
from hwlut.nn.quantized.operands import Operands
from hwlut.nn.quantized.products import QuantizedProduct
from hwlut.nn.quantized.quantize import product_name, quantize, quantized_operations, split_attention
from hwlut.nn.quantized.ranges import fix_ranges, ranged_quantizers, settle_ranges

__all__ = [
    "FormatChoice",
    "IntegerOperand",
    "IntegerOperation",
    "Operands",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedConv3d",
    "QuantizedEmbedding",
    "QuantizedLayer",
    "QuantizedLinear",
    "QuantizedProduct",
    "QuantizedTransposedLinear",
    "fix_ranges",
    "integers",
    "product_name",
    "quantize",
    "quantized_operations",
    "ranged_quantizers",
    "settle_ranges",
    "split_attention",
]
