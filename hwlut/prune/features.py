"""Which of its input's features a layer keeps."""

import torch
from torch import nn

from hwlut.graph import Source
from hwlut.nn.quantized.layers import QuantizedLayer
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.places import checked, kept_results, kept_tensors

__all__ = ["kept_features"]


def kept_features(model: nn.Module, groups: Groups, removed: Removed) -> dict[str, tuple[int, torch.Tensor]]:
    """By the path of a quantized layer that loses features of its input: the dimension and the places that stay.

    They are those of its weight's columns; in a convolution of several groups, of what feeds it.
    """
    removed = checked(model, groups, removed)
    tensors, results = kept_tensors(groups, removed), kept_results(groups, removed)
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    found = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, QuantizedLayer) or layer.features is None:
            continue
        if getattr(layer, "groups", 1) == 1:
            columns = tensors.get(names[id(layer.weight)], {})
            if layer.inputs in columns:
                found[path] = layer.features, columns[layer.inputs]
            continue
        for operation in groups.graph.of(path):
            source = operation.arguments.get("input")
            if isinstance(source, Source) and operation.kind.startswith("conv"):
                for dim, places in results.get(source.name, {}).items():
                    if dim - len(groups.graph[source.name].shape) == layer.features:
                        found[path] = layer.features, places
    return found
