"""Networks with look-up layers as ONNX files of standard operators."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.errors import ToolError
from hwlut.files import write_atomic
from hwlut.lutnn.layers import look_up_layers, units
from hwlut.lutnn.standard import standard
from hwlut.nn import LutLayer, LutMultiheadAttention

__all__ = ["export_onnx"]


def export_onnx(model: nn.Module, sample: torch.Tensor | tuple[torch.Tensor, ...], path: str | Path) -> Path:
    """Write `model`, as it evaluates float32, to an ONNX file; each look-up layer as quantization, distances, ArgMin
    or comparisons, Gather, and a sum of int32, equal to the layer bit for bit.

    Parameters
    ----------
    model: a network with layers of look-ups, which stays as it is.
    sample: its input, or all its inputs. Their first dimension is the batch, which may be any in the file; the other
        sizes are those of the sample.
    path: of the file.

    ToolError where onnx or onnxscript are not installed; TypeError and ValueError for other models, and by module path
    for other layers on units, which no standard operators compute.
    """
    inputs = sample if isinstance(sample, tuple) else (sample,)
    for each in inputs:
        if not isinstance(each, torch.Tensor):
            raise TypeError(f"export_onnx sample must be a tensor or a tuple of tensors, not {type(each).__name__}")
        if each.dim() == 0 or len(each) == 0:
            raise ValueError(f"export_onnx sample must have a batch of at least one, not shape {list(each.shape)}")
    if len({len(each) for each in inputs}) != 1:
        raise ValueError(f"export_onnx samples must have one batch, not {sorted({len(each) for each in inputs})}")
    replaced = _replaced(model)
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ToolError(package, "not found", "install it with: pip install 'hwlut[onnx]'")
    inputs = tuple(_of_two(each.detach().cpu()) for each in inputs)
    shapes = ({0: torch.export.Dim("batch")},) * len(inputs)
    with _quiet():
        program = torch.onnx.export(replaced, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    proto = program.model_proto
    if any(not given.type.tensor_type.shape.dim[0].dim_param for given in proto.graph.input):
        raise ValueError(f"export_onnx model must take any batch, not {len(inputs[0])} alone")
    _strip(proto.graph)
    for unit in units(model).values():
        proto.metadata_props.add(key=f"hwlut.{unit.name}", value=unit.digest)
    path = Path(path)
    write_atomic(path, proto.SerializeToString())
    return path


def _strip(graph: Any) -> None:
    """Clear what the exporter notes of its own work: lines of source files, names of passes."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch 2.13's exporter says of itself: a name of torch's that ages, torchvision's absence, and that
    several inputs have the same batch.
    """
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
            yield
    finally:
        log.setLevel(level)


def _of_two(sample: torch.Tensor) -> torch.Tensor:
    """With a batch of at least two: the exporter would hold one to be always one."""
    return sample.expand(2, *sample.shape[1:]) if len(sample) == 1 else sample


def _replaced(model: nn.Module) -> nn.Module:
    """A copy of `model` for evaluation, with each look-up layer by standard operators."""
    look_up_layers(model)
    replaced = copy.deepcopy(model).cpu().eval()
    made: dict[LutLayer, nn.Module] = {}
    for path, module in list(replaced.named_modules(remove_duplicate=False)):
        if isinstance(module, LutLayer):
            if module not in made:
                made[module] = standard(module)
            if not path:
                return made[module]
            replaced.set_submodule(path, made[module])
    for path, module in replaced.named_modules():
        kind = type(module)
        if kind.__module__.startswith("hwlut.nn.") and not isinstance(module, LutMultiheadAttention):
            raise ValueError(f"export_onnx module {path!r} must be of torch or look up, not {kind.__name__}")
    return replaced
