"""The ranged quantizers of a model, and their bits within what is asked for."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from hwlut.nn.quantized import quantized_operations
from hwlut.nn.quantized.products import QuantizedProduct
from hwlut.prune.options import Joint
from hwlut.quant.ranged import RangedQuantizer

__all__ = ["Bounded", "bounded", "check_bits", "hold"]

_FIRST_BITS = 16
_ROUNDING = 1e-4
"""Of the bits, which float32 steps have only so exactly."""


class Bounded(NamedTuple):
    """A quantizer, the operation's path and operand it is of, its least and most bits, and the weight it quantizes."""

    path: str
    operand: str
    quantizer: RangedQuantizer
    low: int
    high: int
    weight: nn.Parameter | None

    def most(self, share: float) -> float:
        """The most bits once so much of the way from 16 has been gone."""
        return max(_FIRST_BITS - (_FIRST_BITS - self.high) * share, self.high)


def bounded(model: nn.Module, options: Joint) -> tuple[Bounded, ...]:
    """All ranged quantizers of the operations of `model`, in order; both operands of a product are activations.

    ValueError where options ask for bits of which there is no quantizer or the other way round, for one that has not
    been calibrated, and for a weight that two quantizers with learned powers share.
    """
    found: list[Bounded] = []
    for path, operation in quantized_operations(model).items():
        for operand, choice in zip(("weight", "activation"), operation.choices):
            quantizer = None if choice is None else choice.quantizer(choice.selected)
            if not isinstance(quantizer, RangedQuantizer):
                continue
            own = operand == "weight" and not isinstance(operation, QuantizedProduct)
            bits = options.weight_bits if own else options.activation_bits
            if bits is None:
                label = "weight_bits" if own else "activation_bits"
                raise ValueError(f"Joint {label} must be given: the {operand} of {path} has a ranged quantizer")
            if not quantizer.calibrated:
                raise ValueError(f"Joint model must be calibrated; the {operand} quantizer of {path} is not")
            weight = operation.weight if own else None
            assert weight is None or isinstance(weight, nn.Parameter)
            found.append(Bounded(path, operand, quantizer, *bits, weight))
    for label, bits, weights in (
        ("weight_bits", options.weight_bits, True),
        ("activation_bits", options.activation_bits, False),
    ):
        if bits is not None and not any((each.weight is not None) is weights for each in found):
            raise ValueError(f"Joint {label} must be None: no operation of the model has a ranged quantizer of them")
    _check_shared(found)
    return tuple(found)


@torch.no_grad()
def hold(quantizers: Iterable[Bounded], share: float = 1.0) -> None:
    """Move each step to where the bits are within bounds, the upper one so much of the way down from 16."""
    for each in quantizers:
        each.quantizer.hold(each.low, each.most(share))


def check_bits(quantizers: tuple[Bounded, ...], step: int) -> None:
    """ValueError, naming the first, where bits are not within bounds after step `step`."""
    if not quantizers:
        return
    bits = torch.stack([each.quantizer.bits.detach() for each in quantizers]).tolist()
    for each, value in zip(quantizers, bits):
        if not each.low - _ROUNDING <= value <= each.high + _ROUNDING:
            raise ValueError(
                f"Joint {each.operand} bits of {each.path} must be from {each.low} to {each.high}, not {value:g} after"
                f" step {step}"
            )


def _check_shared(found: Iterable[Bounded]) -> None:
    seen: dict[int, Bounded] = {}
    for each in found:
        if each.weight is None:
            continue
        other = seen.setdefault(id(each.weight), each)
        if other.quantizer is not each.quantizer and (each.quantizer.powers or other.quantizer.powers):
            raise ValueError(f"Joint weight of {each.path} must not be that of {other.path} where powers are learned")
