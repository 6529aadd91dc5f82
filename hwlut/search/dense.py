"""What a search starts from: held-out data apart from the rest, and a dense model."""

import dataclasses
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Subset

from hwlut.train import Task, finetune, load_state, save_state
from hwlut.train.processes import Processes
from hwlut.train.randomness import draw

__all__ = ["apart", "dense_model", "narrowed", "start"]


def apart(task: Task, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the training data that are held out, in random order, and of the others, ascending."""
    held = round(share * len(task.train))
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed)).tolist()
    if not 0 < held < len(order):
        raise ValueError(f"Search held_out must leave samples to train and to judge by, not {held} of {len(order)}")
    return order[:held], sorted(order[held:])


def narrowed(task: Task, places: list[int]) -> Task:
    """The task with these training data alone."""
    return dataclasses.replace(task, train=Subset(task.train, places))


def dense_model(task: Task, weights: str | Path | None, seed: int, folder: Path, group: Processes) -> nn.Module:
    """A model of `task` with the weights of a state, else trained as the task says, in `folder`, if it does."""
    draw(torch.device("cpu"), seed)
    model = task.model()
    if not isinstance(model, nn.Module):
        raise TypeError(f"Task model must return a torch module, not {type(model).__name__}")
    if weights is not None:
        load_state(Path(weights), model)
    elif task.dense is not None:
        finetune(model, task, task.dense, folder=folder, device=group.device)
    return model


def start(
    task: Task, weights: str | Path | None, held_out: float, seed: int, folder: Path, group: Processes
) -> str | Path | None:
    """The state of the dense model that several runs start from: `weights`; else that in ``dense.safetensors``, trained
    first on what is not held out where the task says how; else None, for the weights that the model comes with."""
    if weights is not None or task.dense is None:
        return weights
    path = folder / "dense.safetensors"
    if not path.exists():
        _, trained = apart(task, held_out, seed)
        model = dense_model(narrowed(task, trained), None, seed, folder / "dense", group)
        if group.first:
            save_state(path, model)
    group.wait()
    return str(path)
