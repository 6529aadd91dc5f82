"""A model's figure on the test data of its task."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, default_collate

from hwlut.quant.calibration import called
from hwlut.quant.modes import evaluating
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import Drawn, keeping_generators
from hwlut.train.task import Task

__all__ = ["batches", "evaluate", "loaded", "mean_loss", "moved", "sample", "scored", "shown", "tensors_of"]


def batches(
    data: Any, keys: list[list[tuple[int, int]]], seed: int, workers: int, device: torch.device
) -> Iterator[Any]:
    """The batches of a data set whose items have these pairs of epoch and place, (inputs, targets) on the device."""
    loader = DataLoader(
        Drawn(data, seed),
        batch_sampler=keys,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # a task's file cannot be imported by name
        pin_memory=device.type == "cuda",
    )
    for batch in _told(loader):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(f"Task data must be of pairs (input, target), not of {type(batch).__name__}")
        yield moved(batch, device)


def _told(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches; what a worker refuses without the traceback that torch puts before it."""
    try:
        yield from loader
    except ValueError as error:
        if not loader.num_workers:
            raise
        raise ValueError(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from None


def moved(value: Any, device: torch.device) -> Any:
    """All tensors in tuples, lists and dicts, on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(moved(each, device) for each in value)
    return value


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors of what a model is called with, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def loaded(data: Any, places: Sequence[int], size: int, seed: int, workers: int, device: torch.device) -> Iterator[Any]:
    """The items of a data set at these places, as those of the first epoch, in batches of `size`."""
    keys = [(0, place) for place in places]
    parts = [keys[start : start + size] for start in range(0, len(keys), size)]
    return batches(data, parts, seed, workers, device)


def scored(model: nn.Module, task: Task, group: Processes, batch: int = 100, workers: int = 0) -> float:
    """The mean of the task's metric over its test data, the processes sharing the work.

    The model runs in evaluation mode without gradients, and is in its modes afterwards.
    """
    return _mean(model, task, group, lambda output, target: task.metric(task.logits(output), target), batch, workers)


def mean_loss(model: nn.Module, task: Task, *, device: str | torch.device | None = None) -> float:
    """The mean loss over the test data of `task`, by samples, without gradients; as `evaluate` else."""
    with processes(device) as group, keeping_generators(group.device):
        return _mean(model.to(group.device), task, group, task.loss, 100, 0)


def _mean(
    model: nn.Module,
    task: Task,
    group: Processes,
    figure: Callable[[Any, Any], torch.Tensor],
    batch: int,
    workers: int,
) -> float:
    """The mean over the test data of a figure of output and target: one a sample, or one for all of a batch."""
    places = range(group.rank, len(task.test), group.size)
    sums = torch.zeros(2, dtype=torch.float64, device=group.device)
    with evaluating(model):
        for start, (inputs, target) in enumerate(loaded(task.test, places, batch, 0, workers, group.device)):
            found = figure(called("evaluation", model, inputs), target).double()
            if not found.dim():
                found = found.expand(len(places[start * batch : (start + 1) * batch]))
            sums += torch.stack([found.sum(), torch.tensor(found.numel(), device=group.device)])
    total, count = group.total(sums).tolist()
    return total / count


def evaluate(model: nn.Module, task: Task, *, device: str | torch.device | None = None) -> float:
    """The mean of the task's metric over its test data: the share of right classes, unless the task has another.

    The model is moved to the device, by default a GPU where there is one. torchrun's processes share the work.
    """
    with processes(device) as group, keeping_generators(group.device):
        return scored(model.to(group.device), task, group)


def sample(task: Task) -> Any:
    """The input of a batch of one: the first test sample's."""
    inputs, _ = default_collate([task.test[0]])
    return inputs


def shown(task: Task, count: int = 200, seed: int = 0) -> Any:
    """The inputs of a batch of training samples, drawn by the seed."""
    places = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    inputs, _ = next(loaded(task.train, places, count, seed, 0, torch.device("cpu")))
    return inputs
