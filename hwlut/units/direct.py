"""Truth tables: a result code for every input code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.fields import fixed, integers
from hwlut.fixed import Fixed, Rounding
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes, result_dtype
from hwlut.units.one_scale import OneScale

if TYPE_CHECKING:
    import torch

__all__ = ["Direct", "INPUT_LIMIT", "STAGES"]

INPUT_LIMIT = 12
"""Most bits of the input code."""

STAGES = 1
"""Pipeline registers of the component's default form."""

_EXACT = 53  # bits of a float64 that are all right


@dataclass(frozen=True, kw_only=True, eq=False)
class Direct(OneScale, Unit, schema="hwlut.direct/1"):
    """A function of an integer code, given code by code.

    Input code q stands for q * 2^-input.frac, its result y for y * 2^-output.frac.

    Parameters
    ----------
    input: format of the input code, 1 to 12 bits; its frac is the unit's one scale.
    output: format of the result, 1 to 63 bits.
    values: 2^input.bits results; the first one is that of the lowest code, input.min.
    """

    input: Fixed = fixed("bits", "signed", "frac")
    output: Fixed = fixed("bits", "signed", "frac")
    values: tuple[int, ...] = integers(-(1 << 63), (1 << 63) - 1)

    def validate(self) -> None:
        _check_widths(self.input, self.output)
        if len(self.values) != 1 << self.input.bits:
            raise ValueError(f"Direct values must be {1 << self.input.bits}, one a code, not {len(self.values)}")
        for value in self.values:
            if not self.output.min <= value <= self.output.max:
                raise ValueError(f"Direct values must be from {self.output.min} to {self.output.max}, not {value}")

    @classmethod
    def of(cls, unit: Unit, scale: int | None = None, name: str | None = None) -> "Direct":
        """The table of what `unit` returns, at `scale` where it has several; function and meta are the unit's.

        An input or output without a frac gets 0. `name` is by default ``<unit>_direct``. Raises TypeError for a
        unit without a single input, ValueError for one of more than 12 input bits or of several channels.
        """
        import torch

        input = getattr(unit, "input", None)
        if not isinstance(input, Fixed):
            raise TypeError(f"Direct needs a unit of one input, not {type(unit).__name__}")
        if input.bits > INPUT_LIMIT:
            raise ValueError(f"Direct needs a unit of at most {INPUT_LIMIT} input bits, not {input.bits}")
        if (channels := getattr(unit, "channels", 1)) != 1:
            raise ValueError(f"Direct needs a unit of one channel, not {channels}")
        codes = torch.arange(input.min, input.max + 1)
        if hasattr(unit, "at_scale"):
            s = unit.chosen_scale(scale)  # type: ignore[attr-defined]
            unit = unit.at_scale(s)
            input, output = unit.input_format(s), unit.output_format(s)  # type: ignore[attr-defined]
        elif scale is not None:
            raise ValueError(f"{type(unit).__name__} scale must not be given, not {scale}")
        else:
            output = unit.output  # type: ignore[attr-defined]
        return cls(
            name=f"{unit.name[:57]}_direct" if name is None else name,
            function=unit.function,
            meta=unit.meta,
            input=Fixed(input.bits, input.frac or 0, input.signed),
            output=Fixed(output.bits, output.frac or 0, output.signed),
            values=tuple(unit(codes).tolist()),
        )

    @classmethod
    def sample(
        cls,
        function: Callable[[np.ndarray], np.ndarray],
        *,
        input: Fixed,
        output: Fixed,
        rounding: str = "half_up",
        name: str | None = None,
    ) -> "Direct":
        """The table of `function`, each value rounded to `output` and saturated: what no unit of this output betters.

        Parameters
        ----------
        function: float64 array -> float64 array, such as a `hwlut.functions.Function`, whose name the table takes.
        input, output: formats, both with a frac; at most 12 input bits and 53 output bits.
        rounding: "half_up", "half_even" or "floor".
        name: of the unit; by default ``<function>_direct``, or ``direct`` where the function has no name.

        Raises ValueError where the function is no number.
        """
        for label, format in (("input", input), ("output", output)):
            if not isinstance(format, Fixed) or format.frac is None:
                raise TypeError(f"Direct {label} must be a Fixed with a frac, not {format!r}")
        _check_widths(input, output, _EXACT)
        round_ = _ROUND[Rounding(rounding)]
        codes = np.arange(input.min, input.max + 1)
        with np.errstate(all="ignore"):
            real = np.asarray(function(np.ldexp(codes.astype(np.float64), -input.frac)), np.float64)
            scaled = np.clip(round_(np.ldexp(real, output.frac)), output.min, output.max)
        if real.shape != codes.shape:
            raise ValueError(f"Direct function must give one value a code, not shape {real.shape}")
        if np.isnan(real).any():
            raise ValueError(f"Direct function must be a number at every code, not nan at {codes[np.isnan(real)][0]}")
        known = getattr(function, "name", None)
        return cls(
            name=(f"{known}_direct" if known else "direct") if name is None else name,
            function=known,
            meta={"method": "sample", "rounding": Rounding(rounding).value},
            input=input,
            output=output,
            values=tuple(scaled.astype(np.int64).tolist()),
        )

    def __call__(self, codes: "torch.Tensor", scale: int | None = None) -> "torch.Tensor":
        """Results of input `codes` (any integer dtype and shape): int32 where `output` allows, else int64.

        Raises ValueError for a code outside the input format or another scale than the unit's.
        """
        import torch

        self.chosen_scale(scale)
        q = checked_codes(codes, self.input, "Direct")
        return torch.tensor(self.values, dtype=result_dtype(self.output), device=q.device)[q - self.input.min]

    def cost(self) -> Resources:
        return Resources(
            storage_bits=len(self.values) * self.output.bits, multiplier_bits=0, adder_bits=0, latency=STAGES
        )


_ROUND: dict[Rounding, Callable[[Any], Any]] = {
    Rounding.HALF_UP: lambda value: np.floor(value) + (value - np.floor(value) >= 0.5),
    Rounding.HALF_EVEN: np.rint,
    Rounding.FLOOR: np.floor,
}


def _check_widths(input: Fixed, output: Fixed, most: int = 63) -> None:
    """Refuse formats wider than a table has."""
    if input.bits > INPUT_LIMIT:
        raise ValueError(f"Direct input bits must be from 1 to {INPUT_LIMIT}, not {input.bits}")
    if output.bits > most:
        raise ValueError(f"Direct output bits must be from 1 to {most}, not {output.bits}")
