"""What stays of a model's tensors and results when groups go."""

from collections.abc import Iterable, Mapping
from numbers import Integral

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.prune.coupling import Groups, Part, Removed

__all__ = ["Kept", "checked", "kept_of", "kept_results", "kept_tensors", "shapes"]

Kept = Mapping[str, Mapping[int, torch.Tensor]]
"""By the name of a tensor or an operation and by dimension, the places that stay: int64, ascending."""


def checked(model: nn.Module, groups: Groups, removed: Removed) -> dict[str, tuple[int, ...]]:
    """`removed` with each group once, in order, and without couplings that keep all.

    Raises TypeError for a group that is no integer, and ValueError for a coupling that is not there, a group that it
    does not have, where no group of it is left, and where it is of another model.
    """
    tensors: dict[str, torch.Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    result = {}
    for name, numbers in removed.items():
        if name not in groups.couplings:
            raise ValueError(f"removed must name couplings of the model, not {shorten(name)}")
        size = groups.couplings[name].size
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, Integral):
                raise TypeError(f"removed groups of {name!r} must be integers, not {shorten(number)}")
        gone = tuple(sorted(set(numbers)))
        for number in gone:
            if not 0 <= number < size:
                raise ValueError(f"removed groups of {name!r} must be from 0 to {size - 1}, not {number}")
        if len(gone) == size:
            raise ValueError(f"removed groups of {name!r} must leave one at least, not be all {size}")
        for part in groups.couplings[name].parts:
            shape = tuple(tensors[part.tensor].shape) if part.tensor in tensors else None
            if shape is None or part.dim >= len(shape) or shape[part.dim] != len(part.groups):
                found = "is not there" if shape is None else f"is of shape {shape}"
                raise ValueError(
                    f"groups must be of the model: {part.tensor!r} must have {len(part.groups)} places along dimension"
                    f" {part.dim}, but {found}"
                )
        if gone:
            result[name] = gone
    return result


def kept_tensors(groups: Groups, removed: Removed) -> Kept:
    """What stays of the parameters and buffers that lose something."""
    return kept_of((part, removed[name]) for name in removed for part in groups.couplings[name].parts)


def kept_results(groups: Groups, removed: Removed) -> Kept:
    """What stays of the results of operations that lose something."""
    return kept_of((part, removed[name]) for name in removed for part in groups.couplings[name].results)


def kept_of(parts: Iterable[tuple[Part, Iterable[int]]]) -> Kept:
    """The places that no part loses to its removed groups: several couplings can share a dimension, as after `cat`."""
    gone: dict[str, dict[int, torch.Tensor]] = {}
    for part, removed in parts:
        own = _gone(part, removed)
        if bool(own.any()):
            dims = gone.setdefault(part.tensor, {})
            dims[part.dim] = dims[part.dim] | own if part.dim in dims else own
    return {
        name: {dim: (~each).nonzero().flatten() for dim, each in sorted(dims.items())} for name, dims in gone.items()
    }


def shapes(groups: Groups, removed: Removed) -> dict[str, tuple[int, ...]]:
    """The shape that each operation's first result is to have, by its name."""
    left = kept_results(groups, removed)
    return {
        each.name: tuple(len(left.get(each.name, {}).get(dim, range(size))) for dim, size in enumerate(each.shape))
        for each in groups.graph
    }


def _gone(part: Part, removed: Iterable[int]) -> torch.Tensor:
    return torch.isin(part.groups, torch.tensor(list(removed), dtype=torch.int64))
