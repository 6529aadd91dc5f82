"""Programs as ONNX files of standard operators, equal to the program bit for bit."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from hwlut import __version__
from hwlut.errors import ToolError
from hwlut.fields import shorten
from hwlut.files import write_atomic
from hwlut.program.onnx import movement as _movement  # noqa: F401 (each registers its nodes)
from hwlut.program.onnx import products as _products  # noqa: F401
from hwlut.program.onnx.codes import applied
from hwlut.program.onnx.graph import Graph, Shape, Value
from hwlut.program.onnx.nodes import MOST_CODES, inlined
from hwlut.program.onnx.ports import given, made, port_shape
from hwlut.units.nodes import Extent
from hwlut.units.program import Program

__all__ = ["export_onnx"]

_OPSET = 18
_IR = 8
_MOST_BYTES = (1 << 31) - 1


def export_onnx(program: Program, path: str | Path, real: bool = True) -> Path:
    """Write `program` to an ONNX file of standard operators (opset 18), whose results are its own bit for bit.

    Parameters
    ----------
    program: of codes, rows or tensors; of tensors, each input has a shape.
    path: of the file.
    real: inputs and outputs whose codes stand for real numbers are these, float32: a code is
        ``saturate(round_half_even(x / step) + zero_point)``, divided in float32 where the step is a number of it, else
        in float64, and NaN has the code of zero; a result is ``(code - zero_point) * step``, rounded once. Else, and
        for codes that stand for nothing, they are the codes: int32 where that holds the format, else int64.

    Inputs are [batch, *shape], with any batch; of codes without a shape [batch], of rows without one [batch, places].
    The graph has the program's name, and the file's metadata its digest under ``hwlut.<name>``.

    Raises ToolError where onnx is not installed, TypeError for what is no program, and ValueError for an input without
    a shape, for a node by name that no standard operators compute exactly, and for files of 2 GiB.
    """
    if not isinstance(program, Program):
        raise TypeError(f"export_onnx program must be a Program, not {type(program).__name__}")
    if not isinstance(real, bool):
        raise TypeError(f"export_onnx real must be true or false, not {shorten(real)}")
    if importlib.util.find_spec("onnx") is None:
        raise ToolError("onnx", "not found", "install it with: pip install 'hwlut[onnx]'")
    data = _model(program, real)
    path = Path(path)
    write_atomic(path, data)
    return path


def _model(program: Program, real: bool) -> bytes:
    from onnx import helper

    graph = Graph()
    shapes = [port_shape(port, program.extent) for port in program.inputs]
    taken = [given(graph, port, shape, real) for port, shape in zip(program.inputs, shapes)]
    inputs = [_info(port.name, dtype, shape) for port, shape, (_, dtype) in zip(program.inputs, shapes, taken)]
    names = {port.name for port in program.inputs}
    outputs = []
    for port, value in zip(program.outputs, _results(graph, program, [value for value, _ in taken])):
        name = f"{port.name}/output" if port.name in names else port.name
        outputs.append(_info(name, made(graph, port, value, real, name), value.shape))
    nodes, constants = graph.used([output.name for output in outputs])
    model = helper.make_model(
        helper.make_graph(nodes, program.name, inputs, outputs, constants),
        producer_name="hwlut",
        producer_version=__version__,
        ir_version=_IR,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    helper.set_model_props(model, {f"hwlut.{program.name}": program.digest})
    if (size := model.ByteSize()) > _MOST_BYTES:
        raise ValueError(f"export_onnx file must be below 2 GiB, not {size} bytes")
    return model.SerializeToString()


def _results(graph: Graph, program: Program, values: list[Value]) -> list[Value]:
    """The outputs; a program of few codes is one table."""
    alone = len(program.inputs) == len(program.outputs) == 1
    if not (alone and program.extent is Extent.CODES and 1 << program.input.bits <= MOST_CODES):
        return inlined(graph, program, values)
    (port,) = program.outputs
    with graph.within(port.name):
        name, shape = applied(program, graph, values[0])
    return [Value(name, program.spans[port.name], shape)]


def _info(name: str, dtype: Any, shape: Shape) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
