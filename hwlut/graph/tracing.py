"""`trace`: from the nodes of an exported model to the operations that count."""

import operator
from collections import Counter
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind, TensorArgument
from torch.fx import GraphModule, Node

from hwlut.fields import shorten
from hwlut.graph.capture import batch_of, capture
from hwlut.graph.kinds import macs, role, skipped
from hwlut.graph.lines import line_of, place_of, refusal
from hwlut.graph.operation import PRODUCTS, Graph, Operation, Source
from hwlut.graph.places import Places
from hwlut.graph.values import (
    Held,
    Value,
    by_name,
    form_of,
    schema,
    shapes_of,
    sizes_of,
    tensor_of,
    viewed,
    written,
)

__all__ = ["trace"]

_MODES = frozenset({"wrap_with_autocast", "wrap_with_set_grad_enabled"})
_NOTHING = Value(None, True)


def trace(model: nn.Module, sample: Any) -> Graph:
    """The operations that `model` runs when it is called with `sample`, by module path.

    `sample` is a tensor, a tuple of positional or a dict of keyword arguments, as in calibration. Its batch size is the
    first dimension of its first tensor, and `macs` are for one sample of it. The model is captured in evaluation mode
    by `torch.export.export` and is afterwards as it was; the graph is a map of it for this sample's sizes.

    Left out is what changes no value when the model is evaluated: assertions, copies, changes of type, dropout; what
    comes after is fed by what came before. So is the choice of one of an operator's results, which `Source` tells.

    Raises TypeError for what is no module or a sample that it cannot be called with, and ValueError for a sample
    without a tensor or a batch and for a model that export cannot capture, such as one that branches on values: the
    message has its line.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"trace model must be a torch.nn.Module, not {shorten(model)}")
    return _Walk(model, batch_of(sample)).graph(capture(model, sample))


class _Walk:
    """Follows an exported model node by node and notes its operations."""

    def __init__(self, model: nn.Module, batch: int):
        self.batch = batch
        self.places = Places(model)
        first = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
        every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self.tensors = {name: first[id(tensor)] for name, tensor in every}
        self.taken = set(self.tensors)
        self.operations: list[Operation] = []
        self.counts: Counter[tuple[str, int, str]] = Counter()

    def graph(self, program: ExportedProgram) -> Graph:
        signature = program.graph_signature
        fed = [Held(self._fed(spec)) for spec in signature.input_specs]
        inputs = [held.value.source for held in fed if not held.value.constant]
        returned = zip(self._run(program.graph_module, fed), signature.output_specs)
        outputs = [held.value.source for held, spec in returned if spec.kind == OutputKind.USER_OUTPUT]
        return Graph(
            operations=tuple(self.operations),
            inputs=tuple(source.name for source in inputs if source),
            outputs=tuple(source for source in outputs if source),
            names=MappingProxyType(self.places.names),
            constants=MappingProxyType(
                {name: each for name, each in program.constants.items() if isinstance(each, torch.Tensor)}
            ),
        )

    def _fed(self, spec: InputSpec) -> Value:
        """What an input of the exported program stands for."""
        if spec.kind == InputKind.USER_INPUT:
            tensor = isinstance(spec.arg, TensorArgument)
            return Value(Source(self._unique(spec.arg.name)), False) if tensor else _NOTHING
        target = spec.target or spec.arg.name
        name = self.tensors.get(target, target)
        return Value(Source(name), True, (name,) if spec.kind == InputKind.PARAMETER else ())

    def _unique(self, name: str) -> str:
        """`name`, or one made of it, that nothing else in the graph has."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def _run(self, module: GraphModule, inputs: list[Held]) -> list[Held]:
        """Follow the nodes of a module, whose inputs are `inputs`, and give its outputs."""
        values: dict[Node, Any] = {}
        waiting = iter(inputs)
        outputs: list[Held] = []
        for node in module.graph.nodes:
            if node.op == "placeholder":
                values[node] = held = next(waiting)
                held.form = form_of(node) if held.form is None else held.form
            elif node.op == "call_function":
                values[node] = self._called(module, node, values)
            elif node.op == "output":
                outputs = [values[each] if isinstance(each, Node) else Held(_NOTHING) for each in node.args[0]]
        return outputs

    def _called(self, module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
        """What stands for the result of a node: one tensor, or a list where it ran other nodes."""
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return self._under_mode(module, node, values)
        place = self.places(node)
        if node.target is operator.getitem:
            results, which = values[node.all_input_nodes[0]], node.args[1]
            assert isinstance(which, int)
            return results[which] if isinstance(results, list) else results.result(which, form_of(node))
        base = viewed(node)
        if not isinstance(node.target, torch._ops.OpOverload) or tensor_of(node) is None or skipped(node):
            fed = [values[each].value for each in node.all_input_nodes]
            return values[base] if base is not None else Held(fed[0] if fed else _NOTHING, None, form_of(node))
        targets = [values[each] for each in written(node)]
        value = self._operation(node, values, place, partial=not all(target.alone for target in targets))
        for target in targets:
            target.write(value)
        return targets[0] if targets else Held(value, None if base is None else values[base], form_of(node))

    def _under_mode(self, module: GraphModule, node: Node, values: dict[Node, Any]) -> list[Held]:
        """A part of the model under its own mode of gradients or autocast, followed as if it stood here."""
        assert isinstance(node.target, torch._ops.HigherOrderOperator)
        if node.target.name() not in _MODES:
            raise refusal(place_of(node), f"{node.target.name()} leaves open which operations run")
        part = node.all_input_nodes[0]
        operands = node.args[node.args.index(part) + 1 :]
        held = [values[each] if isinstance(each, Node) else Held(_NOTHING) for each in operands]
        return self._run(getattr(module, str(part.target)), held)

    def _operation(self, node: Node, values: dict[Node, Any], place: tuple[str, str, int], *, partial: bool) -> Value:
        fed = {each: values[each].value for each in node.all_input_nodes}
        fixed = {each for each, value in fed.items() if value.constant}
        learned = {each for each, value in fed.items() if value.parameters}
        kind, weights = role(node, fixed, learned)
        path, module, call = place
        counted = path, call, "product" if kind in PRODUCTS else kind
        result = tensor_of(node)
        assert result is not None
        if not all(isinstance(size, int) for size in result.shape):
            raise refusal(place_of(node), f"the shape of {kind} depends on the values of a tensor")
        arguments = by_name(node)
        sizes = {key: sizes_of(value) for key, value in arguments.items()}
        operation = Operation(
            name=self._unique(node.name),
            kind=kind,
            operator=schema(node).name,
            target=cast(torch._ops.OpOverload, node.target),
            path=path,
            module=module,
            call=call,
            place=self.counts[counted],
            inputs=tuple(dict.fromkeys(value.source.name for value in fed.values() if value.source)),
            arguments=MappingProxyType({key: _mapped(value, values) for key, value in arguments.items()}),
            sizes=MappingProxyType({key: size for key, size in sizes.items() if size is not None}),
            shape=tuple(result.shape),
            shapes=shapes_of(node),
            partial=partial,
            dtype=result.dtype,
            parameters=tuple(dict.fromkeys(each for value in fed.values() for each in value.parameters)),
            weights=sum(weight.meta["val"].numel() for weight in weights),
            macs=-(-macs(node) // self.batch),
            line=line_of(node),
        )
        self.counts[counted] += 1
        self.operations.append(operation)
        constant = len(fixed) == len(fed)
        return Value(Source(operation.name), constant, operation.parameters if constant else ())


def _mapped(value: Any, values: dict[Node, Any]) -> Any:
    """An argument with sources in the place of nodes."""
    if isinstance(value, Node):
        return values[value].value.source
    if isinstance(value, (list, tuple)):
        return tuple(_mapped(each, values) for each in value)
    return value
