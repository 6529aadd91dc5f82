"""The quantizer: real values to the codes of a format, and back."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.fixed import Fixed, power_of_two
from hwlut.quant.observer import Observer

__all__ = ["Quantizer"]

_SCALES = tuple(range(-16, 31))
_UNKNOWN = torch.iinfo(torch.int32).min
_BITS_LIMIT = 24  # float32 holds every code


class Quantizer(nn.Module):
    """A real value to ``round_half_even(x * 2^s)``, saturated to the codes of a format, one scale 2^-s a tensor.

    The scale s is given (`format` has a frac), found by calibration, or learned from there by gradient descent.
    Called on real values, the module returns them quantized and dequantized, with the straight-through gradient: 1
    where the code lies in the range before it is saturated, else 0. A learned scale has the gradient of Jain et al.,
    "Trained Quantization Thresholds" (MLSys 2020, arXiv 1903.08066), the rounding of s passed straight through.

    Parameters
    ----------
    format: bits (2 to 24) and sign of the codes; with a frac, that is the scale.
    scales: ascending exponents from -62 to 62 that calibration and training choose from; by default -16 to 30.
    learned: whether s is a parameter; it starts where calibration puts it.
    method: how calibration chooses, see `Observer`.

    The state is the buffer `scale` (int32), or the parameter `exponent` whose nearest integer in `scales` is s, and
    lives on the module's device: a forward never waits for it. A state loaded from a file is taken as calibrated;
    one with a scale that is not among `scales`, or an infinite exponent, is refused.
    """

    scale: torch.Tensor
    choices: torch.Tensor

    def __init__(
        self, format: Fixed, scales: Sequence[int] | None = None, *, learned: bool = False, method: str = "mse"
    ):
        super().__init__()
        if not isinstance(format, Fixed):
            raise TypeError(f"Quantizer format must be a Fixed, not {shorten(format)}")
        if not 2 <= format.bits <= _BITS_LIMIT:
            raise ValueError(f"Quantizer format bits must be from 2 to {_BITS_LIMIT}, not {format.bits}")
        if format.frac is not None and (scales is not None or learned):
            raise ValueError(f"Quantizer format must have no frac where the scale is chosen, not {format.frac}")
        self.format = Fixed(format.bits, signed=format.signed)
        self.scales = _checked_scales(scales) if format.frac is None else (format.frac,)
        self.learned = learned
        self.method = Observer(self.format, self.scales, method).method
        self.observer: Observer | None = None
        self.register_buffer("choices", torch.tensor(self.scales, dtype=torch.int32), persistent=False)
        known = self.scales[0] if len(self.scales) == 1 else _UNKNOWN
        if learned:
            self.exponent = nn.Parameter(torch.tensor(math.nan if known == _UNKNOWN else float(known)))
        else:
            self.register_buffer("scale", torch.tensor(known, dtype=torch.int32))
        self.calibrated = known != _UNKNOWN

    def start(self) -> None:
        """Observe the values of every forward, until `freeze`."""
        self.observer = Observer(self.format, self.scales, self.method)

    def observe(self, x: torch.Tensor) -> None:
        """Take in real values, and choose the scale by all those since `start` (here, unless it was called).

        ValueError for a value that is not finite.
        """
        observer = self.observer or Observer(self.format, self.scales, self.method)
        observer.observe(x)
        state = self.exponent.data if self.learned else self.scale
        state.fill_(observer.choose())
        self.calibrated = True

    def freeze(self) -> None:
        """Keep the scale and forget the values seen."""
        self.observer = None

    def current_scale(self) -> torch.Tensor:
        """s, int32 without dimensions, on the module's device. RuntimeError before calibration."""
        if not self.calibrated:
            raise RuntimeError("Quantizer scale must be calibrated first, by hwlut.quant.calibrate")
        if not self.learned:
            return self.scale
        nearest = (self.choices - self.exponent.detach()).abs().argmin(0, keepdim=True)
        return self.choices.index_select(0, nearest).view(())

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """int32 codes of real values; NaN becomes 0."""
        scaled = _real(x.detach()) * power_of_two(self.current_scale())
        return torch.round(scaled).clamp(self.format.min, self.format.max).nan_to_num().to(torch.int32)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 values of codes."""
        return codes.float() * power_of_two(-self.current_scale())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` quantized and dequantized, in its own dtype; NaN stays NaN.

        Computed in float64 for float64 and in float32 for the others.
        """
        if self.observer is not None:
            self.observe(x)
        step = power_of_two(-self.current_scale())
        if self.learned:  # zero is added, and with it the gradient of 2^-s
            step = step - math.log(2) * step * (self.exponent - self.exponent.detach())
        scaled = _real(x) / step
        rounded = torch.round(scaled.detach())
        codes = rounded.clamp(self.format.min, self.format.max)
        straight = torch.where(rounded == codes, scaled - scaled.detach(), 0.0)  # zero too, and the gradient of x
        return ((codes + straight) * step).to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        name = "exponent" if self.learned else "scale"
        given = state_dict.get(prefix + name)
        if isinstance(given, torch.Tensor) and (wanted := self._refusal(given)):
            errors = arguments[-1]
            errors.append(f"{prefix}{name} must be {wanted}, not {shorten(given.tolist())}")
            return
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        state = float(self.exponent.detach() if self.learned else self.scale)
        self.calibrated = not (math.isnan(state) or state == _UNKNOWN)

    def _refusal(self, given: torch.Tensor) -> str | None:
        """What a loaded state should have been; None where it can be taken."""
        if given.numel() != 1 or given.is_complex():
            return "one number"
        if self.learned:
            return "a finite number" if math.isinf(given.float().item()) else None
        return None if given.item() in (*self.scales, _UNKNOWN) else f"one of {shorten(self.scales)}"

    def extra_repr(self) -> str:
        scale = str(int(self.current_scale())) if self.calibrated else f"one of {self.scales[0]} to {self.scales[-1]}"
        return f"{self.format}, scale {scale}{', learned' if self.learned else ''}"


def _real(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _checked_scales(scales: Sequence[int] | None) -> tuple[int, ...]:
    if scales is None:
        return _SCALES
    if not all(isinstance(scale, int) and not isinstance(scale, bool) for scale in scales):
        raise TypeError(f"Quantizer scales must be integers, not {shorten(scales)}")
    ascending = all(a < b for a, b in zip(scales, scales[1:]))
    if not scales or not ascending or not -62 <= scales[0] <= scales[-1] <= 62:
        raise ValueError(f"Quantizer scales must be ascending from -62 to 62 and at least one, not {shorten(scales)}")
    return tuple(scales)
