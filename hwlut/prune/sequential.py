"""Pruning at once, by magnitude, and then formats by a search: what compression in one training is compared with."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hwlut.graph import trace
from hwlut.nn.quantized import split_attention
from hwlut.prune.construct import construct
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.groups import groups
from hwlut.prune.members import Members
from hwlut.prune.options import check_sparsity, patterns_of, removed_of
from hwlut.prune.saliency import least, scores
from hwlut.prune.shrink import shrink
from hwlut.prune.size import shapes_of
from hwlut.prune.work import Done, Work
from hwlut.search import search
from hwlut.search.cost import Cost, LayerShape, bit_operations
from hwlut.search.options import Search
from hwlut.train import Task, sample, save_state

__all__ = ["Sequential", "sequentially"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequential:
    """Groups of least magnitude are removed from the dense model, and formats of the rest are searched in training.

    Parameters
    ----------
    sparsity: as of `Joint`. keep: patterns of layers whose channels all stay.
    search: how formats are found. Its `warmup` is the share of the steps in which nothing is quantized yet: where what
        was removed is made up for.
    """

    sparsity: float | int = 0.5
    keep: tuple[str, ...] = ()
    search: Search

    def __post_init__(self) -> None:
        check_sparsity("Sequential", self.sparsity)
        object.__setattr__(self, "keep", patterns_of("Sequential", "keep", self.keep))
        if not isinstance(self.search, Search):
            raise TypeError(f"Sequential search must be a Search, not {type(self.search).__name__}")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        return {"sparsity": self.sparsity, "keep": list(self.keep), "search": self.search.settings}


def sequentially(work: Work, options: Sequential, cost: Callable[[Mapping[Any, LayerShape]], Cost]) -> Done:
    """Prune, search, and say what came out."""
    task, one = work.task, work.sample
    model = work.dense()
    split_attention(model)
    found = groups(model, one, exclude=options.keep) if options.sparsity else None
    removed = {} if found is None else _smallest(model, found, options)
    made = construct(model, found, removed, one)
    weights = work.folder / "pruned.safetensors"
    if work.group.first and not weights.exists():
        save_state(weights, made.model)
    work.group.wait()
    measure = None if cost is bit_operations else cost(shapes_of(trace(made.model, one)))
    result = search(
        dataclasses.replace(task, model=_Pruned(task, options, removed), dense=None),
        options.search,
        work.training,
        work.folder / "search",
        cost=measure,
        weights=weights,
        device=work.group.device,
        progress=work.progress,
    )
    configuration = result.configuration
    return Done(
        model=result.model,
        groups=found,
        removed=removed,
        operands=configuration.quantizers,
        owners=configuration.owners,
        unquantized=configuration.left,
        before=made.before,
        difference=made.difference,
        mismatches=made.mismatches,
    )


def _smallest(model: nn.Module, found: Groups, options: Sequential) -> Removed:
    members = Members(model, found)
    count = removed_of("Sequential", options.sparsity, members.total, members.most)
    nothing = torch.zeros(members.total, dtype=torch.bool)
    return members.numbers(least(scores(members, {"magnitude": 1.0}), members, count, nothing))


@dataclasses.dataclass(frozen=True)
class _Pruned:
    """Makes models of a task without some groups."""

    task: Task
    options: Sequential
    removed: Removed

    def __call__(self) -> nn.Module:
        model = self.task.model()
        if not self.removed:
            return model
        split_attention(model)
        one = sample(self.task)
        return shrink(model, groups(model, one, exclude=self.options.keep), self.removed, one)
