"""What an approximate layer is made of: a multiplier, quantizers for its operands, a gradient."""

import copy
import dataclasses
from typing import Any

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.nn.approx.gradients import checked_gradient
from hwlut.nn.approx.sums import Engine, Kernels
from hwlut.quant import Quantizer
from hwlut.quant.steps import PowerOfTwoSteps
from hwlut.units import Multiplier

__all__ = ["Approximate"]


@dataclasses.dataclass(frozen=True, eq=False)
class Approximate:
    """How layers multiply: their activations are the multiplier's first operand, their weights its second.

    Parameters
    ----------
    multiplier: a `Multiplier`.
    activations: a Quantizer in the format ``multiplier.a``, of which every layer gets a copy. By default one with real
        steps from the range of each input, symmetric where the format is signed, with a zero point where it is not.
    weights: one in the format ``multiplier.b``, with a step for the tensor or for each output channel (axis 0). By
        default like that of the activations, with a step for each channel.
    gradient: what stands for the derivatives of the multiplier in the backward. "ste", those of the exact product;
        "lre", least-squares slopes; "date" or a `Date`, differences of smoothed products; or two arrays [codes of a,
        codes of b] in ascending order, derivatives by a and by b at each pair.
    engine: what computes the sums of products, the same whatever computes them: by default the kernels of
        `hwlut.ops.approx_matmul`. `hwlut.nn.InRtl` has one that is the multiplier's hardware.
    """

    multiplier: Multiplier
    activations: Quantizer | None = None
    weights: Quantizer | None = None
    gradient: Any = "ste"
    engine: Engine | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.multiplier, Multiplier):
            raise TypeError(f"Approximate multiplier must be a Multiplier, not {shorten(self.multiplier)}")
        for label, quantizer, operand in (
            ("activations", self.activations, self.multiplier.a),
            ("weights", self.weights, self.multiplier.b),
        ):
            if quantizer is not None:
                check_quantizer(f"Approximate {label}", quantizer, operand)
        if self.engine is None:
            object.__setattr__(self, "engine", Kernels(self.multiplier))
        elif self.engine.multiplier.digest != self.multiplier.digest:
            raise ValueError(
                f"Approximate engine must be one of {self.multiplier.name}, not of {self.engine.multiplier.name}"
            )
        object.__setattr__(self, "gradient", checked_gradient(self.gradient, self.multiplier))

    def activation_quantizer(self) -> Quantizer:
        """A new one for the first operand."""
        if self.activations is not None:
            return copy.deepcopy(self.activations)
        return Quantizer(self.multiplier.a, steps="real", symmetric=self.multiplier.a.signed, source="dynamic")

    def weight_quantizer(self) -> Quantizer:
        """A new one for the second operand."""
        if self.weights is not None:
            return copy.deepcopy(self.weights)
        return Quantizer(
            self.multiplier.b,
            steps="real",
            symmetric=self.multiplier.b.signed,
            granularity="channel",
            source="dynamic",
        )

    def second_quantizer(self) -> Quantizer:
        """A new one for a second operand that is an activation too: like the first one's, with one step."""
        like, b = self.activation_quantizer(), self.multiplier.b
        scales = like.scales if isinstance(like.steps, PowerOfTwoSteps) else None
        return Quantizer(
            b,
            scales,
            steps="real" if scales is None else "power_of_two",
            symmetric=b.signed,
            source=like.source,
            method=like.method,
            percentile=like.percentile,
            momentum=like.momentum,
        )


def check_quantizer(label: str, quantizer: object, operand: Fixed) -> None:
    """Refuse what is no Quantizer of the operand's format."""
    if not isinstance(quantizer, Quantizer):
        raise TypeError(f"{label} must be a Quantizer, not {type(quantizer).__name__}")
    if quantizer.format != Fixed(operand.bits, signed=operand.signed):
        raise ValueError(f"{label} must have the multiplier's format {operand}, not {quantizer.format}")
