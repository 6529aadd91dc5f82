"""How large a model is: parameters, products, bits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hwlut.graph import Graph, trace
from hwlut.nn.quantized import QuantizedLayer, quantized_operations
from hwlut.prune.unquantized import unquantized
from hwlut.quant import Quantizer
from hwlut.quant.precision import FULL_BITS, Precision
from hwlut.search.cost import LayerShape

__all__ = ["Size", "precision_of", "shapes_of", "size_of"]


@dataclass(frozen=True)
class Size:
    """parameters: numbers that are trained, without those of quantizers. macs: multiply-accumulates for one sample.
    bit_operations: these, each times the bits of both operands. memory: bits of the parameters. An operand or parameter
    that is not quantized has 32 bits.
    """

    parameters: int
    macs: int
    bit_operations: int
    memory: int

    def plain(self) -> dict[str, int]:
        """As JSON."""
        return asdict(self)


def precision_of(operation: Any) -> Precision:
    """The formats that a quantized layer or product has selected."""
    weight, activation = operation.choices
    return Precision(weight.selected, None if activation is None else activation.selected)


def shapes_of(graph: Graph) -> dict[str, LayerShape]:
    """Of every module whose own forward multiplies or has a weight, all its calls together."""
    found: dict[str, LayerShape] = {}
    for operation in graph:
        if operation.macs or operation.weights:
            before = found.get(operation.path)
            macs = operation.macs + (before.macs if before else 0)
            found[operation.path] = LayerShape(macs, max(operation.weights, before.weights if before else 0))
    return found


def size_of(model: nn.Module, sample: Any) -> Size:
    """The size of a model, quantized or not, that is called with `sample`, as for `hwlut.graph.trace`."""
    precisions = {name: precision_of(operation) for name, operation in quantized_operations(model).items()}
    with unquantized(model):
        shapes = shapes_of(trace(model, sample))
    full = Precision(None, None)
    bits = {name: precisions.get(name, full) for name in shapes}
    counted = _parameters(model)
    return Size(
        parameters=sum(count for count, _ in counted.values()),
        macs=sum(shape.macs for shape in shapes.values()),
        bit_operations=sum(
            shape.macs * bits[name].weight_bits * bits[name].activation_bits for name, shape in shapes.items()
        ),
        memory=sum(count * width for count, width in counted.values()),
    )


def _parameters(model: nn.Module) -> Mapping[int, tuple[int, int]]:
    """Elements and bits of each parameter, once."""
    found: dict[int, tuple[int, int]] = {}
    for module in model.modules():
        if isinstance(module, Quantizer):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            quantized = isinstance(module, QuantizedLayer) and name == "weight"
            width = precision_of(module).weight_bits if quantized else FULL_BITS
            before = found.get(id(parameter))
            found[id(parameter)] = parameter.numel(), min(width, before[1]) if before else width
    return found
