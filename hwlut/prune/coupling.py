"""Channels that can only be removed together, and in which places of which tensors they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from hwlut.graph import Graph

__all__ = ["Coupling", "Groups", "Part", "Removed", "layer_of"]


def layer_of(tensor: str) -> str:
    """Path of the layer that a parameter or buffer belongs to, parametrized or not; its own name at the top."""
    path = tensor.partition(".parametrizations.")[0]
    return path if path != tensor else tensor.rpartition(".")[0] or tensor


@dataclass(frozen=True, eq=False)
class Part:
    """Where a coupling lies along one dimension of a tensor.

    tensor: the first name of a parameter or buffer of the model, or the name of an operation of its graph, whose first
    result is meant. dim: which of its dimensions. groups: int64 [size of the dimension], the group at each place, -1
    for none of this coupling.
    """

    tensor: str
    dim: int
    groups: torch.Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Coupling:
    """Layers whose channels are coupled; a group is what must go at once: a channel of all of them, a head.

    name: path of the first module that makes the channels. size: number of groups. parts: of parameters and buffers.
    results: of operations, which have so many places fewer without a group.
    """

    name: str
    size: int
    parts: tuple[Part, ...]
    results: tuple[Part, ...] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Groups:
    """All that can be removed from a model: couplings by name.

    left: by the path of a layer, why its channels are left alone.
    """

    couplings: Mapping[str, Coupling]
    left: Mapping[str, str]
    graph: Graph = field(repr=False)

    def __iter__(self) -> Iterator[Coupling]:
        return iter(self.couplings.values())

    def __len__(self) -> int:
        """Number of groups of all couplings."""
        return sum(each.size for each in self.couplings.values())

    def __str__(self) -> str:
        rows = [("coupling", "groups", "layers")]
        rows += [(each.name, f"{each.size:,}", _layers(each)) for each in self]
        rows.append(("", f"{len(self):,}", ""))
        name, size = (max(map(len, column)) for column in list(zip(*rows))[:2])
        lines = [f"{a:{name}}  {b:>{size}}  {c}".rstrip() for a, b, c in rows]
        if self.left:
            path = max(map(len, self.left))
            lines += ["", "left alone", *(f"{each:{path}}  {reason}" for each, reason in self.left.items())]
        return "\n".join(lines)


_SHOWN = 4
"""So many layers of a coupling are named."""


def _layers(coupling: Coupling) -> str:
    """Paths of the layers, each with the dimensions of its tensors that shrink."""
    dims: dict[str, set[int]] = {}
    for part in coupling.parts:
        dims.setdefault(layer_of(part.tensor), set()).add(part.dim)
    named = [f"{path}[{','.join(map(str, sorted(each)))}]" for path, each in dims.items()]
    return " ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")


Removed = Mapping[str, Sequence[int]]
"""Groups to remove, by the name of their coupling."""
