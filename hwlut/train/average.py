"""The running average of a model's weights, which is evaluated and kept."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["Average"]


class Average:
    """``average = d * average + (1 - d) * weights`` after each step, d the lesser of `decay` and (1 + n) / (10 + n) in
    step n; buffers of floating point likewise, others as they are.

    module: the averaged model, in evaluation mode. With a decay of 0 it is the model itself.
    """

    def __init__(self, model: nn.Module, decay: float):
        self._decay, self._steps = decay, 0
        self._averaged: AveragedModel | None = None
        self.module = model
        if decay:
            self._averaged = AveragedModel(model, multi_avg_fn=self._blend, use_buffers=True)
            self.module = self._averaged.module.eval().requires_grad_(False)

    def update(self, model: nn.Module) -> None:
        """After a step."""
        self._steps += 1
        if self._averaged is not None:
            self._averaged.update_parameters(model)

    def restart(self, model: nn.Module) -> None:
        """Forget the past: the average is what the model is now."""
        if self._averaged is not None:
            self.module.load_state_dict(model.state_dict())

    def resume(self, steps: int) -> None:
        """Go on after so many steps, of which the module's state has been loaded."""
        self._steps = steps
        if self._averaged is not None:
            self._averaged.n_averaged.fill_(steps)

    @torch.no_grad()
    def _blend(self, averages: Any, weights: Any, _: Any) -> None:
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, 1 - decay)
        else:
            torch._foreach_copy_(averages, weights)
