"""How fast redundant weights are forgotten, and how coarsely quantized meanwhile, so that the loss descends."""

import torch

__all__ = ["SAFETY", "SHARE", "descending", "forget_rate", "step_size"]

SHARE = 0.999
"""eta: what of the optimizer's descent the choice of the step may use, and 1 - eta that of the rate."""
SAFETY = 0.9
"""zeta: what the choice of the step uses of its share."""
_ZERO = 1e-8


def forget_rate(
    descent: torch.Tensor, along: torch.Tensor, size: torch.Tensor, uniform: float, share: float = 1 - SHARE
) -> torch.Tensor:
    """gamma, by which redundant weights x become x - gamma x_Q.

    All tensors are numbers. descent: by how much, to first order, the optimizer's step on these weights lowered the
    loss; of plain gradient steps, the rate times |g|^2. along: <clip(x), g>. size: mean of |clip(x)|. uniform:
    1 / (T - tau), where tau of T steps are done.

    0 for weights that are already zero, the uniform rate where forgetting lowers the loss, and else what raises it by
    `share` of the descent, but no more than the uniform rate: it forgets all by the end. Where the descent is not
    finite, the gradients not being so, the uniform rate.
    """
    limited = (share * descent.clamp_min(0) / (-along).clamp_min(torch.finfo(along.dtype).tiny)).clamp_max(uniform)
    rate = torch.where(along >= 0, uniform, limited)
    rate = torch.where((descent + along).isfinite(), rate, uniform)
    return torch.where(size < _ZERO, 0.0, rate)


def step_size(
    rate: torch.Tensor, descent: torch.Tensor, along: torch.Tensor, least: torch.Tensor, most: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """d, by which the weights are quantized, and the rate, which may have to be lower for it.

    along: <r(x), g> of the rounding r(x) = sgn(x) (round(c(x) / d) - c(x) / d). least, most: what d may be for the most
    and the fewest bits.

    The coarsest where coarser weights lower the loss or nothing is forgotten, and else what raises it by the share of
    the descent that is left, but no coarser than the coarsest. Where that is finer than the finest, it is the finest,
    and the rate falls by as much: the published rule shrinks both, which never gets d back into its range.
    """
    room = SAFETY * SHARE * descent.clamp_min(0) / (-rate * along).clamp_min(torch.finfo(along.dtype).tiny)
    step = torch.where((along >= 0) | (rate == 0), most, room.minimum(most))
    step = torch.where((descent + along).isfinite(), step, most)
    return step.maximum(least), rate * (step / least).clamp_max(1)


def descending(rate: torch.Tensor, descent: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """The rate, lowered where forgetting would raise the loss by more than both shares of the descent together.

    along: <x_Q, g>, with the step that was chosen: the rounding is another than that which it was chosen by, so without
    this the loss need not descend.
    """
    most = (1 - SHARE + SAFETY * SHARE) * descent.clamp_min(0) / (-along).clamp_min(torch.finfo(along.dtype).tiny)
    return torch.where((along >= 0) | ~(descent + along).isfinite(), rate, rate.minimum(most))
