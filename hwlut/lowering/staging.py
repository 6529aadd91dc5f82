"""From the graph of a model to its stages."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from hwlut.graph import Graph, Operation, Source, trace
from hwlut.lowering.calls import called, sources_of
from hwlut.lowering.stage import Stage, kind_of, module_kind_of
from hwlut.names import legal_name
from hwlut.quant import Quantizer

__all__ = ["Staged", "staged"]

_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul"})

_BATCH = 97
"""The fewest samples that a model is traced with."""


@dataclass(frozen=True)
class Staged:
    """The stages of a model in order, the names of its inputs, and the values that it returns."""

    stages: tuple[Stage, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def staged(model: nn.Module, sample: Any) -> Staged:
    """The stages of `model`, called with `sample`; ValueError, by module path, for what no program can express."""
    return _Staging(model, sample).found()


class _Staging:
    def __init__(self, model: nn.Module, sample: Any):
        self.model = model
        self.layers = {path: module for path, module in model.named_modules() if module_kind_of(module)}
        self.batch = _batch(model, sample)
        with _traceable(self.layers.values()):
            self.graph = self._traced(sample)
        own = model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
        self.tensors = {name for each in own for name, _ in each}
        self.constant: dict[str, Callable[[], Any]] = {}
        self.fixed: set[str] = set()
        self.values: dict[Source, str] = {Source(name): legal_name(name) for name in self.graph.inputs}

    def _traced(self, sample: Any) -> Graph:
        try:
            return trace(self.model, _batched(sample, self.batch))
        except ValueError:
            for path, layer in self.layers.items():
                if any(
                    isinstance(each, Quantizer) and each.calibrates and not each.calibrated for each in layer.modules()
                ):
                    raise ValueError(f"{path}: activations must be calibrated, by hwlut.quant.calibrate") from None
            raise

    def found(self) -> Staged:
        stages: list[Stage] = []
        for group in self._groups():
            if stage := self._stage(group):
                stages.append(stage)
        for source in self.graph.outputs:
            if source not in self.values:
                raise ValueError(f"output {source.name!r} of the model must follow from its inputs")
        return Staged(
            tuple(stages),
            tuple(self.values[Source(name)] for name in self.graph.inputs),
            tuple(self.values[source] for source in self.graph.outputs),
        )

    def _groups(self) -> list[tuple[str | None, list[Operation]]]:
        """Operations, those of a call of a layer together, with the layer's path."""
        groups: list[tuple[str | None, list[Operation]]] = []
        for operation in self.graph:
            layer = self._layer(operation.path)
            last = groups[-1] if groups else None
            if layer is not None and last is not None and last[0] == layer and not _again(last[1], operation):
                last[1].append(operation)
            else:
                groups.append((layer, [operation]))
        return groups

    def _layer(self, path: str) -> str | None:
        """The outermost layer that holds the module at a path."""
        parts = path.split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts) + 1))
        return next((prefix for prefix in prefixes if prefix in self.layers), None)

    def _stage(self, group: tuple[str | None, list[Operation]]) -> Stage | None:
        layer, operations = group
        last = operations[-1]
        path = last.path if layer is None else layer
        where = f"{path or type(self.model).__name__}: {last.kind}"
        own = {operation.name for operation in operations}
        shapes = {source: shape for each in operations for source, shape in sources_of(each)}
        fed = [source for each in operations for source, _ in sources_of(each) if source in self.values]
        if not fed:
            self._note_constants(layer, operations)
            return None
        if layer is None:
            kind = kind_of(last.kind)
            if last.partial:
                raise ValueError(f"{where} must not write to a part of a tensor")
        else:
            kind = module_kind_of(self.layers[layer])
            fed = list(dict.fromkeys(source for source in fed if source.name not in own))
        if kind is None:
            raise ValueError(f"{where} has no form in integers; {_ADVICE.get(last.kind, _OTHERWISE)}")
        if layer is not None and len(fed) != kind.operands:
            fed *= kind.operands  # a product of a value with itself
        name = self._free(f"{path}.{last.kind}" if layer is None else path)
        stage = kind(
            name=name,
            path=path,
            operation=last,
            module=None if layer is None else self.layers[layer],
            inputs=tuple(self.values[source] for source in fed),
            sources=tuple(fed),
            sizes=tuple(shapes[source] for source in fed),
            batch=self.batch,
            constants=self._constants(last) if layer is None else {},
        )
        try:
            stage.check()
        except ValueError as error:
            raise ValueError(f"{where} {error}") from None
        self.values |= {Source(last.name, place): result for place, result in enumerate(stage.results)}
        return stage

    def _note_constants(self, layer: str | None, operations: list[Operation]) -> None:
        """Operations on constants alone; of a layer, by a call of it, which has the gradients of training."""
        if layer is None:
            (only,) = operations
            self.constant[only.name] = self._evaluated(only)
            return
        module, own = self.layers[layer], {operation.name for operation in operations}
        tensors = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        sources = dict.fromkeys(source for each in operations for source, _ in sources_of(each))
        found = [self._constant(source) for source in sources if source.name not in own]
        fed = [each for each in found if id(each()) not in tensors]
        self.constant[operations[-1].name] = lambda: module(*(each() for each in fed))

    def _free(self, path: str) -> str:
        """A name like the path that no value has."""
        taken = set(self.values.values())
        names = itertools.chain([name := legal_name(path)], (f"{name}__{count}" for count in itertools.count(1)))
        return next(each for each in names if each not in taken)

    def _constants(self, operation: Operation) -> dict[Source, Callable[[], torch.Tensor]]:
        """Those that the operation takes; of what is alike for every sample of the batch that of one sample."""
        found = {source: self._constant(source) for source, _ in sources_of(operation) if source not in self.values}
        return {
            source: _of_one_sample(each, self.batch) if source.name in self.constant else each
            for source, each in found.items()
        }

    def _constant(self, source: Source) -> Callable[[], Any]:
        """What gives the tensor that follows from the model alone, as the model is at that time."""
        name, result = source
        if name in self.constant:
            found = self.constant[name]
            return lambda: value[result] if isinstance(value := found(), (tuple, list)) else value
        if name in self.tensors:
            return lambda: attrgetter(name)(self.model)
        if name in self.graph.constants:
            return lambda: self.graph.constants[name]
        raise ValueError(f"tensor {name!r} must be a parameter, a buffer or a constant of the model")

    def _evaluated(self, operation: Operation) -> Callable[[], Any]:
        """What computes an operation of constants; once where no parameter or buffer is behind it."""
        taken = [source for source, _ in sources_of(operation)]
        found = {source: self._constant(source) for source in taken}

        def tensor(source: Source) -> torch.Tensor:
            value = found[source]()
            # The graph has no casts: truths that are added as numbers must not be so as truths.
            return value.to(operation.dtype) if operation.kind in _ARITHMETIC else value

        def evaluate() -> Any:
            return called(operation, tensor)

        if not all(source.name in self.fixed or source.name in self.graph.constants for source in taken):
            return evaluate
        self.fixed.add(operation.name)
        return functools.cache(evaluate)


@contextlib.contextmanager
def _traceable(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let stand-ins be called in the place of layers that torch.export does not capture."""
    changed = []
    try:
        for layer in layers:
            kind = module_kind_of(layer)
            assert kind is not None
            if (stand_in := kind.traced(layer)) is not None:
                layer.__dict__["forward"] = stand_in
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.__dict__["forward"]


def _of_one_sample(found: Callable[[], torch.Tensor], batch: int) -> Callable[[], torch.Tensor]:
    """What gives the first of `batch` equal parts along the first axis, where there are such; else all."""

    def first() -> torch.Tensor:
        value = found()
        if not value.dim() or not value.shape[0] or value.shape[0] % batch:
            return value
        parts = value.unflatten(0, (batch, -1))
        return parts[0] if bool((parts == parts[:1]).all()) else value

    return first


def _again(before: list[Operation], operation: Operation) -> bool:
    """Whether an operation belongs to another call of the layer: its module has been through this kind and place."""
    return any(
        (each.path, each.kind, each.place) == (operation.path, operation.kind, operation.place)
        and each.call != operation.call
        for each in before
    )


def _batch(model: nn.Module, sample: Any) -> int:
    """A prime that divides no size of the sample or of the model's tensors, which tells what grows with the batch."""
    given = [leaf.shape[1:] for leaf in tree_leaves(sample) if isinstance(leaf, torch.Tensor)]
    own = [tensor.shape for tensor in (*model.parameters(), *model.buffers())]
    sizes = {size for shape in (*given, *own) for size in shape if size}
    primes = (each for each in itertools.count(_BATCH) if all(each % divisor for divisor in range(2, each)))
    return next(each for each in primes if all(size % each for size in sizes))


def _batched(sample: Any, batch: int) -> Any:
    """The sample with `batch` of its first one."""
    from hwlut.graph.capture import batch_of

    size = batch_of(sample)

    def grown(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() and len(value) == size:
            return value[:1].expand(batch, *value.shape[1:]).clone()
        return value

    return tree_map(grown, sample)


_OTHERWISE = "convert it to a layer of hwlut, or leave it out of what is exported"
_QUANTIZE = "let hwlut.nn.quantized.quantize, hwlut.search or hwlut.nn.convert give it integer operands first"
_ADVICE = dict.fromkeys(("linear", "matmul", "attention", "conv1d", "conv2d", "conv3d", "convolution"), _QUANTIZE)
