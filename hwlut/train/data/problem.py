"""What a task is apart from its model: data, what a sample is, and how an answer is judged."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from hwlut.train.models.inputs import Inputs
from hwlut.train.task import cross_entropy, top1

__all__ = ["Problem"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Data sets as `Task` takes them. inputs: what a model of it is given. classes: 1 for a regression."""

    train: Any
    test: Any
    inputs: Inputs
    classes: int
    loss: Callable[[Any, Any], torch.Tensor] = cross_entropy
    metric: Callable[[torch.Tensor, Any], torch.Tensor] = top1
