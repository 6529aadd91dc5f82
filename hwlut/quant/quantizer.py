"""The quantizer: real values to the codes of a format, and back."""

from collections.abc import Sequence
from typing import Any

import torch

from hwlut.fields import shorten
from hwlut.fixed import Fixed, power_of_two
from hwlut.quant.affine import Quantized, fake_quantized, held_codes
from hwlut.quant.granularity import Granularity, check_tensor
from hwlut.quant.learned import nearest, power_step, real_step
from hwlut.quant.observer import Observer, averaged, observer
from hwlut.quant.options import Options
from hwlut.quant.state import Wanted, WithState
from hwlut.quant.steps import PowerOfTwoSteps, RealSteps

__all__ = ["Quantizer"]


class Quantizer(WithState):
    """A real value x to ``round_half_even(x / step) + zero_point``, saturated to the codes of a format, and back.

    Zero is always exactly a code, and the whole code range serves: -128 too, without a zero point. Called on real
    values, the module returns them quantized and dequantized, with the straight-through gradient: 1 where the code
    lies in the range before it is saturated, else 0.

    Parameters
    ----------
    format: bits (2 to 24) and sign of the codes; with a frac, that is the scale s of the one step 2^-s.
    scales: ascending exponents from -62 to 62 that powers of two are chosen from; by default -16 to 30.
    steps: "power_of_two", 2^-s, or "real", any float32 from 2^-126.
    symmetric: whether zero is always the code 0. Else the zero point follows the range, which the codes then fill.
    granularity, axis: what shares a step: a whole "tensor"; a "channel" along `axis`; a "token", a vector along the
        last dimension (only with a dynamic source).
    source: where steps come from. "static": calibration. "learned": calibration, and then gradient descent, by Esser
        et al., "Learned Step Size Quantization" (ICLR 2020, arXiv 1902.08153) for real steps, and by Jain et al.,
        "Trained Quantization Thresholds" (MLSys 2020, arXiv 1903.08066) for powers of two, the rounding of s passed
        straight through; the zero point stays. "dynamic": the range of each input itself.
    method: how the values seen make a step. "minmax": the finest that saturates none; "percentile": the finest that
        saturates no more than the rest of `percentile`, see `Percentile`; "mse": that of least squared error, see
        `LeastError`; "ema" (only static): "minmax" of running averages of the ranges of batches, which also follow
        every batch of training until `freeze`. By default "mse", and "minmax", the only one, for a dynamic source.
    percentile: above 0, at most 100.
    momentum: share of the newest range in the averages of "ema", above 0, at most 1.

    The state lies on the module's device and a forward never waits for it; it keeps its type under `.half()`. One
    number, or one a channel: `scale` (int32, s), the parameter `exponent` (its nearest integer in `scales` is s) or
    `step` (float32; a parameter where learned); `zero_point` (int32) unless symmetric; `low` and `high` (float32) with
    "ema", and `frozen` (uint8, 0 or 1): a loaded state follows training where it did when it was saved. A state loaded
    from a file is taken as calibrated; one with impossible numbers or shapes is refused.
    """

    _main: str
    choices: torch.Tensor
    scale: torch.Tensor
    exponent: torch.Tensor
    step: torch.Tensor
    zero_point: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    frozen: torch.Tensor

    def __init__(
        self,
        format: Fixed,
        scales: Sequence[int] | None = None,
        *,
        steps: str = "power_of_two",
        symmetric: bool = True,
        granularity: str = "tensor",
        axis: int = 0,
        source: str = "static",
        method: str | None = None,
        percentile: float = 99.9,
        momentum: float = 0.1,
    ):
        super().__init__(rows=granularity == "channel")
        options = Options(format, scales, steps, symmetric, granularity, source, method, percentile, momentum)
        self.scales = options.chosen_scales
        self.format = Fixed(format.bits, signed=format.signed)
        self.symmetric = symmetric
        self.source = source
        self.method = options.chosen_method
        self.percentile = percentile
        self.momentum = momentum
        self.granularity = Granularity(granularity, axis)
        self.steps: RealSteps | PowerOfTwoSteps = RealSteps(self.format, symmetric)
        if steps == "power_of_two":
            self.steps = PowerOfTwoSteps(self.format, symmetric, self.scales)
        self.observer: Observer | None = None
        self.observing = False
        self.following = self.method == "ema"
        self.reached = False
        self._make_state()

    @property
    def learned(self) -> bool:
        """Whether the step is a parameter."""
        return self.source == "learned"

    @property
    def single_scale(self) -> bool:
        """Whether the step is one kept power of two for all values, and zero the code 0."""
        kept = self.source != "dynamic" and isinstance(self.steps, PowerOfTwoSteps)
        return kept and self.symmetric and self.granularity.kind == "tensor"

    @property
    def calibrates(self) -> bool:
        """Whether there is a step to choose by calibration."""
        if self.source == "dynamic":
            return False
        return not self.single_scale or len(self.scales) > 1

    def start(self) -> None:
        """Observe the values of every forward, until `freeze`; a dynamic quantizer has nothing to observe."""
        self.reached = False
        if self.source != "dynamic":
            self.observing, self.observer = True, observer(self.method, self.percentile)

    def observe(self, x: torch.Tensor) -> None:
        """Take in real values, and choose the step by all those since `start` (here, unless it was called).

        ValueError for a value that is not finite, where there is none at all, or for another number of channels.
        """
        check_tensor(x)
        if self.source == "dynamic":
            return
        real = x.detach().float()
        if not bool(real.isfinite().all()):
            raise ValueError("calibration values must be finite")
        if not x.numel():
            if not self.reached:
                raise ValueError("calibration must see at least one value")
            return
        if self.method == "ema":
            self._average(x)
        else:
            self._check_channels(x)
            seen = self.observer or observer(self.method, self.percentile)
            seen.observe(self.granularity.rows(real))
            shape = self.granularity.shape(x)
            self._choose(*(chosen.view(shape) for chosen in seen.choose(self.steps)))
        self.reached = True

    def follow(self, x: torch.Tensor) -> None:
        """What a forward on `x` does first: observe it after `start`, or follow it in training.

        For modules that call `quantize` or `codes`, which leave the step as it is, in the place of the quantizer.
        Following, nothing waits for the device, and values that are not finite are left out.
        """
        check_tensor(x)
        if self.observing:
            self.observe(x)
        elif self.following and self.training and x.numel():
            self._average(x)

    def settle(self) -> None:
        """Nothing: the step is chosen as values are observed."""

    def freeze(self) -> None:
        """Keep the step and forget the values seen; training does not change it any more."""
        self.observer = None
        self.observing = False
        self._follow(False)

    def unfreeze(self) -> None:
        """Follow the batches of training, from the present averages. Only "ema" does; others stay as they are."""
        self._follow(True)

    def _follow(self, following: bool) -> None:
        if self.method == "ema":
            self.following = following
            self.frozen.fill_(not following)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        if self.method == "ema" and not self.frozen.is_meta:
            self.following = not bool(self.frozen)

    def current_scale(self) -> torch.Tensor:
        """s of the power-of-two step, int32, one or one a channel, on the module's device.

        RuntimeError before calibration, and for steps that are real or dynamic.
        """
        if isinstance(self.steps, RealSteps) or self.source == "dynamic":
            raise RuntimeError("Quantizer scale must be a kept power of two, not a real or dynamic step")
        self._check_calibrated()
        return nearest(self.exponent, self.choices) if self.learned else self.scale

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
        step, zero_point = self._steps_of(x)
        return fake_quantized(x, step, zero_point, self.format, margin=isinstance(self.steps, PowerOfTwoSteps))

    def _steps_of(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The step of each value, with its gradient where it is learned, and the zero point, where there is one."""
        check_tensor(x)
        zero_point = None
        if self.source == "dynamic":
            low, high = self.granularity.bounds(x)
            step = self.steps.holding(low, high)
            if not self.symmetric:
                zero_point = self.granularity.spread(self.steps.zero_point(low, high, step), x)
            return self.granularity.spread(step, x), zero_point
        if isinstance(self.steps, PowerOfTwoSteps):
            scale = self.current_scale()
            step = power_step(self.exponent, scale) if self.learned else power_of_two(-scale)
        else:
            self._check_calibrated()
            step = self.step
            if self.learned:
                step = real_step(step, x.numel() // max(step.numel(), 1), self.format)
        if not self.symmetric:
            zero_point = self.granularity.spread(self.zero_point, x)
        return self.granularity.spread(step, x), zero_point

    def _average(self, x: torch.Tensor) -> None:
        self._check_channels(x)
        momentum = 1.0 if self.observing and not self.reached else self.momentum
        low, high = averaged(self.low, self.high, self.granularity.bounds(x), momentum)
        self._put("low", low)
        self._put("high", high)
        step = self.steps.holding(low, high)
        self._choose(step, self.steps.zero_point(low, high, step))

    def _check_channels(self, x: torch.Tensor) -> None:
        if self.calibrated and self.granularity.kind == "channel":
            self.granularity.spread(getattr(self, self._main), x)

    def _check_calibrated(self) -> None:
        if not self.calibrated:
            raise RuntimeError("Quantizer scale must be calibrated first, by hwlut.quant.calibrate")

    def _choose(self, step: torch.Tensor, zero_point: torch.Tensor) -> None:
        """Take a step and a zero point for each group as the state."""
        if isinstance(self.steps, PowerOfTwoSteps):
            step = 127 - (step.view(torch.int32) >> 23)  # its scale
        self._put(self._main, step)
        if not self.symmetric:
            self._put("zero_point", zero_point)
        self.calibrated = True

    def _make_state(self) -> None:
        """Numbers that are to be chosen; what is given already is known."""
        if self.source == "dynamic":
            self.calibrated = True
            return
        real = isinstance(self.steps, RealSteps)
        self._main = "step" if real else "exponent" if self.learned else "scale"
        known = None if self.calibrates else self.scales[0]
        wanted = {
            "step": Wanted("a finite positive number", low=2.0**-149),
            "exponent": Wanted("a finite number"),
            "scale": Wanted(f"one of {shorten(self.scales)}", among=self.scales),
        }
        self._hold(self._main, wanted[self._main], known, integer=self._main == "scale", learned=self.learned)
        if not real:
            self.register_buffer("choices", torch.tensor(self.scales, dtype=torch.int32), persistent=False)
        if not self.symmetric:
            low, high = self.format.min, self.format.max
            self._hold("zero_point", Wanted(f"an integer from {low} to {high}", low, high, whole=True))
        if self.method == "ema":
            self._hold("low", Wanted("finite and at most 0", high=0), integer=False)
            self._hold("high", Wanted("finite and at least 0", low=0), integer=False)
            self.register_buffer("frozen", torch.zeros((), dtype=torch.uint8))

    def extra_repr(self) -> str:
        words = [str(self.format), *self.granularity.words()]
        if not self.symmetric:
            words.append("asymmetric")
        if not self.single_scale:
            words.append("real steps" if isinstance(self.steps, RealSteps) else "power-of-two steps")
        elif self.calibrated:
            words.append(f"scale {int(self.current_scale())}")
        else:
            words.append(f"scale one of {self.scales[0]} to {self.scales[-1]}")
        if self.source != "static":
            words.append(self.source)
        return ", ".join(words)
