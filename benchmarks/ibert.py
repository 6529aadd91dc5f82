"""The integer kernels of I-BERT (Kim et al., ICML 2021, arXiv 2101.01321), after the paper's algorithms 1 to 4.

Codes are int64 tensors and stand for code * scale. What the paper leaves to real numbers, scales, is floats here.
"""

import math

import torch

from hwlut.fixed import Fixed, Rounding
from hwlut.program.draft import Draft
from hwlut.units import Program
from hwlut.units.operations import Add, Bits, Less, Multiply, Select, ShiftLeft, ShiftRight, Subtract
from hwlut.units.program import INPUT
from hwlut.units.reductions import Maximum, Sum

__all__ = ["exp", "exp_program", "layer_norm", "softmax", "softmax_program", "sqrt"]

_A, _B, _C = 0.3585, 1.353, 0.344
"""exp(p) is near a (p + b)^2 + c from -log(2) to 0."""


def _constants(scale: float) -> tuple[int, int, int]:
    """log(2), b and c / a as integers: of steps, of steps, and of squared steps."""
    return math.floor(math.log(2) / scale), math.floor(_B / scale), math.floor(_C / (_A * scale**2))


def exp(codes: torch.Tensor, scale: float) -> tuple[torch.Tensor, float]:
    """i-exp of codes that are never positive: codes of the result and their scale."""
    log2, b, c = _constants(scale)
    octaves = -codes // log2
    part = codes + octaves * log2
    return (part + b) ** 2 + c >> octaves.clamp(max=62), _A * scale**2


def softmax(codes: torch.Tensor, scale: float, frac: int) -> torch.Tensor:
    """i-softmax along the last axis: codes of `frac` fraction bits, which the quotient is cut to."""
    powers, _ = exp(codes - codes.amax(-1, keepdim=True), scale)
    return (powers << frac) // powers.sum(-1, keepdim=True)


def sqrt(values: torch.Tensor) -> torch.Tensor:
    """i-sqrt: floor(sqrt(n)) of integers from 0, by Newton's method from above."""
    positive = values.clamp(min=1)
    bits = sum((positive >> k > 0).long() for k in range(63))
    root = 1 << (bits + 1) // 2
    while (better := (following := (root + positive // root) // 2) < root).any():
        root = torch.where(better, following, root)
    return root.where(values > 0, 0)


def layer_norm(codes: torch.Tensor, frac: int) -> torch.Tensor:
    """The normalization of i-layernorm along the last axis, before weight and bias: codes of `frac` fraction bits.

    The root is that of the sum of squares rather than of their mean, of which fewer bits would be left.
    """
    size = codes.shape[-1]
    centred = codes - torch.div(codes.sum(-1, keepdim=True), size, rounding_mode="floor")
    root = sqrt(centred.square().sum(-1, keepdim=True)).clamp(min=1)
    return torch.div(centred * round(math.sqrt(size) * 2**frac), root, rounding_mode="floor")


def exp_program(input: Fixed) -> Program:
    """i-exp of minus the code of an unsigned input."""
    draft = Draft({INPUT: input})
    _draft_exp(draft, INPUT, input)
    high = draft.spans["power"][1]
    return Program.of(
        name="i_exp", input=input, nodes=tuple(draft.nodes), output=Fixed(high.bit_length(), signed=False)
    )


def softmax_program(input: Fixed, frac: int, most: int) -> Program:
    """i-softmax of rows of at most `most` places, with a result of `frac` fraction bits.

    Its division is that of every place by the sum of its row, a bit a step: a comparison, a subtraction, a selection.
    """
    draft = Draft({INPUT: input})
    difference = draft(Subtract, "difference", draft(Maximum, "highest", INPUT), INPUT)
    distance = draft(Bits, "distance", difference, 0, input.bits)
    power = _draft_exp(draft, distance, input)
    total = draft(Sum, "total", power, most)
    # What is left after a step is below the sum.
    width = draft.spans[total][1].bit_length()
    rest, smaller, quotient = power, draft(Less, "smaller_0", power, total), ""
    for step in range(frac + 1):
        if step:
            kept = draft(Select, f"kept_{step}", smaller, rest, draft(Subtract, f"less_{step}", rest, total))
            rest = draft(ShiftLeft, f"rest_{step}", draft(Bits, f"below_{step}", kept, 0, width), 1)
            smaller = draft(Less, f"smaller_{step}", rest, total)
        bit = draft(Subtract, f"bit_{step}", 1, smaller)
        quotient = draft(Add, f"sum_{step}", draft(ShiftLeft, f"raised_{step}", quotient, 1), bit) if step else bit
    return Program.of(
        name="i_softmax", input=input, nodes=tuple(draft.nodes), output=Fixed(frac + 1, frac, signed=False)
    )


def _draft_exp(draft: Draft, distance: str, input: Fixed) -> str:
    log2, b, c = _constants(2.0**-input.frac)
    # distance // log2 as a product, which is right for every code: Granlund and Montgomery, PLDI 1994.
    shift = input.bits + log2.bit_length()
    scaled = draft(Multiply, "scaled", distance, -(-(1 << shift) // log2))
    octaves = draft(ShiftRight, "octaves", scaled, shift, Rounding.FLOOR)
    part = draft(Subtract, "part", draft(Multiply, "whole", octaves, log2), distance)
    shifted = draft.clamped("held", draft(Add, "shifted", part, b), b - log2, b)
    power = draft(Add, "polynomial", draft(Multiply, "square", shifted, shifted), c)
    by = draft.clamped("by", octaves, 0, draft.spans[power][1].bit_length())
    return draft(ShiftRight, "power", power, by, Rounding.FLOOR)
