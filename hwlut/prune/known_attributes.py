"""The sizes that layers of torch keep as attributes, from their new weights."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from hwlut.graph import Graph, Operation, Source
from hwlut.nn.attention import SplitAttention
from hwlut.nn.quantized.layers import QuantizedTransposedLinear

__all__ = ["settle_sizes", "settled"]

_Sizes = Callable[[Any, tuple[int, ...] | None, tuple[int, ...] | None], Mapping[str, Any]]


def settle_sizes(model: nn.Module, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Let the layers of `model` that torch and hwlut define know the sizes of their weights.

    graph: of the model before. shapes: those that the results of its operations are to have. A layer is told by the
    operation of its own that reads or makes its channels. Raises ValueError, naming the layer, for groups of a
    convolution or a normalization that do not go whole.
    """
    for path, module in model.named_modules():
        sizes = _sizes_of(module)
        if sizes is None:
            continue
        operation = next((each for each in graph.of(path) if each.kind in _KINDS), None)
        given = _given(operation, shapes)
        made = None if operation is None else shapes[operation.name]
        try:
            new = sizes(module, given, made)
        except ArithmeticError as error:
            raise ValueError(f"shrink {path!r} ({type(module).__name__}) must lose whole groups: {error}") from None
        for name, value in new.items():
            if getattr(module, name) != value:
                setattr(module, name, value)


def settled(module: nn.Module) -> bool:
    """Whether all sizes that the module keeps follow from its weights."""
    return _sizes_of(module) not in (None, _attention)


def _sizes_of(module: nn.Module) -> _Sizes | None:
    return next((sizes for kind, sizes in _TABLE.items() if _is(module, kind)), None)


def _is(module: nn.Module, kind: type | str) -> bool:
    return type(module).__name__ == kind if isinstance(kind, str) else isinstance(module, kind)


def _given(operation: Operation | None, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape that an operation is to be given, where it is one of `shapes`."""
    source = None if operation is None else operation.arguments.get("input")
    return shapes.get(source.name) if isinstance(source, Source) and source.result == 0 else None


def _whole(number: int, share: int, words: str) -> int:
    if number % share:
        raise ArithmeticError(f"{number} channels are left in {words} of {share}")
    return number // share


def _linear(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    outputs, inputs = layer.weight.shape
    return {"in_features": inputs, "out_features": outputs}


def _transposed_linear(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    inputs, outputs = layer.weight.shape
    return {name: size for name, size in (("nx", inputs), ("nf", outputs)) if hasattr(layer, name)}


def _conv(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    """A group has as many outputs as before, unless its weight says that they are fewer inputs."""
    outputs, share = layer.weight.shape[:2]
    groups = 1
    if layer.groups > 1:
        spatial = layer.weight.dim() - 2
        inputs = given[-spatial - 1] if given else outputs * layer.in_channels // layer.out_channels
        groups = _whole(inputs, share, "groups")
        _whole(outputs, groups, "groups")
    return {"in_channels": share * groups, "out_channels": outputs, "groups": groups}


def _conv_transposed(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    inputs, share = layer.weight.shape[:2]
    groups = 1
    if layer.groups > 1:
        spatial = layer.weight.dim() - 2
        outputs = made[-spatial - 1] if made else inputs * layer.out_channels // layer.in_channels
        groups = _whole(outputs, share, "groups")
        _whole(inputs, groups, "groups")
    return {"in_channels": inputs, "out_channels": share * groups, "groups": groups}


def _features(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    for tensor in (layer.weight, layer.running_mean):
        if tensor is not None:
            return {"num_features": len(tensor)}
    return {"num_features": made[1]} if made else {}


def _channel_groups(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    channels = len(layer.weight) if layer.weight is not None else made[1] if made else layer.num_channels
    groups = _whole(channels, layer.num_channels // layer.num_groups, "groups")
    return {"num_channels": channels, "num_groups": groups}


def _normalized(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    dims = len(layer.normalized_shape)
    shape = layer.weight.shape if layer.weight is not None else made[-dims:] if made else layer.normalized_shape
    return {"normalized_shape": tuple(shape)}


def _embedding(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    rows, features = layer.weight.shape
    return {"num_embeddings": rows, "embedding_dim": features}


def _attention(layer: Any, given: Any, made: Any) -> dict[str, Any]:
    """Of what it reads; how many heads it has does not follow from its projections."""
    inputs = {"embed_dim": layer.q_proj, "kdim": layer.k_proj, "vdim": layer.v_proj}
    return {name: projection.weight.shape[1] for name, projection in inputs.items()}


_TABLE: Mapping[type | str, _Sizes] = {
    nn.Linear: _linear,
    "Conv1D": _transposed_linear,
    QuantizedTransposedLinear: _transposed_linear,
    nn.modules.conv._ConvTransposeNd: _conv_transposed,
    nn.modules.conv._ConvNd: _conv,
    nn.modules.batchnorm._NormBase: _features,
    nn.GroupNorm: _channel_groups,
    nn.LayerNorm: _normalized,
    nn.RMSNorm: _normalized,
    nn.Embedding: _embedding,
    SplitAttention: _attention,
}
"""By the kind of a layer; the first that it is counts. Conv1D is of transformers, which need not be there."""

_KINDS = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm"),
        *("instance_norm", "group_norm", "layer_norm", "rms_norm"),
    }
)
"""Kinds of operations whose channels tell those of the layer that has them."""
