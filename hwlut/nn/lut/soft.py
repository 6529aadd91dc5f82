"""Soft choices of prototypes, and the product whose value is that of the hard choice and whose gradient is theirs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

__all__ = ["Rows", "looked_up", "soft_leaves", "soft_nearest"]


def soft_nearest(
    x: torch.Tensor, prototypes: torch.Tensor, sharpness: torch.Tensor, encoder: str = "l2"
) -> torch.Tensor:
    """``softmax over k of -sharpness * distance(x, prototype k)``: [C, K, N] of x [N, C, v] and prototypes [C, K, v].

    Distances as in the encoder of that name, the squared one of "l2" (Tang et al., "LUT-NN: Empower Efficient Neural
    Network Inference with Centroid Learning and Table Lookup", MobiCom 2023).
    """
    if encoder != "l2":
        away = torch.cdist(prototypes, x.transpose(0, 1), p=1 if encoder == "l1" else torch.inf)
        return (-sharpness * away).softmax(1)
    # Without the square of x, which is the same for every prototype; the sharpness goes to the smaller operands.
    squares = sharpness * prototypes.square().sum(2, keepdim=True)
    return torch.baddbmm(squares, 2 * sharpness * prototypes, x.permute(1, 2, 0), beta=-1).softmax(1)


def soft_leaves(
    x: torch.Tensor, thresholds: torch.Tensor, dimensions: torch.Tensor, sharpness: torch.Tensor
) -> torch.Tensor:
    """Products of ``(1 +- tanh(sharpness * (x - threshold))) / 2`` on the way to each leaf: [C, K, N] of x [N, C, v].

    thresholds [C, K - 1] and dimensions [C, log2 K] as in `hwlut.LutMatmul`. (Schönleber et al., "Stella Nera:
    Achieving 161 TOp/s/W with Multiplier-free DNN Acceleration based on Approximate Matrix Multiplication", arXiv
    2311.10207.)
    """
    compared = x.gather(2, dimensions.expand(len(x), -1, -1)).permute(1, 2, 0)
    leaves = x.new_ones(x.shape[1], 1, len(x))
    for level in range(dimensions.shape[1]):
        nodes = thresholds[:, (1 << level) - 1 : (2 << level) - 1, None]
        right = torch.sigmoid(2 * sharpness * (compared[:, level, None] - nodes))
        leaves = torch.stack([leaves * (1 - right), leaves * right], 2).flatten(1, 2)
    return leaves


class Rows(NamedTuple):
    """How an input, as it is padded, is cut into rows.

    cut: from the input to sub-vectors [N, C, v]. joined: from a gradient [C, v, N] to that of the input.
    """

    cut: Callable[[torch.Tensor], torch.Tensor]
    joined: Callable[[torch.Tensor], torch.Tensor]


def looked_up(
    hard: Callable[[], torch.Tensor],
    soft: Callable[..., torch.Tensor],
    rows: Rows,
    x: torch.Tensor,
    numbers: torch.Tensor,
    sharpness: torch.Tensor,
    table: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """The value of ``hard()`` [N, M], with the gradient of ``soft(rows of x, numbers, sharpness) @ table + bias``.

    Straight through from the soft choice to the hard one. The backward alone computes the soft choice; its products are
    flat ones of [C K, N] with [N, M] and of [C K, M] with [M, N]: nothing of C N M numbers is held.

    Parameters
    ----------
    hard: the value, computed without gradients.
    soft: choices [C, K, N] of sub-vectors [N, C, v], differentiable in its three arguments.
    x: the input that `rows` cuts. numbers: prototypes [C, K, v] or thresholds. sharpness: scalar. table: [C, K, M].
    bias: [M] or None.
    """
    return _LookedUp.apply(hard, soft, rows, x, numbers, sharpness, table, bias)


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hard: Callable[[], torch.Tensor],
        soft: Callable[..., torch.Tensor],
        rows: Rows,
        x: torch.Tensor,
        numbers: torch.Tensor,
        sharpness: torch.Tensor,
        table: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.soft, ctx.rows = soft, rows
        ctx.save_for_backward(x, numbers, sharpness, table)
        return hard()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *others, table = ctx.saved_tensors
        (g,) = gradients
        wanted = ctx.needs_input_grad[3:]
        held = [each.detach().requires_grad_(need) for each, need in zip([ctx.rows.cut(x), *others], wanted)]
        with torch.enable_grad():
            choices = ctx.soft(*held)
        of_table = (choices.detach().flatten(0, 1) @ g).view(table.shape) if wanted[3] else None
        found: Iterator[torch.Tensor] = iter(())
        if any(wanted[:3]):
            of_choices = (table.flatten(0, 1) @ g.t()).view(choices.shape)
            found = iter(torch.autograd.grad(choices, [each for each in held if each.requires_grad], of_choices))
        of_x, *of_others = [next(found) if need else None for need in wanted[:3]]
        of_input = None if of_x is None else ctx.rows.joined(of_x.permute(1, 2, 0))
        return None, None, None, of_input, *of_others, of_table, g.sum(0) if wanted[4] else None
