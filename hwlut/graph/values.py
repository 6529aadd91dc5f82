"""What stands for the nodes of an exported model, through views and operators that write in place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from hwlut.graph.operation import Source

__all__ = ["Held", "Value", "by_name", "form_of", "schema", "shapes_of", "sizes_of", "tensor_of", "viewed", "written"]


Form = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(frozen=True)
class Value:
    """Where a tensor comes from; whether it follows from the model alone, and then from which parameters."""

    source: Source | None
    constant: bool
    parameters: tuple[str, ...] = ()


class Held:
    """A tensor of the model as it runs: what is written to it is in its views too, and in what it is a view of.

    form: shape, strides and offset of the tensor, None where it is unknown.
    """

    def __init__(self, value: Value, base: "Held | None" = None, form: Form | None = None):
        self.value = value
        self.base = base
        self.form = form
        self.views: list[Held] = []
        if base is not None:
            base.views.append(self)

    def write(self, value: Value) -> None:
        """From here on the tensor comes from what wrote to it."""
        for held in self._kin():
            held.value = value

    @property
    def alone(self) -> bool:
        """Whether all that is written to with the tensor has its form."""
        return all(held.form == self.form for held in self._kin())

    def _kin(self) -> "Iterator[Held]":
        """The tensor, what it is a view of, and its views."""
        above = self.base
        while above is not None:
            yield above
            above = above.base
        below = [self]
        while below:
            held = below.pop()
            yield held
            below += held.views

    def result(self, which: int, form: Form | None) -> "Held":
        """One of the results of an operator that has several, of which this stands for all."""
        source = self.value.source and Source(self.value.source.name, which)
        return Held(Value(source, self.value.constant, self.value.parameters), self, form)


def schema(node: Node) -> torch.FunctionSchema:
    assert isinstance(node.target, torch._ops.OpOverload)
    return node.target._schema


def by_name(node: Node) -> dict[str, Any]:
    """All arguments of a node by the names in its operator's schema."""
    given = {argument.name: argument.default_value for argument in schema(node).arguments}
    return given | dict(zip(given, node.args)) | dict(node.kwargs)


def tensor_of(node: Node) -> torch.Tensor | None:
    """The node's result, the first tensor where there are several, None where there is none: a number, for one."""
    return next((leaf for leaf in tree_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor)), None)


def form_of(node: Node) -> Form | None:
    """Shape, strides and offset of the node's result, where that is one tensor."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(value.shape), tuple(value.stride()), int(value.storage_offset())


def shapes_of(node: Node) -> tuple[tuple[int, ...] | None, ...]:
    """Shapes of all results of the node, None for what is no tensor."""
    value = node.meta.get("val")
    results = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(tuple(each.shape) if isinstance(each, torch.Tensor) else None for each in results)


def sizes_of(value: Any) -> Any:
    """An argument of a node with shapes in the place of tensors, None where it has none."""
    if isinstance(value, Node):
        tensor = value.meta.get("val")
        return tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else None
    if isinstance(value, (list, tuple)) and any(isinstance(each, Node) for each in value):
        return tuple(sizes_of(each) for each in value)
    return None


def written(node: Node) -> list[Node]:
    """The arguments that the operator writes to."""
    arguments = by_name(node)
    names = [each.name for each in schema(node).arguments if each.alias_info and each.alias_info.is_write]
    return [arguments[name] for name in names if isinstance(arguments[name], Node)]


def viewed(node: Node) -> Node | None:
    """The argument that the node's result is, or is a view of."""
    storage = _storage(node)
    return next((each for each in node.all_input_nodes if storage is not None and _storage(each) == storage), None)


def _storage(node: Node) -> int | None:
    """What tells the memory of one tensor from another's, also where neither holds values."""
    value = tensor_of(node)
    return None if value is None else StorageWeakRef(value.untyped_storage()).cdata
