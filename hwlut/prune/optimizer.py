"""An optimizer that prunes and quantizes what it trains."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.prune.budget import Budget
from hwlut.prune.construct import Constructed, construct
from hwlut.prune.coupling import Groups
from hwlut.prune.options import Joint
from hwlut.prune.stages import STAGES, Stages
from hwlut.train import Finetune
from hwlut.train.optimizers import optimizer_of

__all__ = ["JointOptimizer"]

_JOINT = "joint"
_ELSEWHERE = {
    "target": "its budget",
    "target_bits": "its budget",
    "powers": "quantize_ranged",
    "keep": "groups",
    "exclude": "quantize_ranged",
    "calibration": "quantize_ranged",
}


class JointOptimizer(torch.optim.Optimizer):
    """For a training loop of one's own: an optimizer of torch whose steps also go through the stages of `Stages`.

    ::

        optimizer = JointOptimizer(model, groups, Joint(sparsity=0.5), Finetune(steps=1000, learning_rate=1e-3))
        for inputs, target in batches:
            optimizer.zero_grad()
            loss(model(inputs), target).backward()
            optimizer.step()

    Parameters
    ----------
    model: with ranged quantizers where bits are asked for; the module itself, not its `DistributedDataParallel`, which
        trains as any other, with ``find_unused_parameters=True`` where there are quantizers, as some of their
        parameters take no part in the cool-down.
    groups: what can be removed, by `hwlut.prune.groups`; None where nothing is to be.
    options: what is asked for, and the stages.
    training: of it the optimizer, the rates, the decay and ``steps``, which must be given: how often `step` will be
        called. Rates are left to schedulers of torch, clipping and all else to the loop.
    budget: what chooses the bits of the cool-down; see `Budget`.

    Parameter groups and state are those of the optimizer of torch within, so schedulers and `GradScaler` work; a step
    that a scaler leaves out counts for nothing, and takes from the cool-down. After more than ``steps`` steps, the
    cool-down goes on. Raises what `Stages` does.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Groups | None,
        options: Joint,
        training: Finetune,
        budget: Budget | None = None,
    ):
        for label, value, kind in (
            ("model", model, nn.Module),
            ("options", options, Joint),
            ("training", training, Finetune),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"JointOptimizer {label} must be a {kind.__name__}, not {shorten(value)}")
        if training.steps is None:
            raise ValueError("JointOptimizer training must be of so many steps, not epochs")
        self._model, self._groups = model, groups
        for name, where in _ELSEWHERE.items():
            if getattr(options, name) != getattr(Joint, name):
                raise ValueError(
                    f"JointOptimizer options must leave {name} to {where}, not {shorten(getattr(options, name))}"
                )
        self._base = optimizer_of(model, training)
        self._stages = Stages(model, groups, options, training.steps, budget)
        self._done = 0
        super().__init__(self._base.param_groups, dict(self._base.defaults))
        self._share()
        self._stages.before(0)

    @property
    def stage(self) -> str:
        """That of the next step: one of `hwlut.prune.STAGES`."""
        return self._stages.stage(self._done)

    @property
    def removed(self) -> dict[str, tuple[int, ...]]:
        """The groups that are zero by now, by coupling."""
        return self._stages.removed

    @property
    def bits(self) -> dict[str, dict[str, float]]:
        """Of each operation, by path, those of its "weight" and "activation", as far as they are quantized."""
        return self._stages.bits

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the optimizer, and what the stage does beside it; what `closure`, called first, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._stages.before(self._done)
        self._base.step()
        self._stages.after(self._done)
        self._done += 1
        self._stages.before(self._done)
        return loss

    def construct(self, sample: Any) -> Constructed:
        """The smaller model, its quantizers ordinary ones of whole bits, and how large it is; see `Constructed`.

        `sample` is what the model is called with. ValueError before the cool-down; else as of `hwlut.prune.shrink`.
        """
        if self.stage != STAGES[-1]:
            raise ValueError(f"JointOptimizer construct must come in the cool-down, not in the stage {self.stage}")
        return construct(self._model, self._groups, self.removed, sample)

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer within, and how far the stages have come; the model's is to be kept beside it."""
        return self._base.state_dict() | {_JOINT: self._stages.state() | {"done": torch.tensor(self._done)}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, bit for bit, once the model's has been loaded too. ValueError for another's."""
        state = dict(state_dict)
        joint = state.pop(_JOINT, None)
        if joint is None:
            raise ValueError("JointOptimizer state must be of a JointOptimizer, not of another optimizer")
        try:
            self._stages.resume(joint)
        except ValueError as error:
            raise ValueError(f"JointOptimizer state must be of this pruning: {error}") from None
        self._base.load_state_dict(state)
        self._share()
        self._done = int(joint["done"])

    def _share(self) -> None:
        """Be one with the optimizer within."""
        self.param_groups, self.state = self._base.param_groups, self._base.state
