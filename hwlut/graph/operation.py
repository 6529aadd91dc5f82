"""The map of a model: its operations, in the order in which they run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from hwlut.fields import shorten

__all__ = ["PRODUCTS", "Graph", "Operation", "Source"]

PRODUCTS = frozenset({"attention", "matmul"})
"""Kinds of operations that multiply activations by activations."""


class Source(NamedTuple):
    """A tensor that feeds an operation.

    name: of the operation, of the model's input, or of the parameter, buffer or constant that it is. result: which of
    the operation's results, from 0.
    """

    name: str
    result: int = 0


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on tensors, as one call of one module runs it.

    name: unique in the graph. kind: "linear" (a product with a weight matrix, however it is written), "conv1d",
    "conv2d", "conv3d", "conv_transpose1d" and so on, "embedding", "matmul" (other products of two tensors), "attention"
    (scaled dot products, whole), else the operator's plain name, such as "softmax", "add" or "layer_norm". operator:
    the name of its schema, such as "aten::addmm" or "aten::relu_".

    path: of the module whose forward has it, the first name of that module in `model.named_modules()`; "" for the
    model. module: that module's class. call: how many-th call of the module, from 0. place: how many-th operation of
    its kind in that call, from 0, where "matmul" and "attention" count as one kind: products.

    inputs: names of what feeds it, each once. arguments: all that the operator is called with, by the names in its
    schema, with a `Source` for each tensor. sizes: the shapes of the tensors among them, by the same names, a tuple of
    shapes where an argument is several. shape, dtype: of its first result. shapes: of all its results, None for what is
    no tensor. partial: whether it writes to a tensor that has views, or is one, of another form: what reads it then
    reads more than its result, or less.

    parameters: names of the model's parameters among its arguments, as they are or computed from parameters alone
    (transposed, sliced, quantized). weights: elements of its weight, 0 without one; a bias is none. macs:
    multiply-accumulates for one sample of the batch, rounded up where samples share them: of matrix products,
    convolutions, attention and recurrent networks, 0 for all others.

    line: "file:line" of the model's source.
    """

    name: str
    kind: str
    operator: str
    target: torch._ops.OpOverload = field(hash=False, repr=False)
    path: str
    module: str
    call: int
    place: int
    inputs: tuple[str, ...]
    arguments: Mapping[str, Any] = field(hash=False)
    sizes: Mapping[str, Any] = field(hash=False, repr=False)
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    partial: bool
    dtype: torch.dtype
    parameters: tuple[str, ...]
    weights: int
    macs: int
    line: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Operations of a model in the order in which they run; iteration gives them, and `graph[name]` one of them.

    inputs: names of the tensors that the model is called with. outputs: what it returns, flattened. names: for each
    path in the model the first name of the module there, which is what operations have. constants: tensors that feed
    operations and are neither the model's inputs nor its parameters or buffers, by name.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Source, ...]
    names: Mapping[str, str] = field(hash=False, repr=False)
    constants: Mapping[str, torch.Tensor] = field(hash=False, repr=False)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __getitem__(self, name: str) -> Operation:
        for operation in self.operations:
            if operation.name == name:
                return operation
        raise KeyError(name)

    def of(self, path: str) -> tuple[Operation, ...]:
        """Operations of the module at `path`, by any of its names, without those of the modules inside it.

        Raises ValueError for a path that the model does not have.
        """
        if path not in self.names:
            raise ValueError(f"Graph path must be that of a module of the model, not {shorten(path)}")
        return tuple(operation for operation in self.operations if operation.path == self.names[path])

    @property
    def products(self) -> tuple[Operation, ...]:
        """Products of activations: each belongs to the module that calls it, at its `place`."""
        return tuple(operation for operation in self.operations if operation.kind in PRODUCTS)

    def __str__(self) -> str:
        total = sum(operation.macs for operation in self.operations)
        rows = [("path", "kind", "shape", "MACs")]
        rows += [(each.path, each.kind, "x".join(map(str, each.shape)), f"{each.macs:,}") for each in self.operations]
        rows += [("", "", "", f"{total:,}")]
        path, kind, shape, macs = (max(map(len, column)) for column in zip(*rows))
        return "\n".join(f"{a:{path}}  {b:{kind}}  {c:{shape}}  {d:>{macs}}" for a, b, c, d in rows)
