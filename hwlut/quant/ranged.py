"""The quantizer whose bits follow a learned step, range and power, until they are fixed."""

import math
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.ops.fake_quantize import fake_quantize, real
from hwlut.ops.fake_quantize import hold as rounded_codes
from hwlut.ops.ranged_quantize import clipped, ranged_quantize
from hwlut.quant.affine import Quantized
from hwlut.quant.formats import Format
from hwlut.quant.granularity import check_tensor
from hwlut.quant.observer import Extremes, Observer
from hwlut.quant.power import raised
from hwlut.quant.quantizer import Quantizer
from hwlut.quant.state import Wanted
from hwlut.quant.steps import SMALLEST_STEP, RealSteps

__all__ = ["RangedQuantizer"]

_BITS = (2, 24)
_CODES = 1 << 30  # on each side: no range with at most 24 bits reaches it
_SMALL = 1 + 2.0**-20  # beyond the rounding of a float32 product


class RangedQuantizer(Quantizer):
    """A quantizer whose step d, range q_m and power t are parameters, and by which it has some real number of bits.

    With c(x) = min(abs(x), q_m)^t, a value becomes ``sgn(x) * d * round_half_even(c(x) / d)``; without a sign, negative
    values become 0. That makes b = log2(q_m^t / d + 1) bits, and one more with a sign. Gradients: of x, 1 where
    abs(x) <= q_m, else 0; of d, sgn(x) (round(c / d) - c / d); of q_m, 0 up to it and sgn(x) t q_m^(t - 1) beyond;
    of t, sgn(x) c ln(min(abs(x), q_m)), 0 at 0. From Qu et al., "Automatic Joint Structured Pruning and Quantization
    for Efficient Neural Network Training and Compression" (CVPR 2025, arXiv 2502.16638).

    After `fix`, it is a quantizer with a learned real step and an integer number of bits, in `format`.

    Parameters
    ----------
    format: `Fixed` without a frac: sign and the bits to start with, 2 to 24.
    method: how calibration finds q_m, "minmax": the greatest magnitude, or "percentile" or "mse", by the step that
        these choose at the first bits; then d is the step of these bits. See `Quantizer`.
    percentile: above 0, at most 100.
    find_sign: whether calibration on values of which none is negative leaves out the sign; the format must have one.
    powers: whether t is learned; else it is 1. Only for what is a parameter itself, as `fix` overwrites that.

    The state: the parameters `step` (d) and `top` (q_m), `power` (t; a parameter where it is learned), float32 [];
    `sign`, int32 [], 1 or 0; `fixed_bits`, int32 [], unknown (-2^31) before `fix`.
    """

    top: torch.Tensor
    power: torch.Tensor
    sign: torch.Tensor
    fixed_bits: torch.Tensor

    def __init__(
        self,
        format: Format,
        *,
        method: str = "minmax",
        percentile: float = 99.9,
        find_sign: bool = False,
        powers: bool = False,
    ):
        if not isinstance(format, Fixed):
            raise TypeError(f"RangedQuantizer format must be a Fixed, not {shorten(format)}")
        for label, value in (("find_sign", find_sign), ("powers", powers)):
            if not isinstance(value, bool):
                raise TypeError(f"RangedQuantizer {label} must be true or false, not {shorten(value)}")
        if find_sign and not format.signed:
            raise ValueError(f"RangedQuantizer format must be signed where find_sign is true, not {format}")
        super().__init__(format, steps="real", source="learned", method=method, percentile=percentile)
        self.first_bits, self.find_sign, self.powers = format.bits, find_sign, powers
        self.fixed = False
        positive = Wanted("a finite positive number", low=2.0**-149)
        self._hold("top", positive, integer=False, learned=True)
        self._hold("power", positive if powers else Wanted("1", 1, 1), 1, integer=False, learned=powers)
        self._hold("sign", Wanted("0 or 1", among=(0, 1)), int(format.signed))
        self._hold("fixed_bits", Wanted(f"an integer from {_BITS[0]} to {_BITS[1]}", *_BITS, whole=True))
        self._take_format(format.bits, format.signed)

    @property
    def bits(self) -> torch.Tensor:
        """b, float32 [], without a gradient. RuntimeError before calibration."""
        self._check_calibrated()
        if self.fixed:
            return self.fixed_bits.float()
        levels = self._reach().double() / self.step.detach().double()
        return (torch.log2(levels + 1) + int(self.format.signed)).float()

    def aim(self, bits: int, method: str = "mse") -> None:
        """Let calibration from now on find the range for so many bits, 2 to 24. RuntimeError after `fix`."""
        self._check_ranged("aim")
        self.first_bits, self.method = bits, method
        self._take_format(bits, self.format.signed)

    def step_range(self, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The steps of `high` and of `low` bits, least first, float32 []. ValueError unless 2 <= low <= high <= 24.

        RuntimeError before calibration and after `fix`.
        """
        self._check_calibrated()
        self._check_ranged("step_range")
        if not _BITS[0] <= low <= high <= _BITS[1]:
            raise ValueError(
                f"RangedQuantizer bits must be from {_BITS[0]} to {_BITS[1]} and ascending, not {low} to {high}"
            )
        reach = self._reach()
        return reach / self._levels(high), reach / self._levels(low)

    @torch.no_grad()
    def hold(self, low: float, high: float) -> None:
        """Move the step to the nearest one at which bits are from `low` to `high`; errors are those of `step_range`."""
        least, most = self.step_range(low, high)
        self.step.clamp_(least, most)

    def folded(self, x: torch.Tensor) -> torch.Tensor:
        """sgn(x) c(x), in the type of x: what the step is applied to."""
        self._check_calibrated()
        if self.fixed:
            return x
        return self._compressed(real(x)).to(x.dtype)

    def _compressed(self, x: torch.Tensor) -> torch.Tensor:
        top, signed = self.top, self.format.signed
        return raised(x, top, self.power, signed) if self.powers else clipped(x, top, signed)

    @torch.no_grad()
    def fix(self, weight: torch.Tensor | None = None) -> None:
        """Take the nearest integer number of bits for good, and the step by which the range has just these.

        From then on `top` and `power` play no part, and the step is learned as in `Quantizer`, by the same parameter. A
        `weight`, which is what it quantizes, is overwritten by `folded`, so its values are those of the same codes. It
        must be given where the power is learned. A second call changes nothing. RuntimeError before calibration.
        """
        self._check_calibrated()
        if self.fixed:
            return
        if self.powers and weight is None:
            raise ValueError("RangedQuantizer fix must have the weight where the power is learned")
        bits = min(max(round(float(self.bits)), _BITS[0]), _BITS[1])
        if weight is not None:
            weight.copy_(self.folded(weight))
        reach = self._reach()
        self._put("step", (reach / self._levels(bits)).clamp(min=SMALLEST_STEP))
        self._put("top", reach)
        self._put("power", torch.ones_like(reach))
        self._put("fixed_bits", torch.full_like(self.fixed_bits, bits))
        self._resume()

    def plain(self) -> Quantizer:
        """A learned `Quantizer` of the fixed format, with the same parameter as its step. RuntimeError before `fix`."""
        if not self.fixed:
            raise RuntimeError("RangedQuantizer plain must come after fix")
        made = Quantizer(self.format, steps="real", source="learned", method=self.method, percentile=self.percentile)
        made.step = self.step
        made.calibrated = True
        return made.train(self.training)

    def quantize(self, x: torch.Tensor) -> Quantized:
        if self.fixed:
            return super().quantize(x)
        codes = self.codes(x)
        step = self.step.detach().clone()
        return Quantized(codes, step, torch.zeros_like(step, dtype=torch.int32))

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        if self.fixed:
            return super().codes(x)
        check_tensor(x)
        self._check_calibrated()
        with torch.no_grad():
            rounded = rounded_codes(self._compressed(real(x)), self.step, None, -_CODES, _CODES, 0).rounded
            return rounded.nan_to_num(0.0).to(torch.int32)

    def quantized(self, x: torch.Tensor) -> torch.Tensor:
        if self.fixed:
            return super().quantized(x)
        check_tensor(x)
        self._check_calibrated()
        held = real(x)
        if self.powers:
            values = fake_quantize(self._compressed(held), self.step, low=-_CODES, high=_CODES)
        else:
            values = ranged_quantize(held, self.step, self.top, self.format.signed)
        return values.to(x.dtype)

    def _learn(self, x: torch.Tensor, seen: Observer | None) -> None:
        if self.fixed or seen is None:
            return super()._learn(x, seen)
        extremes = getattr(seen, "extremes", seen)
        assert isinstance(extremes, Extremes)
        low, high = (end.view(()) for end in extremes.range())
        if self.find_sign:
            negative = bool(low < 0)
            self._put("sign", torch.full_like(self.sign, int(negative)))
            self._take_format(self.first_bits, negative)
        step, zero_point = (chosen.view(()) for chosen in seen.choose(self.steps))
        levels = self._levels(self.first_bits)
        top = step * levels
        if self.method == "minmax":
            greatest = torch.maximum(high, -low if self.format.signed else high)
            least = top > greatest * _SMALL  # the step was not to be any smaller
            top = torch.where(least, top, greatest)
        self._put("top", top)
        self._put("power", torch.ones_like(top))
        self._choose(top / levels, zero_point)
        self.reached = True

    def _reach(self) -> torch.Tensor:
        """q_m^t"""
        top, power = self.top.detach(), self.power.detach()
        return top.pow(power) if self.powers else top

    def _levels(self, bits: float) -> float:
        """The steps on a side of so many bits."""
        return math.pow(2, bits - self.format.signed) - 1

    def _check_ranged(self, label: str) -> None:
        if self.fixed:
            raise RuntimeError(f"RangedQuantizer {label} must come before fix")

    def _take_format(self, bits: int, signed: bool) -> None:
        self.format = Fixed(bits, signed=signed)
        self.steps = RealSteps(self.format, True) if self.fixed else _EvenSteps(self.format, True)

    def _resume(self) -> None:
        """Be what the state says: fixed or not, and with or without a sign."""
        bits = int(self.fixed_bits)
        fixed = bits > 0
        if fixed != self.fixed:
            self.fixed = fixed
            for each in (self.top, self.power):
                if isinstance(each, nn.Parameter):
                    each.requires_grad_(not fixed)
                    each.grad = None
        self._take_format(bits if fixed else self.first_bits, bool(self.sign))

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        if not self.fixed_bits.is_meta:
            self._resume()

    def extra_repr(self) -> str:
        if self.fixed:
            return super().extra_repr()
        learned = "learned step, range and power" if self.powers else "learned step and range"
        return f"{self.format} at first, {learned}"


class _EvenSteps(RealSteps):
    """Real steps of ranges that reach as far below zero as above it, without the lowest code."""

    def holding(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return super().holding(torch.zeros_like(low), torch.maximum(high, -low) if self.format.signed else high)
