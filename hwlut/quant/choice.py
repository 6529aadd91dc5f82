"""The step of a quantizer, kept: chosen by the values that are observed, followed in training, checked when loaded."""

from collections.abc import Sequence
from typing import Any

import torch

from hwlut.fields import shorten
from hwlut.quant.granularity import check_tensor
from hwlut.quant.learned import nearest
from hwlut.quant.observer import Observer, averaged, observer
from hwlut.quant.options import Options
from hwlut.quant.state import Wanted, WithState
from hwlut.quant.steps import SMALLEST_STEP, MultiplierSteps, PowerOfTwoSteps, RealSteps

__all__ = ["WithSteps", "observe_together"]


class WithSteps(WithState):
    """What a `Quantizer` is made of but the arithmetic: its options, and steps and zero points that values choose."""

    _main: str
    choices: torch.Tensor
    scale: torch.Tensor
    exponent: torch.Tensor
    step: torch.Tensor
    zero_point: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    frozen: torch.Tensor

    def __init__(self, options: Options):
        super().__init__(rows=options.granularity == "channel")
        self.scales = options.chosen_scales
        self.symmetric = options.symmetric
        self.source = options.source
        self.method = options.chosen_method
        self.percentile = options.percentile
        self.momentum = options.momentum
        self.granularity = options.chosen_granularity
        self.steps = options.chosen_steps
        self.format = self.steps.format
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
        observe_together([self], x)

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

    def _learn(self, x: torch.Tensor, seen: Observer | None) -> None:
        """Choose the step by what has been seen, `x` among it; without that, follow `x`."""
        if seen is None:
            self._average(x)
        else:
            shape = self.granularity.shape(x)
            self._choose(*(chosen.view(shape) for chosen in seen.choose(self.steps)))
        self.reached = True

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
        if isinstance(self.steps, MultiplierSteps) and not self.learned:
            bits = self.steps.bits
            wanted["step"] = Wanted(f"m * 2^-k with m below 2^{bits}", low=SMALLEST_STEP, bits=bits)
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
            words.append(self.steps.words())
        elif self.calibrated:
            words.append(f"scale {int(self.current_scale())}")
        else:
            words.append(f"scale one of {self.scales[0]} to {self.scales[-1]}")
        if self.source != "static":
            words.append(self.source)
        return ", ".join(words)


def observe_together(quantizers: Sequence[WithSteps], x: torch.Tensor) -> None:
    """Let each observe real values, as `WithSteps.observe` has it.

    Those that see their first values since `start` here, and agree in all but format and kind of step, remember these
    and all that follow only once.
    """
    check_tensor(x)
    kept = [each for each in quantizers if each.source != "dynamic"]
    if not kept:
        return
    real = x.detach().float()
    if not bool(real.isfinite().all()):
        raise ValueError("calibration values must be finite")
    if not x.numel():
        if not all(each.reached for each in kept):
            raise ValueError("calibration must see at least one value")
        return
    begun: dict[Any, Observer] = {}
    told = set[int]()
    for each in kept:
        if each.method == "ema":
            each._learn(x, None)
            continue
        each._check_channels(x)
        seen = each.observer or observer(each.method, each.percentile)
        if each.observer is not None and not each.reached:
            seen = each.observer = begun.setdefault((each.granularity, each.method, each.percentile), seen)
        if id(seen) not in told:
            told.add(id(seen))
            seen.observe(each.granularity.rows(real))
        each._learn(x, seen)
