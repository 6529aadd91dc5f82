"""Operators of a graph called again, and the tensors that they take."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

from hwlut.graph import Operation, Source

__all__ = ["called", "sources_of"]

_VIEWS = torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default


def called(operation: Operation, tensor: Callable[[Source], torch.Tensor]) -> Any:
    """What the operator gives where `tensor` is the value of each source; nothing is written to."""
    target, schema = operation.target, operation.target._schema
    if schema.is_mutable:
        namespace, _, name = schema.name.partition("::")
        packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"))
        target = getattr(packet, operation.target._overloadname)
    given = {
        name: tree_map(lambda each: tensor(each) if isinstance(each, Source) else each, value, is_leaf=_is_source)
        for name, value in operation.arguments.items()
    }
    if target in _VIEWS:  # what was copied before it may not be now
        return given["self"].reshape(given["size"])
    positional = [given.pop(each.name) for each in schema.arguments if not each.kwarg_only]
    return target(*positional, **given)


def sources_of(operation: Operation) -> list[tuple[Source, tuple[int, ...]]]:
    """The tensors among the arguments, in order, with their shapes."""
    found = []
    for name, value in operation.arguments.items():
        if isinstance(value, Source):
            found.append((value, operation.sizes[name]))
        elif isinstance(value, tuple):
            found += [(each, operation.sizes[name][place]) for place, each in enumerate(value) if _is_source(each)]
    return found


def _is_source(value: Any) -> bool:
    return isinstance(value, Source)
