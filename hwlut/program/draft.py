"""A program while it is written: nodes added one by one, their spans known at once."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from hwlut.fit import fit
from hwlut.fixed import Fixed, Rounding, signed_bits
from hwlut.functions import Function
from hwlut.units import Pwl, Requantize
from hwlut.units.nodes import Node, Span
from hwlut.units.operations import Add, Apply, Clamp, Constant, ShiftLeft, ShiftRight

__all__ = ["CORE", "Draft", "Fitting"]

CORE = Fixed(17, 16, False)
"""Format of every core's result: from 0 to below 2."""

_FIT_FRAC = 9
"""Fraction bits of the codes a core is fitted on; it is used on finer ones."""


@dataclasses.dataclass(frozen=True)
class Fitting:
    """Segments and widths of the cores, as `hwlut.fit` takes them."""

    segments: int = 8
    slope_bits: int = 8
    intercept_bits: int = 16


class Draft:
    """The nodes so far, in `nodes`, and the span of every value, in `spans`.

    Parameters
    ----------
    inputs: formats of the input codes by name.
    fitting: of the cores.
    """

    def __init__(self, inputs: Mapping[str, Fixed], fitting: Fitting = Fitting()):
        self.nodes: list[Node] = []
        self.spans: dict[str, Span] = {name: (format.min, format.max) for name, format in inputs.items()}
        self.fitting = fitting

    def __call__(self, kind: type[Node], name: str, *arguments: Any) -> str:
        """Add a node and return its name; an int where a value is taken becomes a constant."""
        fields = dataclasses.fields(kind)[1:]
        given = [
            self._constant(argument) if "operand" in field.metadata and isinstance(argument, int) else argument
            for field, argument in zip(fields, arguments)
        ]
        return self._add(kind(name, *given))

    def _add(self, node: Node) -> str:
        self.spans[node.name] = node.span(*(self.spans[operand] for operand in node.operands))
        self.nodes.append(node)
        return node.name

    def _constant(self, value: int) -> str:
        name = f"minus_{-value}" if value < 0 else f"plus_{value}"
        return name if name in self.spans else self._add(Constant(name, value))

    def scaled(self, name: str, value: str, up: int, down: str | int = 0) -> str:
        """``value * 2^(up - down)``, rounded half up; `down` is never negative."""
        low, high = (down, down) if isinstance(down, int) else self.spans[down]
        if up > 0:
            value = self(ShiftLeft, f"{name}_raised", value, up)
        elif up < 0:
            down = down - up if isinstance(down, int) else self(Add, f"{name}_drop", down, -up)
        if down == 0:
            return value
        return self(ShiftRight, name, value, down, Rounding.FLOOR if high <= up else Rounding.HALF_UP)

    def clamped(self, name: str, value: str, low: int, high: int) -> str:
        """`value` held from `low` to `high`, without a node where its span lies there."""
        lowest, highest = self.spans[value]
        return value if low <= lowest and highest <= high else self(Clamp, name, value, low, high)

    def times(self, name: str, value: str, ratio: float) -> str:
        """`value` times a real `ratio`, rounded half up; held to 32 bits."""
        low, high = self.spans[value]
        bits = signed_bits(math.floor(low * ratio) - 1, math.ceil(high * ratio) + 1) - (low >= 0)
        input = Fixed(signed_bits(low, high) - (low >= 0), signed=low < 0)
        unit = Requantize.from_ratios(ratio, input=input, output=Fixed(min(bits, 32), signed=low < 0))
        return self(Apply, name, value, unit)

    def core(self, name: str, function: Function, frac: int, of: str, segments: int | None = None) -> str:
        """The table of `function` on its domain, applied to the value `of`, which has `frac` fraction bits.

        It has the fitting's segments unless others are given. Its largest absolute error is the least. The lines are
        fitted on codes of 9 fraction bits where there are more, so that a fit takes a fraction of a second; they are as
        right between those codes.
        """
        bits = self.spans[of][1].bit_length()
        fitting = self.fitting if segments is None else dataclasses.replace(self.fitting, segments=segments)
        return self(Apply, name, of, _core(function, frac, bits, fitting))


@functools.lru_cache(maxsize=256)
def _core(function: Function, frac: int, bits: int, fitting: Fitting) -> Pwl:
    """Of unsigned codes; held, since a network has many of the same."""
    coarse = min(frac, _FIT_FRAC)
    finer = frac - coarse
    table = fit(
        function,
        fitting.segments,
        input=Fixed(max(2, bits - finer), signed=False),
        scales=(coarse,),
        slope_bits=fitting.slope_bits,
        intercept_bits=fitting.intercept_bits,
        objective="max",
    )
    return table.replace(
        input=Fixed(bits, signed=False),
        scales=(frac,),
        breakpoint_frac=frac,
        breakpoints=tuple(p << finer for p in table.breakpoints),
        output=CORE,
    )
