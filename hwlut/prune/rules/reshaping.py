"""Views of other sizes: dimensions are merged and split, with their labels."""

import math
from collections.abc import Sequence

from hwlut.prune.labels import Array, varying
from hwlut.prune.rules.step import Results, Step, rule

__all__ = ["reshape"]


@rule(
    *("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "view_as", "reshape_as", "squeeze"),
    *("unsqueeze", "ravel", "_reshape_copy", "view_copy", "squeeze_copy", "unsqueeze_copy", "atleast_2d"),
)
def _view(step: Step) -> Results:
    x, shape = step["self"], step.shape()
    return step.result(reshape(array, x.shape, shape) for array in x.arrays)


def reshape(array: Array, before: Sequence[int], after: Sequence[int]) -> Array:
    """Labels of a tensor of shape `before` that is viewed with shape `after`.

    Only where they vary are labels repeated for dimensions that are merged with theirs.
    """
    sizes: list[int] = []
    full: list[int] = []
    for old, new in _factors(before, after):
        vary = any(dim in old for dim in varying(array))
        full += [before[dim] if vary else 1 for dim in old]
        sizes += [after[dim] if vary else 1 for dim in new]
    return array.expand(full).reshape(sizes)


def _factors(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Dimensions that lie in the same places of memory: the fewest before and after with as many places."""
    found: list[tuple[list[int], list[int]]] = []
    old, new = 0, 0
    while old < len(before) or new < len(after):
        group: tuple[list[int], list[int]] = ([], [])
        if old < len(before):
            group[0].append(old)
            old += 1
        if new < len(after):
            group[1].append(new)
            new += 1
        while True:
            a, b = (math.prod(shape[dim] for dim in dims) for shape, dims in zip((before, after), group))
            if a == b:
                break
            if a < b:
                group[0].append(old)
                old += 1
            else:
                group[1].append(new)
                new += 1
        found.append(group)
    return found
