"""The optimizer, and the rate and decay of each parameter."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hwlut.nn import LutLayer
from hwlut.quant import Quantizer, RangedQuantizer
from hwlut.train.options import Finetune

__all__ = ["optimizer_of"]

_LIMITS = torch.finfo(torch.float32)


def optimizer_of(student: nn.Module, options: Finetune) -> torch.optim.Optimizer:
    """The optimizer that the options name, over all parameters that have a gradient.

    Real steps and ranges of quantizers are changed by their logarithms, as of Jain et al., "Trained Quantization
    Thresholds" (MLSys 2020), section 4: so they stay positive, and one rate fits small ones and large ones.
    """
    groups = _groups(student, options)
    optimizer: torch.optim.Optimizer
    if options.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=0.9)
    else:
        optimizer = (torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW)(groups)
    steps = [step for module in student.modules() if isinstance(module, Quantizer) for step in _positive(module)]

    @torch.no_grad()
    def before(*_: Any) -> None:
        moved = [step for step in steps if step.grad is not None]
        for step in moved:
            assert step.grad is not None
            step.grad.mul_(step)
            step.log_()

    @torch.no_grad()
    def after(*_: Any) -> None:
        for step in steps:
            if step.grad is not None:
                step.exp_().clamp_(_LIMITS.tiny, _LIMITS.max)

    if steps:
        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)
    return optimizer


def _positive(quantizer: Quantizer) -> Iterator[nn.Parameter]:
    """Its parameters that stay positive."""
    if isinstance(step := getattr(quantizer, "step", None), nn.Parameter):
        yield step
    if isinstance(quantizer, RangedQuantizer):
        assert isinstance(quantizer.top, nn.Parameter)
        yield quantizer.top


def _groups(student: nn.Module, options: Finetune) -> list[dict[str, Any]]:
    """The parameters, each with its rate and decay."""
    places = {
        id(parameter)
        for layer in student.modules()
        if isinstance(layer, LutLayer)
        for name, parameter in layer.named_parameters(recurse=False)
        if name in ("prototypes", "thresholds")
    }
    steps = {
        id(parameter)
        for module in student.modules()
        if isinstance(module, Quantizer)
        for parameter in module.parameters()
    }
    temperatures, stepped, decayed, free = [], [], [], []
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.rpartition(".")[2] == "temperature":
            temperatures.append(parameter)
        elif id(parameter) in steps:
            stepped.append(parameter)
        elif parameter.dim() >= 2 and id(parameter) not in places:
            decayed.append(parameter)
        else:
            free.append(parameter)
    if not (temperatures or stepped or decayed or free):
        raise ValueError("finetune student must have a parameter to train; it has none")
    rates = (temperatures, options.temperature_rate, 0.0), (decayed, options.learning_rate, options.weight_decay)
    found = (*rates, (free, options.learning_rate, 0.0), (stepped, options.step_rate, 0.0))
    return [{"params": params, "lr": rate, "weight_decay": decay} for params, rate, decay in found if params]
