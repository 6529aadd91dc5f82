"""Networks on look-ups: from a dense model to one that is measured and deployed."""

from hwlut.lutnn.c_source import c_source, write_c
from hwlut.lutnn.costs import Costs, CountedLayer, costs, shapes_of
from hwlut.lutnn.flow import Result, open_run, run
from hwlut.lutnn.layers import save_units, units
from hwlut.lutnn.onnx_export import export_onnx
from hwlut.lutnn.replacement import Replaced, replace

__all__ = [
    "Costs",
    "CountedLayer",
    "Replaced",
    "Result",
    "c_source",
    "costs",
    "export_onnx",
    "open_run",
    "replace",
    "run",
    "save_units",
    "shapes_of",
    "units",
    "write_c",
]
