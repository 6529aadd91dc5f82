"""From the nodes of a program to steps of work, in order."""

from collections.abc import Callable
from typing import Any

import torch

from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.graph import MOVEMENT, Entry, Graph
from hwlut.accel.compiler.look_up import looked_up
from hwlut.accel.compiler.matrix_product import matrix_product
from hwlut.accel.compiler.places import Space, known, moved, only_space
from hwlut.accel.compiler.products import weighted
from hwlut.accel.compiler.vector import applied, operated, pooled, reduced, selected
from hwlut.accel.compiler.work import Step
from hwlut.program.shapes import macs
from hwlut.units import operations as op
from hwlut.units import products
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.nodes import Node
from hwlut.units.patches import MaximumPool, Patches, SumPool, patches
from hwlut.units.reductions import Maximum, Sum

__all__ = ["lowered"]

_KINDS: dict[Callable[[Builder, Entry], Chain], tuple[type[Node], ...]] = {
    weighted: (products.Linear, products.Convolve),
    looked_up: (LookUp,),
    matrix_product: (products.MatrixProduct,),
    pooled: (MaximumPool, SumPool),
    reduced: (Sum, Maximum),
    selected: (op.Select,),
    applied: (op.Apply, Rescale, op.Clamp),
    operated: (
        op.Add, op.Subtract, op.Multiply, op.Less, op.Equal, op.ShiftLeft, op.ShiftRight, op.LeadingOne, op.Bits,
    ),
}  # fmt: skip
_HOW = {kind: how for how, kinds in _KINDS.items() for kind in kinds}


def lowered(builder: Builder) -> list[Step]:
    """The steps of the whole program."""
    graph, steps = builder.graph, list[Step]()
    last = _last_uses(graph)
    done = _folded(builder)
    for number, entry in enumerate(graph.entries.values()):
        builder.entry = entry
        if entry.name not in done:
            chain = _step(builder, entry)
            works = builder.finish()
            if chain is not None or works:
                nodes = tuple(chain.nodes) if chain else (entry.name,)
                done |= set(nodes)
                steps.append(Step(nodes[-1], nodes, works, _macs(builder, entry, chain)))
        for owner in [owner for owner, use in last.items() if use <= number]:
            builder.storage.free(owner)
            del last[owner]
    builder.entry = None
    given = {name for name, _ in builder.results}
    for port, name in graph.outputs.items():
        if port not in given:
            places = builder.places[name]
            places = places if builder.whole is None else places.expand(builder.whole)
            builder.shapes[name] = tuple(places.shape)
            builder.output(port, places)
            steps.append(Step(f"{port}.result", (), builder.finish(), 0))
    return steps


def _folded(builder: Builder) -> set[str]:
    """The names of what follows from numbers alone, which have got their places."""
    done = set[str]()
    for entry in builder.graph.entries.values():
        if done.issuperset(entry.operands):
            builder.entry = entry
            _step(builder, entry)
            done.add(entry.name)
    return done


def _step(builder: Builder, entry: Entry) -> Chain | None:
    """Lowers a node: work, or only the places of what it gives."""
    operands = [builder.places[name] for name in entry.operands]
    node: Any = entry.node
    if isinstance(node, MOVEMENT):
        if isinstance(node, Patches) and any(node.padding) and only_space(operands[0].numpy()) is not Space.LITERAL:
            builder.places[entry.name] = _patches(builder, entry)
        elif entry.name not in builder.places:
            builder.places[entry.name] = moved(node, *operands)
        builder.spans[entry.name] = builder.result_span(entry)
        return None
    if all(only_space(each.numpy()) is Space.LITERAL for each in operands):
        found = torch.as_tensor(node(*map(known, operands)), dtype=torch.int64)
        builder.places[entry.name] = builder.numbers(found)
        builder.spans[entry.name] = int(found.min()), int(found.max())
        return None
    how = _HOW.get(type(node))
    if how is None:
        raise builder.refusal(f"is a {node.op}, which tiles cannot compute")
    return how(builder, entry)


def _patches(builder: Builder, entry: Entry) -> torch.Tensor:
    """Places of patches of a value with padding around it."""
    node: Any = entry.node
    whole = builder.padded(entry.operands[0], node.padding, node.fill, entry.name)
    found = patches(whole, node.kernel, node.stride, (0,) * len(node.kernel), node.dilation, 0)
    return found.movedim(1, -2).flatten(-2)


def _last_uses(graph: Graph) -> dict[str, int]:
    """The number of the last entry that takes each value, itself or by what only moves it; of results none."""
    roots: dict[str, set[str]] = {port.name: {port.name} for port in graph.program.inputs}
    last: dict[str, int] = {}
    for number, entry in enumerate(graph.entries.values()):
        taken = set[str]().union(*(roots[name] for name in entry.operands))
        last |= dict.fromkeys(taken, number)
        roots[entry.name] = {entry.name} | (taken if isinstance(entry.node, MOVEMENT) else set())
        last[entry.name] = number
    kept = set[str]().union(*(roots[name] for name in graph.outputs.values()))
    return {name: number for name, number in last.items() if name not in kept}


def _macs(builder: Builder, entry: Entry, chain: Chain | None) -> int:
    """Multiply-accumulates of a node for one sample."""
    if chain is None:
        return 0
    taken = {own: tuple(builder.places[name].shape) for own, name in zip(entry.node.operands, entry.operands)}
    return macs(entry.node, taken | {entry.node.name: chain.lane.shape})
