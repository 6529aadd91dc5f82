"""What every method of compression is given, and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.nn.quantized import Operands
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.size import Size
from hwlut.search.dense import dense_model
from hwlut.train import Finetune, Task
from hwlut.train.evaluation import loaded, moved, sample
from hwlut.train.processes import Processes

__all__ = ["Done", "Work"]

_BATCH = 100


@dataclass(frozen=True)
class Work:
    """A compression's task and training, in a folder, by these processes."""

    task: Task
    training: Finetune
    folder: Path
    weights: str | Path | None
    group: Processes
    progress: Callable[[int, int, str], None] | None

    @cached_property
    def sample(self) -> Any:
        """The input of a batch of one, on the device."""
        return moved(sample(self.task), self.group.device)

    def dense(self) -> nn.Module:
        """The dense model, trained where the task has it so."""
        found = dense_model(self.task, self.weights, self.training.seed, self.folder / "dense", self.group)
        return found.to(self.group.device)

    def shown(self, count: int) -> list[Any]:
        """Inputs of so many training samples, in batches, the same in every process."""
        return [inputs for inputs, _ in self.batches(count)]

    def batches(self, count: int) -> list[Any]:
        """So many training samples with their targets, in batches, the same in every process."""
        training, task = self.training, self.task
        generator = torch.Generator().manual_seed(training.seed)
        order = torch.randperm(len(task.train), generator=generator)[:count].tolist()
        return list(loaded(task.train, order, _BATCH, training.seed, training.workers, self.group.device))


@dataclass(frozen=True, kw_only=True)
class Done:
    """A compressed model.

    groups: that were found, None where nothing was to be removed. removed: those that are gone. operands, owners: how
    it is quantized; unquantized: why other operations are not. before: size of the dense model. difference,
    mismatches: of the smaller model from the masked one.
    """

    model: nn.Module
    groups: Groups | None
    removed: Removed
    operands: Operands
    owners: Mapping[str, int]
    unquantized: Mapping[str, str]
    before: Size
    difference: float
    mismatches: float
