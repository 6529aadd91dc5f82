"""Steps that are parameters: their value, and the gradient that reaches them."""

import math

import torch

from hwlut.fixed import power_of_two
from hwlut.ops.registry import standing_alone
from hwlut.quant.steps import RealSteps

__all__ = ["nearest", "power_step", "real_step"]


def real_step(parameter: torch.Tensor, values: int, steps: RealSteps) -> torch.Tensor:
    """The one of `steps` that is nearest to the parameter, whose gradient is ``1 / sqrt(values * highest code)``.

    `values`: how many of the input share a step, the batch included. The factor is that of Esser et al., "Learned
    Step Size Quantization" (ICLR 2020), section 2.2: it brings the updates of a step to the size of a weight's.
    Without gradients, and in an exported program, there is the step alone.
    """
    held = parameter.detach()
    if not torch.is_grad_enabled() or standing_alone():
        return steps.allowed(held)
    share = (max(values, 1) * steps.format.max) ** -0.5
    return steps.allowed(held) + share * (parameter - held)  # zero is added, and with it the gradient


def power_step(exponent: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """2^-s for the int32 `scale` s that `exponent` was rounded to, with the gradient of 2^-exponent there.

    Jain et al., "Trained Quantization Thresholds" (MLSys 2020): the rounding is passed straight through. Without
    gradients, and in an exported program, there is the step alone.
    """
    step = power_of_two(-scale)
    if not torch.is_grad_enabled() or standing_alone():
        return step
    return step - math.log(2) * step * (exponent - exponent.detach())


def nearest(exponent: torch.Tensor, choices: torch.Tensor) -> torch.Tensor:
    """The one of the int32 `choices` [any number] nearest to each exponent, the first of two."""
    places = (choices - exponent.detach().unsqueeze(-1)).abs().argmin(-1)
    return choices.index_select(0, places.view(-1)).view(places.shape)
