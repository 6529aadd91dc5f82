"""Programs for whole functions and operators: range reduction around a small table."""

from hwlut.program.c.source import c_source, export_c
from hwlut.program.functions import FUNCTIONS, range_reduced
from hwlut.program.gated import gated
from hwlut.program.normalization import layer_norm, rms_norm
from hwlut.program.onnx.file import export_onnx
from hwlut.program.softmax import softmax

__all__ = [
    "FUNCTIONS",
    "c_source",
    "export_c",
    "export_onnx",
    "gated",
    "layer_norm",
    "range_reduced",
    "rms_norm",
    "softmax",
]
