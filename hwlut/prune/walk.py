"""A model as its channels see it: every operation in turn says which of them can only go together."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hwlut.graph import Graph, Operation, Source
from hwlut.prune.labels import Array, Labels, Value
from hwlut.prune.rules import RULES, Step, plain

__all__ = ["Walk"]


class Walk:
    """What is found of the channels of `model`, of which `graph` is the trace.

    labels: which channels go together. tensors: the labels of the parameters that take part, by name, an array for each
    dimension, and of buffers that are saved; others, like the angles of rotary positions, are constants. results: the
    labels of operations' first results.

    Raises ValueError for an operator that has no rule, if it is reached by channels that could go, unless
    `allow_unknown`: then they stay.
    """

    def __init__(self, model: nn.Module, graph: Graph, *, allow_unknown: bool):
        self.labels = Labels()
        self.tensors: dict[str, tuple[Array, ...]] = {}
        self.results: dict[str, tuple[Array, ...]] = {}
        self._graph = graph
        self._allow = allow_unknown
        kept = set(model.state_dict(keep_vars=True))
        buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
        self._owned: dict[str, torch.Tensor] = {**dict(model.named_parameters()), **buffers}
        self._values: dict[str, tuple[Value, ...]] = {}
        self._read = {name for operation in graph for name in operation.inputs} | {each.name for each in graph.outputs}
        for operation in graph:
            self._follow(operation)
        for source in graph.outputs:
            for array in self._labelled(source):
                self.labels.stay(array, "they are the model's output")

    @property
    def arrays(self) -> Iterator[Array]:
        """Labels of all that takes part and of all results."""
        for arrays in self.tensors.values():
            yield from arrays
        for values in self._values.values():
            for value in values:
                yield from value.arrays

    def _follow(self, operation: Operation) -> None:
        pairs = {key: (value, operation.sizes.get(key)) for key, value in operation.arguments.items()}
        given = {key: self._given(*pair) for key, pair in pairs.items()}
        step = Step(operation, self.labels, given, unread=operation.name not in self._read)
        step.arguments = {key: _compact(step, value) for key, value in step.arguments.items()}
        rule = RULES.get(plain(operation.operator))
        if operation.partial or rule is None:
            self._unknown(step)
            values = tuple(Value(shape or ()) for shape in operation.shapes)
        else:
            found = rule(step)
            values = (found,) if isinstance(found, Value) else tuple(found)
        self._values[operation.name] = values
        self.results[operation.name] = values[0].arrays

    def _given(self, value: Any, size: Any) -> Any:
        """An argument with labels in the place of sources."""
        if isinstance(value, Source):
            found = self._values.get(value.name)
            if found is None:
                return Value(
                    size, self._labelled(value), value.name not in self._graph.inputs, value.name in self._owned
                )
            whole = found[value.result]
            return whole if whole.shape == size else Value(size)  # what an operation wrote to in part
        if isinstance(value, tuple) and isinstance(size, tuple) and len(size) == len(value):
            return tuple(self._given(each, its) for each, its in zip(value, size))
        return value

    def _labelled(self, source: Source) -> tuple[Array, ...]:
        if source.name in self._values:
            return self._values[source.name][source.result].arrays
        tensor = self._owned.get(source.name)
        if tensor is None or not tensor.is_floating_point():
            return ()
        if source.name not in self.tensors:
            self.tensors[source.name] = tuple(self._new(tensor.shape, dim) for dim in range(tensor.ndim))
        return tuple(array for array in self.tensors[source.name] if array.numel() > 1)

    def _new(self, shape: torch.Size, dim: int) -> Array:
        """Labels along one dimension of a tensor of its own."""
        sizes = [size if at == dim else 1 for at, size in enumerate(shape)]
        return self.labels.new(shape[dim]).reshape(sizes)

    def _unknown(self, step: Step) -> None:
        """Refuse the operator, or leave all alone that reaches it."""
        operation = step.operation
        reached = [value for value in (*step.tensors, *self._below(step)) if value.arrays]
        if not reached:
            return
        told = f"{plain(operation.operator)} at {operation.path or operation.module} ({operation.line})"
        what = "writes to a part of a tensor" if operation.partial else "has no rule"
        if not self._allow:
            raise ValueError(
                f"groups model must be of operators whose channels are followed, unlike {told}, which {what}; "
                "allow_unknown=True leaves alone what it is reached by"
            )
        for value in reached:
            step.stay(value, f"{told} {what}")

    def _below(self, step: Step) -> list[Value]:
        """What is written to in part, and what that is a view of."""
        found: list[Value] = []
        source: Any = step.operation.arguments.get("self") if step.operation.partial else None
        while isinstance(source, Source) and source.name in self._values:
            found.append(self._values[source.name][source.result])
            source = self._graph[source.name].arguments.get("self")
        return found


def _compact(step: Step, value: Any) -> Any:
    if isinstance(value, Value):
        return step.compact(value)
    return tuple(_compact(step, each) for each in value) if isinstance(value, tuple) else value
