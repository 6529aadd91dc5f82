"""What training lowers: the task's loss, the divergence from a teacher's logits, the distance of layers' outputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn import LutLayer, LutMultiheadAttention
from hwlut.quant.calibration import called
from hwlut.train.options import Finetune
from hwlut.train.task import Task

__all__ = ["Losses", "looked_up_layers"]


def looked_up_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of look-ups, by name, a MultiheadAttention as a whole."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, (LutLayer, LutMultiheadAttention)) and not inside:
            found[name] = module
    return found


class Losses:
    """The loss of a student on a batch.

    student: the bare model, whose layers of look-ups are watched. teacher: the dense model, called in evaluation mode,
    without gradients; it must hold a module under the name of each such layer where their outputs count.
    """

    def __init__(self, task: Task, options: Finetune, student: nn.Module, teacher: nn.Module | None):
        self._task, self._options, self._teacher = task, options, teacher
        if teacher is None and options.distills:
            raise ValueError("finetune teacher must be given with distill or distill_layers above 0")
        self._pairs: list[tuple[nn.Module, nn.Module]] = []
        if teacher is not None and options.distill_layers:
            dense = dict(teacher.named_modules())
            layers = looked_up_layers(student)
            if not layers:
                raise ValueError(
                    "finetune student must hold layers of look-ups with distill_layers above 0; it has none"
                )
            for name, layer in layers.items():
                if name not in dense:
                    raise ValueError(f"finetune teacher must hold a layer {name!r}, as the student does")
                self._pairs.append((layer, dense[name]))

    def __call__(self, model: nn.Module, inputs: Any, target: Any) -> torch.Tensor:
        """`model`: the student, or what computes with it."""
        options, teacher = self._options, self._teacher
        with _outputs([layer for layer, _ in self._pairs]) as ours:
            output = called("training", model, inputs)
        loss = self._task.loss(output, target)
        if teacher is None or not options.distills:
            return loss
        with torch.no_grad(), _outputs([layer for _, layer in self._pairs]) as theirs:
            taught = called("training", teacher, inputs)
        if options.distill:
            t = options.distill_temperature
            logits = (self._task.logits(each).float().flatten(0, -2) / t for each in (output, taught))
            student, wanted = (F.log_softmax(each, -1) for each in logits)
            divergence = F.kl_div(student, wanted, reduction="batchmean", log_target=True) * t**2
            loss = (1 - options.distill) * loss + options.distill * divergence
        if self._pairs:
            apart = [_apart(ours[layer], theirs[dense]) for layer, dense in self._pairs if layer in ours]
            if not apart:
                raise ValueError("finetune student must call its layers of look-ups, but no batch reaches one")
            loss = loss + options.distill_layers * torch.stack(apart).mean()
        return loss


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The mean squared difference, over the variance of `theirs`."""
    theirs = theirs.float()
    tiny = torch.finfo(torch.float32).tiny
    return (ours.float() - theirs).square().mean() / theirs.var(correction=0).clamp(min=tiny)


@contextmanager
def _outputs(layers: list[nn.Module]) -> Iterator[dict[nn.Module, torch.Tensor]]:
    """What each layer last returned; of several tensors the first."""
    found: dict[nn.Module, torch.Tensor] = {}

    def keep(layer: nn.Module, _: Any, output: Any) -> None:
        found[layer] = output[0] if isinstance(output, tuple) else output

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
