"""A pair of formats: what the two operands of a layer's products are quantized to."""

from typing import NamedTuple

from hwlut.quant.formats import Format, parse_format

__all__ = ["FULL_BITS", "Precision", "format_name"]

FULL_BITS = 32
"""Bits of an operand that is not quantized."""


class Precision(NamedTuple):
    """The formats of weights and activations; None leaves an operand as it is.

    In text "s4", or "s8/s4" where they differ, weights first; "0" for an operand that is not quantized.
    """

    weight: Format | None
    activation: Format | None

    @property
    def weight_bits(self) -> int:
        """Bits of a weight, 32 where it is not quantized."""
        return FULL_BITS if self.weight is None else self.weight.bits

    @property
    def activation_bits(self) -> int:
        """Bits of an activation, 32 where it is not quantized."""
        return FULL_BITS if self.activation is None else self.activation.bits

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """The one in a text, any of the names of formats in it; ValueError for another."""
        weight, _, activation = text.partition("/")
        return cls(*(None if each.strip() == "0" else parse_format(each) for each in (weight, activation or weight)))

    def __str__(self) -> str:
        weight, activation = format_name(self.weight), format_name(self.activation)
        return weight if weight == activation else f"{weight}/{activation}"


def format_name(format: Format | None) -> str:
    """The name that a format is found by; "0" for none."""
    return "0" if format is None else str(format)
