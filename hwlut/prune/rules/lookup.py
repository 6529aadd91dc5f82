"""Operators that read places by numbers, which are values, and those that only make tensors."""

import torch

from hwlut.prune.labels import Value
from hwlut.prune.rules.joining import join
from hwlut.prune.rules.step import Results, Step, axis, rule

__all__: list[str] = []

_MAKING = ("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "sym_size", "scalar_tensor", "one_hot")


@rule("embedding")
def _embedding(step: Step) -> Results:
    table = step["weight"]
    table = step.pin(table, (0,), f"{step.where} reads them by number")
    ones = (1,) * (len(step.shape()) - 1)
    return step.result((array.reshape(*ones, -1) for array in table.arrays), zero=False)


@rule("index_select")
def _index_select(step: Step) -> Results:
    x, dim = step["self"], axis(step["dim"], step["self"].rank)
    return step.result(step.pin(x, (dim,), f"{step.where} reads them by number").arrays)


@rule("gather", "take_along_dim")
def _gather(step: Step) -> Results:
    x, dim = step["self"], axis(step["dim"], step["self"].rank)
    x = step.pin(x, (dim,), f"{step.where} reads them by number")
    index = step["index"]
    same = [at for at in range(x.rank) if at != dim and x.shape[at] != index.shape[at]]
    x = step.pin(x, same, f"{step.where} reads them by number")
    index = step.pin(index, (dim,), f"{step.where} reads by them")
    return step.result(join(step, (x, index), x.rank) if not same else x.arrays, zero=False)


@rule("index")
def _index(step: Step) -> Results:
    x, indices = step["self"], step["indices"]
    read = [dim for dim, each in enumerate(indices) if isinstance(each, Value)]
    x = step.pin(x, read, f"{step.where} reads them by number")
    for each in indices:
        if isinstance(each, Value):
            step.stay(each, f"{step.where} reads by them")
    ranks = [each.rank for each in indices if isinstance(each, Value)]
    first = torch.zeros((1,) * max(ranks), dtype=torch.int64)
    chosen = [first if dim in read else None for dim in range(len(indices))]
    return step.result(torch.ops.aten.index.Tensor(array, chosen) for array in x.arrays)


@rule(*_MAKING)
def _make(step: Step) -> Results:
    return step.result((), zero=False)
