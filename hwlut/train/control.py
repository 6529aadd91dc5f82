"""What takes part in training beside the optimizer: a search, for one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hwlut.train.processes import Processes

__all__ = ["Control"]


class Control:
    """Called by `hwlut.train.finetune` around each step; this one does nothing.

    What `before` and `loss` do must follow from the step and the state alone, the same in every process.
    """

    def start(self, steps: int, group: Processes) -> None:
        """Training is about to begin, or to go on, of so many steps, by these processes."""

    def before(self, step: int) -> bool:
        """Step `step`, from 0 on, is about to be computed; whether the running average of the weights starts anew."""
        return False

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        """What is lowered in the place of the loss of the student."""
        return loss

    def after(self, step: int) -> None:
        """The optimizer has taken its step."""

    def measured(self, model: nn.Module) -> None:
        """`model`, the student or its average, is about to be evaluated."""

    def told(self) -> Mapping[str, Any]:
        """What a line of the log says beside the loss, as plain JSON."""
        return {}

    def state(self) -> Mapping[str, torch.Tensor]:
        """What a checkpoint must hold."""
        return {}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave. ValueError where it is of another control."""
        if state:
            raise ValueError(f"it holds the state of a search, {', '.join(sorted(state))}")
