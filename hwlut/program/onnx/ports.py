"""Inputs and outputs of a program in ONNX: codes, or the float32 numbers that they stand for."""

from typing import Any

import numpy as np

from hwlut.program.onnx.graph import Graph, Shape, Value
from hwlut.units.nodes import Extent
from hwlut.units.ports import Port

__all__ = ["given", "made", "port_shape"]


def port_shape(port: Port, extent: Extent) -> Shape:
    """The shape of an input: "batch" and the port's; where it has none, of codes ("batch",), of rows ("batch",
    "places"). ValueError for tensors of any shape."""
    if port.shape is not None:
        return ("batch", *port.shape)
    if extent is Extent.TENSORS:
        raise ValueError(f"export_onnx input {port.name!r} must have a shape, as that of a program of tensors")
    return ("batch",) if extent is Extent.CODES else ("batch", "places")


def given(graph: Graph, port: Port, shape: Shape, real: bool) -> tuple[Value, Any]:
    """The codes of an input, and the type of the input itself."""
    span = port.format.min, port.format.max
    with graph.within(port.name):
        if not (real and port.real):
            return Value(graph.cast(port.name, np.int64), span, shape), _code_type(port)
        number = graph.op("Where", graph.op("IsNaN", port.name), graph.constant(0, np.float32), port.name)
        if _quantized(port):
            code = graph.op("QuantizeLinear", number, *_scale(graph, port))
        else:
            code = _rounded(graph, number, port)
        return Value(graph.cast(code, np.int64), span, shape), np.float32


def _rounded(graph: Graph, number: str, port: Port) -> str:
    """Codes in float64, which holds all of 32 bits."""
    dtype = np.float32 if _of_float32(port.scale) else np.float64
    ratio = graph.op("Div", graph.cast(number, dtype), graph.constant(port.scale, dtype))
    steps = graph.cast(graph.op("Round", ratio), np.float64)
    ends = [graph.constant(end, np.float64) for end in (port.zero_point, port.format.min, port.format.max)]
    return graph.op("Clip", graph.op("Add", steps, ends[0]), *ends[1:])


def made(graph: Graph, port: Port, value: Value, real: bool, name: str) -> Any:
    """The type of an output, called `name`, of the codes `value`."""
    with graph.within(port.name):
        if not (real and port.real):
            dtype = _code_type(port)
            graph.op("Cast", value.name, output=name, to=_onnx(dtype))
            return dtype
        if _quantized(port):
            scale, zero = _scale(graph, port)
            code = graph.cast(value.name, np.int8 if port.format.signed else np.uint8)
            graph.op("DequantizeLinear", code, scale, zero, output=name)
        else:
            steps = graph.op("Sub", value.name, graph.constant(port.zero_point))
            scale = graph.constant(port.scale, np.float64)
            graph.op("Cast", graph.op("Mul", graph.cast(steps, np.float64), scale), output=name, to=_onnx(np.float32))
        return np.float32


def _scale(graph: Graph, port: Port) -> tuple[str, str]:
    dtype = np.int8 if port.format.signed else np.uint8
    return graph.constant(port.scale, np.float32), graph.constant(port.zero_point, dtype)


def _quantized(port: Port) -> bool:
    return port.format.bits == 8 and _of_float32(port.scale)


def _of_float32(scale: float) -> bool:
    """Whether it is a normal number of float32."""
    return 2.0**-126 <= scale <= float(np.finfo(np.float32).max) and float(np.float32(scale)) == scale


def _code_type(port: Port) -> Any:
    """int32 where it holds the format, else int64, as a program gives its results."""
    return np.int32 if port.format.bits + (not port.format.signed) <= 32 else np.int64


def _onnx(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
