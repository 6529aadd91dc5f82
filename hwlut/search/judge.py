"""The loss of a model's present precisions on data that no weight is trained on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwlut.nn.quantized import QuantizedLayer, QuantizedProduct
from hwlut.quant.calibration import called
from hwlut.quant.modes import evaluating
from hwlut.quant.precision import Precision
from hwlut.train.processes import Processes
from hwlut.train.task import Task

__all__ = ["Judge", "batch_statistics", "reestimate", "select"]


def select(operations: Mapping[str, QuantizedLayer | QuantizedProduct], precisions: Mapping[str, Precision]) -> None:
    """Quantize the operations of a model, by module path, to these precisions from now on."""
    for name, operation in operations.items():
        for choice, format in zip(operation.choices, precisions[name]):
            if choice is not None:
                choice.select(format)


class Judge:
    """Held-out batches, (inputs, target) on the device, and the task's loss on them.

    Batch normalizations take the statistics of the batch, as in training: the running ones are of many precisions.
    """

    def __init__(self, model: nn.Module, task: Task, batches: Sequence[Any]):
        self._model, self._task, self.batches = model, task, list(batches)
        self.evaluations = 0
        self._ready = False

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model is meanwhile in the modes that it is judged in, which several losses then need not bring about."""
        if self._ready:
            yield
            return
        with evaluating(self._model), batch_statistics(self._model):
            self._ready = True
            try:
                yield
            finally:
                self._ready = False

    def loss(self, place: int, group: Processes) -> float:
        """The loss on the batch at `place`, counted over and over; the mean over the processes."""
        inputs, target = self.batches[place % len(self.batches)]
        with self.ready():
            loss = self._task.loss(called("held-out", self._model, inputs), target)
        self.evaluations += 1
        found = float(group.total(loss.detach().double())) / group.size
        if not math.isfinite(found):
            raise ValueError(f"held-out loss must be finite, not {found}")
        return found

    def mean(self, group: Processes) -> float:
        """The mean loss over all batches."""
        with self.ready():
            return sum(self.loss(place, group) for place in range(len(self.batches))) / len(self.batches)


def _normalizations(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch normalizations of a model in evaluation mode normalize by the batch, and remember nothing of it."""
    found = _normalizations(model)
    for module in found:
        module.training, module.track_running_stats = True, False
    try:
        yield
    finally:
        for module in found:
            module.training, module.track_running_stats = False, True


def reestimate(model: nn.Module, batches: Sequence[Any]) -> int:
    """Let batch normalizations take the mean statistics of these inputs for their running ones; how many there are.

    Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (2021), section 3.
    """
    found = _normalizations(model)
    if not found:
        return 0
    momenta = [module.momentum for module in found]
    with evaluating(model):
        for module in found:
            module.reset_running_stats()
            module.training, module.momentum = True, None
        for inputs in batches:
            called("batch normalization", model, inputs)
    for module, momentum in zip(found, momenta):
        module.momentum = momentum
    return len(found)
