"""What activations by units of one input have in common: quantizer, tables of results and slopes, state."""

import math
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.nn.slopes import derivatives
from hwlut.ops import quantized_lookup, table
from hwlut.quant import Quantizer
from hwlut.units import Direct, Program, Pwl

__all__ = ["Pointwise", "UnitActivation"]

Pointwise: TypeAlias = Pwl | Direct | Program
"""Units of one code in and one out."""

_GRADIENTS = ("exact", "slope")
_INPUT_BITS = 16
_FLOAT_BITS = 24
_SLOPE_BITS = 30
_INTEGERS = "an integer tensor of 2 dimensions"


class UnitActivation(nn.Module):
    """Real numbers through a unit: quantized to its input codes, its result for each, back to real numbers.

    `label` stands in messages; `kinds` are the units there can be. Else see `PwlActivation`.
    """

    label: ClassVar[str]
    kinds: ClassVar[tuple[type, ...]]
    table: torch.Tensor
    exponents: torch.Tensor
    slopes: torch.Tensor

    def __init__(self, unit: Pointwise, quantizer: Quantizer | None = None, gradient: str = "exact"):
        super().__init__()
        if not isinstance(unit, self.kinds):
            known = " or a ".join(kind.__name__ for kind in self.kinds)
            raise TypeError(f"{self.label} unit must be a {known}, not {type(unit).__name__}")
        if gradient not in _GRADIENTS:
            raise ValueError(f"{self.label} gradient must be one of {', '.join(_GRADIENTS)}, not {shorten(gradient)}")
        if unit.input.bits > _INPUT_BITS:
            raise ValueError(f"{self.label} unit must have at most {_INPUT_BITS} input bits, not {unit.input.bits}")
        self.unit = unit
        self.quantizer = _default_quantizer(unit) if quantizer is None else self._checked(quantizer)
        self.gradient = gradient
        scales = self.quantizer.scales
        results = [table(unit, scale) for scale in scales]
        slopes = np.stack([derivatives(unit, scale, gradient) for scale in scales])
        frac = _SLOPE_BITS - math.frexp(max(1.0, float(np.abs(slopes).max())))[1]
        padded = np.pad(np.rint(np.ldexp(slopes, frac)), ((0, 0), (1, 1)))
        exponents = [(scale, unit.output_format(scale).frac, frac) for scale in scales]
        widest = max((result.dtype for result in results), key=lambda dtype: dtype.itemsize)
        self.register_buffer("table", torch.stack([result.to(widest) for result in results]))
        self.register_buffer("exponents", torch.tensor(exponents, dtype=torch.int32))
        self.register_buffer("slopes", torch.from_numpy(padded).to(torch.int32), persistent=False)

    @property
    def exact(self) -> bool:
        """Whether float32 holds every result of the unit: else the widest are rounded to its 24 bits."""
        magnitudes = self.table.long().abs()
        lowest = magnitudes & -magnitudes
        return bool((magnitudes <= lowest << _FLOAT_BITS).all())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quantizer = self.quantizer
        if torch.is_autocast_enabled(x.device.type):
            x = x.float()
        real = x
        if quantizer.learned:  # to be quantized again, to the same codes: here the scale gets its gradient
            real = quantizer(x.to(torch.promote_types(x.dtype, torch.float32)))
        else:
            quantizer.follow(x)
        return self._computed(real, *self._row(quantizer.current_scale())).to(x.dtype)

    def _computed(
        self, real: torch.Tensor, results: torch.Tensor, exponents: torch.Tensor, slopes: torch.Tensor
    ) -> torch.Tensor:
        """What `quantized_lookup` makes of real numbers and the buffers' row of the current scale."""
        return quantized_lookup(real, results, exponents, self.unit.input.min, slopes)

    def _row(self, scale: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the buffers hold for `scale`, picked on the device."""
        buffers = self.table, self.exponents, self.slopes
        if len(self.quantizer.scales) == 1:
            return tuple(held[0] for held in buffers)
        place = torch.searchsorted(self.quantizer.choices, scale).view(1)
        return tuple(held.index_select(0, place)[0] for held in buffers)

    def _checked(self, quantizer: Quantizer) -> Quantizer:
        unit, label = self.unit, f"{self.label} quantizer"
        if not isinstance(quantizer, Quantizer):
            raise TypeError(f"{label} must be a Quantizer, not {type(quantizer).__name__}")
        wanted = Fixed(unit.input.bits, signed=unit.input.signed)
        if not quantizer.single_scale:
            raise ValueError(f"{label} must have one kept power of two as its step, not {quantizer.extra_repr()}")
        if quantizer.format != wanted:
            raise ValueError(f"{label} must have the unit's format {wanted}, not {quantizer.format}")
        if not set(quantizer.scales) <= set(unit.scales):
            raise ValueError(f"{label} must have scales of {shorten(unit.scales)}, not {shorten(quantizer.scales)}")
        return quantizer

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        columns = {"table": slice(None), "exponents": slice(2)}  # the frac of the slopes is our own
        held = {name: state_dict[prefix + name] for name in columns if prefix + name in state_dict}
        errors = arguments[-1]
        for name, given in held.items():
            if (kind := _kind(given)) != _INTEGERS:
                errors.append(f"{prefix}{name} must be {_INTEGERS}, not {kind}")
                return
        own = {name: getattr(self, name)[:, columns[name]] for name in held}
        if not all(_equal(held[name][:, columns[name]], own[name]) for name in held):
            errors.append(f"{prefix}table must be that of {self.unit.name!r}, at its scales, not another one")
            return
        if "exponents" in held:
            state_dict = {**state_dict, prefix + "exponents": self.exponents}
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        return f"{self.unit.name}, gradient {self.gradient}"


def _kind(given: Any) -> str:
    if not isinstance(given, torch.Tensor):
        return shorten(given)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        return f"one of {given.dtype}"
    return _INTEGERS if given.dim() == 2 else f"one of shape {tuple(given.shape)}"


def _equal(given: torch.Tensor, own: torch.Tensor) -> bool:
    return given.dtype == own.dtype and torch.equal(given.to(own.device), own)


def _default_quantizer(unit: Pointwise) -> Quantizer:
    if len(unit.scales) == 1:
        return Quantizer(unit.input_format(unit.scales[0]))
    return Quantizer(unit.input, unit.scales)
