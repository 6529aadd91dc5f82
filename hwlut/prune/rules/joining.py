"""Tensors that are combined place by place, and products that sum such combinations."""

from collections.abc import Sequence
from dataclasses import replace

from hwlut.prune.labels import Array, Value, varying
from hwlut.prune.rules.step import Step

__all__ = ["contract", "join"]


def join(step: Step, values: Sequence[Value], rank: int) -> tuple[Array, ...]:
    """Labels of what combines `values` place by place, broadcast to `rank` dimensions.

    What meets goes together. A dimension that one of them has without labels does not shrink in the others.
    """
    lifted = [_lift(value, rank) for value in values]
    reason = f"they meet what does not shrink in {step.where}"
    for dim in range(rank):
        full = [value for value in lifted if value.shape[dim] > 1]
        if any(value.along(dim) for value in full) and not all(value.along(dim) for value in full):
            lifted = [step.pin(value, (dim,), reason) for value in lifted]
    classes: list[list[Array]] = []
    for array in (array for value in lifted for array in value.arrays):
        met = [each for each in classes if any(set(varying(array)) & set(varying(other)) for other in each)]
        classes = [each for each in classes if not any(each is other for other in met)]
        classes.append([*(other for each in met for other in each), array])
    for first, *others in classes:
        for other in others:
            step.labels.unify(first, other)
    compact = [step.labels.compact(each[0]) for each in classes]
    return tuple(array for array in compact if array.numel() > 1)


def contract(step: Step, factors: Sequence[tuple[Value, str]], result: str) -> tuple[Array, ...]:
    """Labels of a product that sums over what `result` leaves out; each dimension is a letter, as in einsum.

    What a weight is multiplied by goes with the weight's places. Of a product of activations the factors' common
    dimensions go whole (attention heads) and others, if those have no labels of their own, are what it depends on.
    """
    letters = sorted(set().union(*(names for _, names in factors)))
    values = [_place(value, names, letters) for value, names in factors]
    by_weight = len(factors) == 1 or any(value.weight for value, _ in factors)
    shared = [at for at, letter in enumerate(letters) if all(letter in names for _, names in factors)]
    batch = [at for at in shared if letters[at] in result]
    summed = [at for at, letter in enumerate(letters) if letter not in result]
    alone = [at for at in summed if at not in shared or not by_weight or len(factors) == 1]
    if not by_weight:
        heads = f"a head of {step.where} goes whole"
        for value in values:
            for array in value.arrays:
                if any(dim in batch for dim in varying(array)):
                    step.labels.pin(array, [dim for dim in varying(array) if dim not in batch], heads)
    values = [step.pin(value, alone, f"they are summed up in {step.where}") for value in values]
    joined = Value((0,) * len(letters), join(step, values, len(letters)))
    for array in joined.arrays:
        if 0 < sum(dim in summed for dim in varying(array)) < len(varying(array)):
            step.labels.pin(array, summed, f"they are summed up in {step.where}")
    order = [letters.index(letter) for letter in result]
    left = [array for array in step.compact(joined).arrays if not any(dim in summed for dim in varying(array))]
    return tuple(array.permute(*order, *summed).reshape([array.shape[at] for at in order]) for array in left)


def _lift(value: Value, rank: int) -> Value:
    """The value with dimensions of 1 in front."""
    ones = (1,) * (rank - value.rank)
    arrays = tuple(array.reshape(*ones, *array.shape) for array in value.arrays)
    return replace(value, shape=ones + value.shape, arrays=arrays)


def _place(value: Value, names: str, letters: Sequence[str]) -> Value:
    """The value with a dimension for every letter."""
    order = sorted(range(len(names)), key=lambda at: letters.index(names[at]))
    present = [letter in names for letter in letters]

    def sizes(shape: Sequence[int]) -> list[int]:
        left = iter([shape[at] for at in order])
        return [next(left) if there else 1 for there in present]

    arrays = tuple(array.permute(order).reshape(sizes(array.shape)) for array in value.arrays)
    return replace(value, shape=tuple(sizes(value.shape)), arrays=arrays)
