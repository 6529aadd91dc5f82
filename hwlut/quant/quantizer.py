"""The quantizer: real values to the codes of a format, and back."""

from collections.abc import Sequence

import torch

from hwlut.fixed import power_of_two
from hwlut.quant.affine import Quantized, fake_quantized, held_codes
from hwlut.quant.choice import WithSteps
from hwlut.quant.formats import Format
from hwlut.quant.granularity import Granularity, check_tensor
from hwlut.quant.learned import power_step, real_step
from hwlut.quant.options import Options
from hwlut.quant.steps import PowerOfTwoSteps

__all__ = ["Quantizer"]

_VECTORS = Granularity("token")


class Quantizer(WithSteps):
    """A real value x to ``round_half_even(x / step) + zero_point``, saturated to the codes of a format, and back.

    Zero is always exactly a code, and the whole code range serves: -128 too, without a zero point. Called on real
    values, the module returns them quantized and dequantized, with the straight-through gradient: 1 where the code
    lies in the range before it is saturated, else 0.

    Parameters
    ----------
    format: bits (2 to 24) and sign of the codes; with a frac, that is the scale s of the one step 2^-s. Or a
        `Minifloat`, symmetric, whose step is the value of code 1 and whose codes are rounded to its significant bits.
    scales: ascending exponents from -62 to 62 that powers of two are chosen from; by default -16 to 30.
    steps: "power_of_two", 2^-s; "real", any float32 from 2^-126; or "multiplier", m * 2^-k of integers with
        m < 2^multiplier_bits, which `multiplier_and_shift` tells.
    symmetric: whether zero is always the code 0. Else the zero point follows the range, which the codes then fill.
    granularity, axis, block: what shares a step: a whole "tensor"; a "channel" along `axis`, by default the first; and,
        only with a dynamic source, a "token", a vector along the last dimension, or a "block" of `block` values (32)
        along `axis`, by default the last, where the last block may be shorter.
    source: where steps come from. "static": calibration. "learned": calibration, and then gradient descent, by Esser
        et al., "Learned Step Size Quantization" (ICLR 2020, arXiv 1902.08153) for real steps, and by Jain et al.,
        "Trained Quantization Thresholds" (MLSys 2020, arXiv 1903.08066) for powers of two, the rounding of s passed
        straight through; the zero point stays. "dynamic": the range of each input itself.
    method: how the values seen make a step. "minmax": the finest that saturates none; "percentile": the finest that
        saturates no more than the rest of `percentile`, see `Percentile`; "mse": that of least squared error, see
        `LeastError`; "ema" (only static): "minmax" of running averages of the ranges of batches, which also follow
        every batch of training until `freeze`; "mx" (only dynamic, powers of two): the scale of OCP Microscaling, see
        `MicroscalingSteps`. By default "mse", and "minmax" for a dynamic source, which has only that and "mx".
    percentile: above 0, at most 100.
    momentum: share of the newest range in the averages of "ema", above 0, at most 1.
    multiplier_bits: 1 to 23, by default 8; only with steps "multiplier".

    The state lies on the module's device and a forward never waits for it; it keeps its type under `.half()`. One
    number, or one a channel: `scale` (int32, s), the parameter `exponent` (its nearest integer in `scales` is s) or
    `step` (float32; a parameter where learned); `zero_point` (int32) unless symmetric; `low` and `high` (float32) with
    "ema", and `frozen` (uint8, 0 or 1): a loaded state follows training where it did when it was saved. A state loaded
    from a file is taken as calibrated; one with impossible numbers or shapes is refused.
    """

    def __init__(
        self,
        format: Format,
        scales: Sequence[int] | None = None,
        *,
        steps: str = "power_of_two",
        symmetric: bool = True,
        granularity: str = "tensor",
        axis: int | None = None,
        block: int | None = None,
        source: str = "static",
        method: str | None = None,
        percentile: float = 99.9,
        momentum: float = 0.1,
        multiplier_bits: int | None = None,
    ):
        super().__init__(
            Options(
                format=format,
                scales=scales,
                steps=steps,
                symmetric=symmetric,
                granularity=granularity,
                axis=axis,
                block=block,
                source=source,
                method=method,
                percentile=percentile,
                momentum=momentum,
                multiplier_bits=multiplier_bits,
            )
        )

    def quantize(self, x: torch.Tensor) -> Quantized:
        """Codes of real values, with the step and the zero point that they are counted in; NaN gets the code of zero.

        Computed in float64 for float64 and in float32 for the others. Nothing is observed.
        """
        step, zero_point = self._steps_of(x)
        codes = held_codes(x, step, zero_point, self.format)
        zero_point = torch.zeros_like(step, dtype=torch.int32) if zero_point is None else zero_point.clone()
        return Quantized(codes, step.detach().clone(), zero_point)  # no part of the state, which training overwrites

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """int32 codes of real values, as `quantize` has them."""
        return held_codes(x, *self._steps_of(x), self.format)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 values of codes. RuntimeError for a dynamic source: there, `Quantized.values` knows the step."""
        if self.source == "dynamic":
            raise RuntimeError("Quantizer values must be taken from quantize(x) where the source is dynamic")
        step, zero_point = self._steps_of(codes)
        return (codes if zero_point is None else codes - zero_point).float() * step.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` quantized and dequantized, in its own dtype; NaN stays NaN."""
        self.follow(x)
        return self.quantized(x)

    def quantized(self, x: torch.Tensor) -> torch.Tensor:
        """What a forward on `x` returns; nothing is observed."""
        check_tensor(x)
        if self.granularity.kind != "block":
            return self._fake_quantized(x, *self._steps_of(x))
        blocks = self.granularity.cut(x)
        return self.granularity.joined(self._fake_quantized(blocks, *self._dynamic_steps(blocks, _VECTORS)), x)

    def _fake_quantized(self, x: torch.Tensor, step: torch.Tensor, zero_point: torch.Tensor | None) -> torch.Tensor:
        return fake_quantized(x, step, zero_point, self.format, margin=isinstance(self.steps, PowerOfTwoSteps))

    def _steps_of(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The step of each value, with its gradient where it is learned, and the zero point, where there is one."""
        check_tensor(x)
        if self.source == "dynamic":
            return self._dynamic_steps(x, self.granularity)
        if isinstance(self.steps, PowerOfTwoSteps):
            scale = self.current_scale()
            step = power_step(self.exponent, scale) if self.learned else power_of_two(-scale)
        else:
            self._check_calibrated()
            step = self.step
            if self.learned:
                step = real_step(step, x.numel() // max(step.numel(), 1), self.steps)
        zero_point = None if self.symmetric else self.granularity.spread(self.zero_point, x)
        return self.granularity.spread(step, x), zero_point

    def _dynamic_steps(self, x: torch.Tensor, granularity: Granularity) -> tuple[torch.Tensor, torch.Tensor | None]:
        low, high = granularity.bounds(x)
        step = self.steps.holding(low, high)
        zero_point = None
        if not self.symmetric:
            zero_point = granularity.spread(self.steps.zero_point(low, high, step), x)
        return granularity.spread(step, x), zero_point
