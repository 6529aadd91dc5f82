"""The state of training in a file, from which it goes on as if it had never stopped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.files import digest_of
from hwlut.records import held
from hwlut.train.average import Average
from hwlut.train.control import Control
from hwlut.train.options import Finetune
from hwlut.train.states import read_tensors, write_tensors

__all__ = ["Checkpoint", "State"]

_SCHEMA = "hwlut.training/1"
_PARTS = ("model", "average", "optimizer", "control")


class State(NamedTuple):
    """How far training has come: steps, the sum of the losses since the last evaluation, a row of each evaluation."""

    step: int
    losses: float
    history: list[list[Any]]


class Checkpoint:
    """Reads and writes the state of one training.

    The file holds weights, averaged weights and the optimizer's memory as tensors, and the `State` and the scaler's
    in words. No generator's state is needed: `hwlut.train.randomness`.

    Parameters
    ----------
    path: the file, written whole or not at all.
    options, steps, processes, model: what a file must be of.
    """

    def __init__(self, path: Path, options: Finetune, steps: int, processes: int, model: nn.Module):
        self.path = path
        self._settings = options.settings | {"steps": steps, "processes": processes}
        self._signature = _signature(model)

    def write(
        self,
        state: State,
        model: nn.Module,
        average: Average,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        control: Control,
    ) -> None:
        """Keep the state."""
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        if average.module is not model:
            tensors |= {f"average.{name}": tensor for name, tensor in average.module.state_dict().items()}
        for number, memory in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in memory.items()}
        tensors |= {f"control.{name}": tensor for name, tensor in control.state().items()}
        words = {
            "schema": _SCHEMA,
            "settings": json.dumps(self._settings),
            "model": self._signature,
            "state": json.dumps(state),
            "scaler": json.dumps(scaler.state_dict()),
        }
        write_tensors(self.path, tensors, words)

    def read(
        self,
        model: nn.Module,
        average: Average,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        control: Control,
    ) -> State:
        """Put the state back. ValueError for a file of another training."""
        tensors, words = read_tensors(self.path, "checkpoint")
        if words.get("schema") != _SCHEMA:
            told = shorten(words.get("schema"))
            raise ValueError(f"{self.path}: checkpoint must have the schema {_SCHEMA}, not {told}")
        try:
            return self._restored(tensors, words, model, average, optimizer, scaler, control)
        except _Foreign as error:
            raise ValueError(f"{self.path}: checkpoint must be of {error}") from None
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: checkpoint must be as it was written: {shorten(str(error))}") from None

    def _restored(
        self,
        tensors: Mapping[str, torch.Tensor],
        words: Mapping[str, str],
        model: nn.Module,
        average: Average,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        control: Control,
    ) -> State:
        if words["model"] != self._signature:
            raise _Foreign("this model, not of another")
        kept = json.loads(words["settings"])
        for name, value in self._settings.items():
            if kept.get(name) != value:
                raise _Foreign(f"{name} {value}, not {shorten(kept.get(name))}")
        parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in _PARTS}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        try:
            control.resume(parts["control"])
        except ValueError as error:
            raise _Foreign(f"this search: {error}") from None
        model.load_state_dict(parts["model"])
        if average.module is not model:
            average.module.load_state_dict(parts["average"])
        memory: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, rest = name.partition(".")
            memory.setdefault(int(number), {})[rest] = tensor
        optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
        scaler.load_state_dict(json.loads(words["scaler"]))
        state = self._state(json.loads(words["state"]))
        average.resume(state.step)
        return state

    def _state(self, kept: Any) -> State:
        step, losses, history = kept
        if not 0 <= held("step", step, int) <= self._settings["steps"]:
            raise ValueError(f"step must be one of the {self._settings['steps']}, not {step}")
        rows = held("history", history, Sequence[Sequence[Any]])
        if any(len(row) != 3 or type(row[0]) is not int or {type(each) for each in row[1:]} != {float} for row in rows):
            raise ValueError("history must be of a step, a loss and a metric each")
        return State(step, held("losses", losses, float), rows)


class _Foreign(Exception):
    """A checkpoint of another training."""


def _signature(model: nn.Module) -> str:
    """A digest of the model's modules in words, and of its tensors' names, types and shapes."""
    modules = [(name, type(module).__name__, module.extra_repr()) for name, module in model.named_modules()]
    tensors = [(name, str(value.dtype), list(value.shape)) for name, value in model.state_dict().items()]
    return digest_of(modules, tensors)
