"""The four stages of joint pruning and quantization, around the steps of any optimizer."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from hwlut.prune.bounds import Bounded, bounded, check_bits, hold
from hwlut.prune.budget import Budget
from hwlut.prune.coupling import Groups
from hwlut.prune.forgetting import SAFETY, SHARE, descending, forget_rate, step_size
from hwlut.prune.masks import Mask
from hwlut.prune.members import Member, Members
from hwlut.prune.options import Joint, removed_of
from hwlut.prune.saliency import group_macs, least, scores

__all__ = ["STAGES", "Stages"]

STAGES = ("warm_up", "projection", "joint", "cool_down")
"""What a training goes through, in order; see docs/pruning.md."""

_LEAST = 1e-6


class _Redundant(NamedTuple):
    """A parameter with elements that are being forgotten: where (bool), how many, and what they were a step ago."""

    member: Member
    where: torch.Tensor
    size: int
    before: torch.Tensor
    quantizer: Bounded | None


class Stages:
    """Prunes and quantizes `model` while it is trained: QASSO of GETA (CVPR 2025, arXiv 2502.16638).

    In the warm-up nothing is done. In the projection, the most bits fall, period by period, from 16 to what is asked
    for, and steps are held to them after each of the optimizer's. In the joint stage, each period chooses more of the
    groups, by their saliency, the mean over the steps since the last choice, over what they cost; it forgets them
    little by little, and ends with them at exactly zero, where they stay; the step of a weight with such groups is
    chosen so that the loss descends. When the cool-down begins, bits are rounded to integers, quantizers fixed and
    weights overwritten by what their quantizers make of them but for the rounding; then the weights that are left are
    trained.

    Parameters
    ----------
    model: with `RangedQuantizer`s wherever `options` ask for bits.
    groups: what can be removed; None where nothing is to be.
    options: what is asked for.
    steps: of the training.
    budget: chooses the bits that the cool-down begins with; without, they are those that were learned, rounded.

    What is done follows from the parameters and their gradients alone: the same in every process. Raises ValueError
    where `options` ask for more than can be removed, for bits of which there is no quantizer, or leave quantizers
    without bits.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Groups | None,
        options: Joint,
        steps: int,
        budget: Budget | None = None,
    ):
        self._model, self._groups, self._options, self._budget = model, groups, options, budget
        self.lengths = options.lengths(steps)
        self._bounded = bounded(model, options)
        self._by_weight = {id(each.weight): each for each in self._bounded if each.weight is not None}
        self._members = Members(model, groups if options.sparsity else None)
        if options.sparsity and not self._members.total:
            raise ValueError("Joint sparsity must be 0 where there are no groups to remove")
        self.wanted = removed_of("Joint", options.sparsity, self._members.total, self._members.most)
        first = self.lengths.warm_up + self.lengths.projection
        self._joint, self._cool = first, first + self.lengths.joint
        self._ends = options.ends("joint", self.lengths.joint)
        self._projected = options.ends("projection", self.lengths.projection)
        self._worth: torch.Tensor | float = 1.0
        if groups is not None and options.sparsity and options.frugality:
            macs = group_macs(groups)
            self._worth = (macs / macs.mean()).clamp_min(_LEAST) ** options.frugality
        nothing = torch.zeros(self._members.total, dtype=torch.bool)
        self._removed, self._chosen = nothing, nothing.clone()
        self._chosen_for, self._cooled, self._noted = -1, False, 0
        self._saliency = torch.zeros(self._members.total, dtype=torch.float64)
        self._redundant: list[_Redundant] | None = None
        self._mask: Mask | None = None

    @property
    def removed(self) -> dict[str, tuple[int, ...]]:
        """Groups that are zero by now, by coupling."""
        return self._members.numbers(self._removed)

    @property
    def bits(self) -> dict[str, dict[str, float]]:
        """Of each operation, by path, those of its "weight" and "activation", as far as they are quantized."""
        found: dict[str, dict[str, float]] = {}
        for each in self._bounded:
            found.setdefault(each.path, {})[each.operand] = float(each.quantizer.bits)
        return found

    def stage(self, step: int) -> str:
        """The name of the stage that step `step`, from 0 on, is in."""
        starts = (self.lengths.warm_up, self._joint, self._cool)
        return STAGES[sum(step >= start for start in starts)]

    def before(self, step: int) -> bool:
        """Step `step` is about to be computed; whether it is the first of the cool-down."""
        if self._redundant is None:
            self._find()
        if step < self._cool or self._cooled:
            return False
        if self._budget is not None:
            self._budget(self._bounded, self.removed)
        for each in self._bounded:
            each.quantizer.fix(each.weight)
        self._put_to_zero()
        check_bits(self._bounded, step)
        self._cooled = True
        return True

    @torch.no_grad()
    def after(self, step: int) -> None:
        """The optimizer has taken its step; the gradients that it took are still there.

        ValueError where bits are not in their range, which only parameters that are not finite bring about.
        """
        if step < self.lengths.warm_up:
            return
        if step < self._cool:
            passed = sum(step - self.lengths.warm_up >= end for end in self._projected[:-1])
            hold(self._bounded, (passed + 1) / len(self._projected))
        self._put_to_zero()
        if self.wanted and step < self._cool:
            self._note()
            if step >= self._joint:
                self._forget(step - self._joint)
        if step >= self._joint - 1:
            check_bits(self._bounded, step)

    def told(self, step: int) -> dict[str, float | int | str]:
        """Where it stands, as plain JSON."""
        line: dict[str, float | int | str] = {"stage": self.stage(step), "removed": int(self._removed.sum())}
        if self._bounded:
            line["bits"] = float(torch.stack([each.quantizer.bits.detach() for each in self._bounded]).mean())
        return line

    def state(self) -> dict[str, torch.Tensor]:
        """What, beside the model's parameters, decides how it goes on."""
        return {
            "removed": self._removed.clone(),
            "chosen": self._chosen.clone(),
            "chosen_for": torch.tensor(self._chosen_for),
            "cooled": torch.tensor(self._cooled),
            "saliency": self._saliency.clone(),
            "noted": torch.tensor(self._noted),
        }

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave; the parameters are to be put back before the next `before`.

        ValueError for the state of other stages.
        """
        if missing := self.state().keys() - state.keys():
            raise ValueError(f"it must have {', '.join(sorted(missing))}")
        if len(state["removed"]) != self._members.total:
            raise ValueError(f"it has {len(state['removed'])} groups, not {self._members.total}")
        self._removed, self._chosen = state["removed"].cpu().clone(), state["chosen"].cpu().clone()
        self._chosen_for, self._cooled = int(state["chosen_for"]), bool(state["cooled"])
        self._saliency, self._noted = state["saliency"].cpu().clone(), int(state["noted"])
        self._redundant = None

    def _forget(self, place: int) -> None:
        """What a step of the joint stage does, counted from its first."""
        period = sum(place >= end for end in self._ends)
        start, end = (0, *self._ends)[period : period + 2]
        if self._chosen_for == period:
            for each in self._redundant or ():
                self._lessen(each, 1 / (end - place))
        elif place == end - 1 or self._noted:
            count = round(self.wanted * (period + 1) / len(self._ends))
            saliency = self._saliency if self._noted else scores(self._members, self._options.saliency)
            self._chosen = least(saliency / self._worth, self._members, count, self._removed)
            self._chosen_for = period
            self._saliency, self._noted = torch.zeros_like(saliency), 0
            self._find()
        if place == end - 1:
            self._removed = self._chosen.clone()
            self._find()
            self._put_to_zero()

    def _lessen(self, redundant: _Redundant, uniform: float) -> None:
        member, where, elements, before, bound = redundant
        x = member.parameter
        if x.grad is None:
            g = torch.zeros_like(x)
        else:
            g = torch.where(where, x.grad, 0.0)
        descent = (g * (before - x)).sum()
        if bound is None:
            forgotten = torch.where(where, x, 0.0)
            size = forgotten.abs().sum() / elements
            rate = forget_rate(descent, (g * forgotten).sum(), size, uniform, 1 - SHARE + SAFETY * SHARE)
        else:
            quantizer = bound.quantizer
            clipped = torch.where(where, quantizer.folded(x), 0.0)
            ratio = clipped / quantizer.step
            size = clipped.abs().sum() / elements
            rate = forget_rate(descent, (g * clipped).sum(), size, uniform)
            bounds = quantizer.step_range(bound.low, bound.high)
            step, rate = step_size(rate, descent, (g * (ratio.round() - ratio)).sum(), *bounds)
            quantizer.step.copy_(torch.where(rate > 0, step, quantizer.step))
            forgotten = torch.where(where, quantizer.quantized(x), 0.0)
            rate = descending(rate, descent, (g * forgotten).sum())
        x.sub_(rate * forgotten)
        before.copy_(x)

    def _note(self) -> None:
        """Add up the saliency since the last choice, by the steps whose gradients are finite."""
        sums = [member.parameter.grad.sum() for member in self._members if member.parameter.grad is not None]
        if not sums or bool(torch.stack(sums).isfinite().all()):
            self._saliency += scores(self._members, self._options.saliency)
            self._noted += 1

    def _find(self) -> None:
        """Where the elements are that are zero, and those that are being forgotten."""
        self._redundant = []
        self._mask = None if self._groups is None else Mask(self._model, self._groups, self.removed)
        for member in self._members:
            where = member.where(self._chosen) & ~member.where(self._removed)
            if not (elements := int(where.sum())):
                continue
            parameter = member.parameter
            before = parameter.detach().clone()
            self._redundant.append(_Redundant(member, where, elements, before, self._by_weight.get(id(parameter))))

    def _put_to_zero(self) -> None:
        if self._mask is not None:
            self._mask.zero_()
