"""Pruning and quantization in one training."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from hwlut.nn.quantized import Operands, split_attention
from hwlut.prune.budget import Budget
from hwlut.prune.construct import construct
from hwlut.prune.control import Compressing
from hwlut.prune.coupling import Groups
from hwlut.prune.groups import groups
from hwlut.prune.options import Joint
from hwlut.prune.quantizing import quantize_ranged
from hwlut.prune.shrink import shrink
from hwlut.prune.work import Done, Work
from hwlut.search.cost import Cost, LayerShape
from hwlut.search.judge import Judge, reestimate
from hwlut.train import finetune
from hwlut.train.processes import Processes

__all__ = ["jointly"]

_REESTIMATED = 20  # batches
_JUDGED = 500  # samples


def jointly(work: Work, options: Joint, cost: Callable[[Mapping[Any, LayerShape]], Cost]) -> Done:
    """Train by `Stages`, and build the smaller model."""
    task, training, group = work.task, work.training, work.group
    model, one = work.dense(), work.sample
    split_attention(model)
    found = None
    if options.sparsity:
        found = groups(model, one, exclude=options.keep)
        shrink(model, found, {each.name: (0,) for each in found if each.size > 1}, one)  # what cannot be is told before
    space = None
    if options.quantizes:
        space = quantize_ranged(
            model,
            one,
            work.shown(options.calibration),
            weights=options.weight_bits is not None,
            activations=options.activation_bits is not None,
            exclude=options.exclude,
            powers=options.powers,
        )
        group.agree(model.state_dict().values())
    control = Compressing(model, found, options, _budget(work, model, found, options, cost))
    finetune(model, task, training, control=control, folder=work.folder, device=group.device, progress=work.progress)
    assert control.stages is not None
    reestimate(model, work.shown(_REESTIMATED * training.batch))
    made = construct(model, found, control.stages.removed, one)
    learned = {"steps": "real", "source": "learned"}
    return Done(
        model=made.model,
        groups=found,
        removed=control.stages.removed,
        operands=Operands(learned, learned),
        owners={} if space is None else space.owners,
        unquantized={} if space is None else space.left,
        before=made.before,
        difference=made.difference,
        mismatches=made.mismatches,
    )


def _budget(
    work: Work,
    model: nn.Module,
    found: Groups | None,
    options: Joint,
    cost: Callable[[Mapping[Any, LayerShape]], Cost],
) -> Budget | None:
    """What chooses bits, where they have a budget."""
    if not options.budgeted:
        return None
    judge = Judge(model, work.task, work.batches(_JUDGED))
    loss = partial(judge.mean, work.group)
    shown = _Agreed(model, work.shown(options.calibration), work.group)
    return Budget(
        model, found, work.sample, loss, shown, target=options.target, target_bits=options.target_bits, cost=cost
    )


@dataclass(frozen=True)
class _Agreed:
    """Batches, before which all processes take the running statistics that the first has."""

    model: nn.Module
    batches: list[Any]
    group: Processes

    def __iter__(self) -> Iterator[Any]:
        self.group.agree(self.model.buffers())
        return iter(self.batches)
