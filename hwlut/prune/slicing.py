"""Parameters and buffers lose the places of removed groups, in every module that holds them."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from hwlut.nn.quantized.layers import QuantizedLayer
from hwlut.prune.places import Kept
from hwlut.quant import Quantizer

__all__ = ["slice_tensors"]


def slice_tensors(model: nn.Module, left: Kept) -> None:
    """Keep of the tensors of `model`, named as it names them first, only the places in `left`.

    Each becomes a new one in all modules that hold it: tied parameters stay tied, what required gradients does, and
    gradients are dropped. The numbers that a quantizer has for each channel of a weight go with its channels.
    """
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    new = {id(tensors[name]): _sliced(tensors[name], dims) for name, dims in left.items()}
    names = {id(tensor): name for name, tensor in tensors.items()}
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            dims = left.get(names[id(module.weight)], {})
            new |= {id(old): _sliced(old, {0: places}) for old, places in _rows(module, dims)}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if id(tensor) in new:
                    held[name] = new[id(tensor)]  # type: ignore[assignment]


def _sliced(tensor: torch.Tensor, dims: Mapping[int, torch.Tensor]) -> torch.Tensor:
    kept = tensor.detach()
    for dim, places in dims.items():
        kept = kept.index_select(dim, places.to(kept.device))
    return nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept


def _rows(layer: QuantizedLayer, dims: Mapping[int, torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """State that has a number for each channel of the layer's weight, and which of these stay."""
    for quantizer in layer.weight_choice.quantizers.values():
        assert isinstance(quantizer, Quantizer)
        axis = quantizer.granularity.axis % layer.weight.dim()
        if quantizer.granularity.kind == "channel" and axis in dims:
            own = (getattr(quantizer, name) for name in quantizer._wanted)
            yield from ((each, dims[axis]) for each in own if len(each) == layer.weight.shape[axis])
