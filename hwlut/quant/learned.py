"""Steps that are parameters: their value, and the gradient that reaches them."""

import math

import torch

from hwlut.fixed import Fixed, power_of_two
from hwlut.quant.steps import SMALLEST_STEP

__all__ = ["nearest", "power_step", "real_step"]


def real_step(parameter: torch.Tensor, values: int, format: Fixed) -> torch.Tensor:
    """The parameter, or 2^-126 where it is less; its gradient times ``1 / sqrt(values * format.max)``.

    `values`: how many of the input share a step, the batch included. The factor is that of Esser et al., "Learned
    Step Size Quantization" (ICLR 2020), section 2.2: it brings the updates of a step to the size of a weight's.
    """
    share = (max(values, 1) * format.max) ** -0.5
    held = parameter.detach()
    return held.clamp(min=SMALLEST_STEP) + share * (parameter - held)  # zero is added, and with it the gradient


def power_step(exponent: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """2^-s for the int32 `scale` s that `exponent` was rounded to, with the gradient of 2^-exponent there.

    Jain et al., "Trained Quantization Thresholds" (MLSys 2020): the rounding is passed straight through.
    """
    step = power_of_two(-scale)
    return step - math.log(2) * step * (exponent - exponent.detach())


def nearest(exponent: torch.Tensor, choices: torch.Tensor) -> torch.Tensor:
    """The one of the int32 `choices` [any number] nearest to each exponent, the first of two."""
    places = (choices - exponent.detach().unsqueeze(-1)).abs().argmin(-1)
    return choices.index_select(0, places.view(-1)).view(places.shape)
