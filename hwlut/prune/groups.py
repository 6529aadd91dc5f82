"""`groups`: which channels of a model can be removed, and what goes with each."""

import fnmatch
import itertools
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.graph import Graph, Operation, trace
from hwlut.nn.quantized import split_attention
from hwlut.prune.coupling import Coupling, Groups, Part, layer_of
from hwlut.prune.labels import Array, Labels, varying
from hwlut.prune.unquantized import unquantized
from hwlut.prune.walk import Walk

__all__ = ["groups"]

_Places = dict[tuple[str, int], np.ndarray]
"""The roots at the places along one dimension of a tensor or result, by its name and the dimension."""

_SHOWN = 3
"""Of so many layers an error says why they are left."""


def groups(
    model: nn.Module,
    sample: Any,
    *,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    allow_unknown: bool = False,
) -> Groups:
    """The channels of `model` that can be removed, in couplings of layers that lose them together.

    Parameters
    ----------
    sample: what the model is called with, as for `hwlut.graph.trace`.
    include: patterns (``"layers.*"``; ``*`` also spans dots) of the couplings' names, one of which must match.
    exclude: patterns of names and of layers' paths; a coupling is left out if one matches its name or a layer that
        loses channels with it.
    allow_unknown: leave alone the channels that reach an operator whose rule is not known, instead of raising.

    Channels are left alone where removing one would change what is computed of the others: those that are normalized,
    averaged or compared together, the model's inputs and outputs, what is read by number. Heads of attention, groups of
    a group normalization, and positions in the groups of a convolution go whole. ``nn.MultiheadAttention`` is replaced,
    in place, by separate projections first (`hwlut.nn.quantized.split_attention`).

    Raises ValueError for a model that has no graph, an operator that is not known, a pattern that matches nothing, and
    where nothing can be removed.
    """
    split_attention(model)
    with unquantized(model):
        graph = trace(model, sample)
    walk = Walk(model, graph, allow_unknown=allow_unknown)
    _make_rectangular(walk)
    reasons = walk.labels.staying()
    own, made = _places(walk.labels, walk.tensors), _places(walk.labels, walk.results)
    found = _couplings(graph, own, made, reasons)
    out = _chosen(found, include, exclude)
    kept = {name: each for name, each in found.items() if name not in out}
    told = {root: out[name] for name in out for root in _roots(found[name], own)}
    left = _left(walk, graph, reasons | told)
    if not kept:
        raise ValueError(f"groups model must have channels that can be removed, but {_told(left)}")
    return Groups(couplings=MappingProxyType(kept), left=MappingProxyType(left), graph=graph)


def _told(left: Mapping[str, str]) -> str:
    """The reasons of the first layers, in one line."""
    if not left:
        return "has no layer with weights"
    first = [f"{path}: {reason}" for path, reason in itertools.islice(left.items(), _SHOWN)]
    more = [f"and {len(left) - _SHOWN} more layers"] if len(left) > _SHOWN else []
    return f"all stay ({'; '.join([*first, *more])})"


def _make_rectangular(walk: Walk) -> None:
    """Join labels until those of every array vary along one dimension: what goes is a slab of a tensor.

    The dimension with the most different labels is the one that shrinks.
    """
    several = [array for array in walk.arrays if len(varying(array)) > 1]
    changed = True
    while changed:
        changed = False
        for array in several:
            array = walk.labels.compact(array)
            dims = varying(array)
            if len(dims) > 1:
                shrinking = max(dims, key=lambda dim: len(torch.unique(array.movedim(dim, 0).flatten(1), dim=0)))
                walk.labels.pin(array, [dim for dim in dims if dim != shrinking], "others are in the same places")
                changed = True
    for array in walk.arrays:
        walk.labels.compact(array)


def _places(labels: Labels, tensors: Mapping[str, tuple[Array, ...]]) -> _Places:
    places = {}
    for name, arrays in tensors.items():
        for array in arrays:
            array = labels.compact(array)
            for dim in varying(array):
                places[name, dim] = array.flatten().numpy()
    return places


def _couplings(graph: Graph, own: _Places, made: _Places, reasons: Mapping[int, str]) -> dict[str, Coupling]:
    """Those that can go, by name: sets of labels that are in the same dimensions of the same tensors."""
    results = _by_root(made)
    parts = {root: keys for root, keys in _by_root(own).items() if root not in reasons and root in results}
    coupled: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for root in sorted(parts):
        coupled.setdefault(tuple(parts[root]), []).append(root)
    found: dict[str, Coupling] = {}
    for keys, roots in coupled.items():
        lying = list(dict.fromkeys(key for root in roots for key in results[root]))
        name = _unique(_producer(graph, keys, {result for result, _ in lying}), found)
        numbers = {root: number for number, root in enumerate(roots)}
        found[name] = Coupling(
            name=name,
            size=len(roots),
            parts=tuple(_part(key, own[key], numbers) for key in keys),
            results=tuple(_part(key, made[key], numbers) for key in lying),
        )
    return found


def _by_root(places: _Places) -> dict[int, list[tuple[str, int]]]:
    """In which dimensions of which tensors each label is."""
    found: dict[int, list[tuple[str, int]]] = {}
    for key, roots in places.items():
        for root in np.unique(roots).tolist():
            found.setdefault(root, []).append(key)
    return found


def _part(key: tuple[str, int], roots: np.ndarray, numbers: Mapping[int, int]) -> Part:
    return Part(*key, torch.tensor([numbers.get(root, -1) for root in roots.tolist()]))


def _producer(graph: Graph, keys: Iterable[tuple[str, int]], results: Collection[str]) -> str:
    """The layer of the first operation that makes the channels of a parameter."""
    tensors = [name for name, _ in keys]
    for operation in graph:
        used = [name for name in operation.parameters if name in tensors]
        if operation.weights and used and operation.name in results:
            return _layer(operation, used)
    return layer_of(tensors[0])


def _layer(operation: Operation, names: Iterable[str]) -> str:
    """Path of the layer with these parameters: of the operation's module, if one of them is below it."""
    paths = [layer_of(name) for name in names]
    return operation.path if operation.path in paths else paths[0]


def _unique(name: str, taken: Collection[str]) -> str:
    """The name, or one that tells a second coupling of the same layer."""
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name}#{number}"
        number += 1
    return unique


def _chosen(found: Mapping[str, Coupling], include: Collection[str], exclude: Collection[str]) -> dict[str, str]:
    """Couplings that no pattern includes, or one excludes, and which of the two."""
    layers = {name: {name, *(layer_of(part.tensor) for part in each.parts)} for name, each in found.items()}
    own = {name: {name} for name in found}
    for label, patterns, names in (("include", include, own), ("exclude", exclude, layers)):
        if isinstance(patterns, str):
            raise TypeError(f"groups {label} must be a collection of patterns, not {patterns!r}")
        for pattern in patterns:
            if not any(fnmatch.filter(each, pattern) for each in names.values()):
                if found:
                    raise ValueError(
                        f"groups {label} {pattern!r} must match a coupling; there are {shorten(list(found))}"
                    )
    out = {}
    for name in found:
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
            out[name] = "not included"
        elif any(fnmatch.filter(layers[name], pattern) for pattern in exclude):
            out[name] = "excluded"
    return out


def _roots(coupling: Coupling, own: _Places) -> set[int]:
    [first, *_] = coupling.parts
    roots = own[first.tensor, first.dim]
    return set(roots[first.groups.numpy() >= 0].tolist())


def _left(walk: Walk, graph: Graph, told: Mapping[int, str]) -> dict[str, str]:
    """Why the outputs of layers do not go, by the layer's path; nothing of those of which some do.

    told: by label, why it stays.
    """
    left: dict[str, str] = {}
    removable: set[str] = set()
    for operation in graph:
        if operation.weights and operation.parameters:
            path = _layer(operation, operation.parameters)
            roots = _outputs(walk, operation, told)
            if any(root not in told for root in roots):
                removable.add(path)
            else:
                left.setdefault(path, told[roots[0]] if roots and not _single(operation) else "it is the only one")
    return {path: reason for path, reason in left.items() if path not in removable}


def _single(operation: Operation) -> bool:
    """Whether a layer makes one channel."""
    return operation.shape[1 if operation.kind.startswith("conv") else -1] == 1


def _outputs(walk: Walk, operation: Operation, told: Mapping[int, str]) -> list[int]:
    """Labels of a layer's result; where they are not followed as far, those of its weights that stay."""
    arrays = walk.results[operation.name]
    if not arrays:
        owned = [array for name in operation.parameters for array in walk.tensors[name] if array.numel() > 1]
        whole = [array for array in owned if all(root in told for root in walk.labels.roots(array).flatten().tolist())]
        arrays = tuple(whole[:1])
    return [root for array in arrays for root in walk.labels.roots(array).flatten().tolist()]
