"""Engine: runs of arithmetic on codes and rows, compiled as one where there is a compiler."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hwlut.program.c.kernel import kernel
from hwlut.program.engine.prepared import Compute, Place, as_integers
from hwlut.units import Direct, Port, Program, Pwl, Requantize
from hwlut.units.nodes import Extent, Node, Span, format_of
from hwlut.units.operations import Apply, Clamp
from hwlut.units.reductions import Entries, Maximum, Sum

__all__ = ["compiled_run", "runs"]

_TABLE_BITS = 16
_UNITS = Direct, Pwl, Program, Requantize


def _joins(node: Node) -> bool:
    """Whether a node may be part of a run."""
    return node.extent is not Extent.TENSORS and (not isinstance(node, Apply) or isinstance(node.unit, _UNITS))


def _is_run(node: Node) -> bool:
    """Whether a node is much by itself: a program that no table stands for."""
    unit: Any = node.unit if isinstance(node, Apply) else None
    return isinstance(unit, Program) and (unit.extent is Extent.ROWS or unit.input.bits > _TABLE_BITS)


def runs(nodes: Sequence[Node], keep: Iterable[str]) -> dict[str, list[Node]]:
    """Nodes that lead to one value alone, in order, by the name of that: those worth a compilation.

    nodes: in order. keep: values that are wanted beside.
    """
    wanted = set(keep)
    takers: dict[str, set[str | None]] = defaultdict(set)
    found: dict[str, list[Node]] = defaultdict(list)
    for node in reversed(nodes):
        ends = {node.name} if node.name in wanted else takers[node.name]
        joins = _joins(node)
        alone = next(iter(ends)) if joins and len(ends) == 1 else None
        end = node.name if alone is None else alone
        for operand in node.operands:
            takers[operand].add(end if joins else None)
        if joins:
            found[end].append(node)
    return {end: run[::-1] for end, run in found.items() if len(run) > 1 or _is_run(run[0])}


def compiled_run(
    run: list[Node], known: Mapping[str, Node], spans: Mapping[str, Span], place: Place, singly: Callable[..., Any]
) -> tuple[tuple[str, ...], Compute]:
    """Names of the operands of a run, and what computes its last value.

    known: nodes of constants by name. singly: computes it from the operands a node at a time, for shapes to which
    constants do not broadcast, and without a compiler.
    """
    inner = {node.name: node for node in run}
    for node in reversed(run):
        _with_constants(node, known, inner)
    own = [name for name in spans if name in inner]
    taken = tuple(dict.fromkeys(name for node in run for name in node.operands if name not in inner))
    names = {name: f"x{n}" for n, name in enumerate(taken)} | {name: f"v{n}" for n, name in enumerate(own)}
    ends = tuple(spans[name] for name in (*taken, run[-1].name))
    key = (ends, *(_key(inner[name], names) for name in own))
    made = _Run(key, tuple(inner[name] for name in own), names, ends)
    along, around = _reach(run, inner, taken)
    entries = {name: node.values.shape for name, node in inner.items() if isinstance(node, Entries)}

    def compute(*values: torch.Tensor) -> torch.Tensor:
        given = [as_integers(value) for value in values]
        try:
            shape = torch.broadcast_shapes(*(value.shape for value in given))
        except RuntimeError:  # rows that are summed up may be of other lengths than those behind
            shape = torch.Size()
        function = _kernel(made) if shape else None
        if function is None or torch.broadcast_shapes(shape, *entries.values()) != shape:
            return singly(dict(zip(taken, values)))
        result = function(*given, narrow=True)
        places = [value.shape[-1] for name, value in zip(taken, given) if name in along and value.dim()]
        count = max([1, *places, *(entries[name][-1] for name in around)])
        return place.given(result[..., :count] if count < shape[-1] else result)

    return taken, compute


@dataclass(frozen=True)
class _Run:
    """What a kernel is made of; `key` tells one from another.

    nodes: in order, the last one's value being the result. names: of all values in the kernel. ends: spans of operands
    and result.
    """

    key: tuple[Any, ...]
    nodes: tuple[Node, ...] = field(compare=False)
    names: Mapping[str, str] = field(compare=False)
    ends: tuple[Span, ...] = field(compare=False)

    def program(self) -> Program:
        names = dict(self.names)
        ports, held = [], []
        for (name, short), span in zip(self.names.items(), self.ends[:-1]):
            format = format_of(span)
            ports.append(Port(short, format))
            if span != (format.min, format.max):  # what follows may need to know
                names[name] = f"{short}_held"
                held.append(Clamp(names[name], short, *span))
        nodes = *held, *(_renamed(node, names) for node in self.nodes)
        return Program(inputs=tuple(ports), nodes=nodes, outputs=(Port(nodes[-1].name, format_of(self.ends[-1])),))


@functools.lru_cache(maxsize=256)
def _kernel(run: _Run) -> Any:
    """The kernel; None where there is none."""
    try:
        return kernel(run.program())
    except ValueError:  # operands of more than 32 bits, and units that C does not hold
        return None


def _key(node: Node, names: Mapping[str, str]) -> tuple[Any, ...]:
    """All of a node but its name."""
    found: list[Any] = [type(node)]
    for each in dataclasses.fields(node)[1:]:
        value = getattr(node, each.name)
        if "operand" in each.metadata:
            value = names[value]
        found.append((value.shape, value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value)
    return tuple(found)


def _with_constants(node: Node, known: Mapping[str, Node], inner: dict[str, Node]) -> None:
    """Put the constants that a node takes among the nodes of its run."""
    for operand in node.operands:
        if operand in known and operand not in inner:
            inner[operand] = known[operand]
            _with_constants(known[operand], known, inner)


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    """By the place in the run, so that runs alike have one kernel."""
    taken = [field.name for field in dataclasses.fields(node) if "operand" in field.metadata]
    return dataclasses.replace(node, name=names[node.name], **{key: names[getattr(node, key)] for key in taken})


def _reach(run: list[Node], inner: Mapping[str, Node], taken: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Operands, and `Entries`, along whose places the last value lies: others are summed up before."""
    found: dict[str, set[str]] = {name: {name} for name in taken}

    def of(name: str) -> set[str]:
        if name not in found:
            node = inner[name]
            lies = set().union(*map(of, node.operands)) | ({name} if isinstance(node, Entries) else set())
            found[name] = set() if isinstance(node, (Sum, Maximum)) else lies
        return found[name]

    reached = of(run[-1].name)
    return reached & set(taken), reached - set(taken)
