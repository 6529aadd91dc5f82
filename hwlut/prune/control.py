"""Joint pruning and quantization within `hwlut.train.finetune`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hwlut.prune.budget import Budget
from hwlut.prune.coupling import Groups
from hwlut.prune.options import Joint
from hwlut.prune.stages import Stages
from hwlut.train import Control
from hwlut.train.processes import Processes

__all__ = ["Compressing"]


class Compressing(Control):
    """Takes a model through the stages of `Stages` as it is trained; the average starts anew with the cool-down.

    model, groups, options, budget: as for `Stages`, of what `finetune` trains. stages: what is done, once training has
    begun.
    """

    def __init__(self, model: nn.Module, groups: Groups | None, options: Joint, budget: Budget | None = None):
        self._model, self._groups, self._options, self._budget = model, groups, options, budget
        self._step = 0
        self._kept: Mapping[str, torch.Tensor] = {}
        self.stages: Stages | None = None

    def start(self, steps: int, group: Processes) -> None:
        self.stages = Stages(self._model, self._groups, self._options, steps, self._budget)
        if self._kept:
            self.stages.resume(self._kept)
            self._step, self._kept = int(self._kept["step"]), {}

    def before(self, step: int) -> bool:
        self._step = step
        assert self.stages is not None
        return self.stages.before(step)

    def after(self, step: int) -> None:
        assert self.stages is not None
        self.stages.after(step)

    def told(self) -> Mapping[str, Any]:
        return {} if self.stages is None else self.stages.told(self._step)

    def state(self) -> Mapping[str, torch.Tensor]:
        return {} if self.stages is None else self.stages.state() | {"step": torch.tensor(self._step)}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        if "step" not in state:
            raise ValueError("it holds no state of pruning")
        self._kept = dict(state)
