"""The options of a quantizer: which there are, and which do not go together."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.quant.formats import Format, Minifloat
from hwlut.quant.granularity import Granularity
from hwlut.quant.steps import MicroscalingSteps, MultiplierSteps, PowerOfTwoSteps, RealSteps, Steps

__all__ = ["Options"]

_STEPS = ("power_of_two", "real", "multiplier")
_SOURCES = ("static", "dynamic", "learned")
_METHODS = ("minmax", "ema", "percentile", "mse", "mx")
_SCALES = tuple(range(-16, 31))
_EVERY_SCALE = tuple(range(-127, 127))  # of normal float32 steps
_BITS_LIMIT = 24  # float32 holds every code
_MULTIPLIER_BITS = 8


@dataclass(frozen=True)
class Options:
    """What `Quantizer` documents, once it is found to make sense: TypeError for the kind, ValueError for the value."""

    format: Format
    scales: Sequence[int] | None
    steps: str
    symmetric: bool
    granularity: str
    axis: int | None
    block: int | None
    source: str
    method: str | None
    percentile: float
    momentum: float
    multiplier_bits: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.format, Format):
            raise TypeError(f"Quantizer format must be a Fixed or a Minifloat, not {shorten(self.format)}")
        if not 2 <= self.format.bits <= _BITS_LIMIT:
            raise ValueError(f"Quantizer format bits must be from 2 to {_BITS_LIMIT}, not {self.format.bits}")
        if not isinstance(self.symmetric, bool):
            raise TypeError(f"Quantizer symmetric must be true or false, not {shorten(self.symmetric)}")
        _check_word("steps", self.steps, _STEPS)
        _check_word("source", self.source, _SOURCES)
        _check_word("method", self.chosen_method, _METHODS)
        _check_share("percentile", self.percentile, 100)
        _check_share("momentum", self.momentum, 1)
        if self.multiplier_bits is not None:
            _check_multiplier(self.multiplier_bits, self.steps)
        self._check_together()

    def _check_together(self) -> None:
        one = self.steps == "power_of_two" and self.symmetric and self.granularity == "tensor"
        if isinstance(self.format, Minifloat) and not self.symmetric:
            raise ValueError(f"Quantizer symmetric must be true for a Minifloat, such as {self.format}, not false")
        frac = self.frac
        if frac is not None and (self.scales is not None or not one or self.source != "static"):
            raise ValueError(f"Quantizer format must have no frac where the scale is chosen, not {frac}")
        if self.steps != "power_of_two" and self.scales is not None:
            raise ValueError(
                f"Quantizer scales must be left out where steps are {self.steps}, not {shorten(self.scales)}"
            )
        if self.granularity in ("token", "block") and self.source != "dynamic":
            raise ValueError(
                f"Quantizer source must be dynamic where each {self.granularity} has its step, not {self.source}"
            )
        if self.source == "dynamic" and self.chosen_method not in ("minmax", "mx"):
            raise ValueError(f"Quantizer method must be minmax or mx where the source is dynamic, not {self.method}")
        if self.source == "learned" and self.method == "ema":
            raise ValueError("Quantizer method must be one of minmax, percentile, mse where steps are learned, not ema")
        if self.method == "mx":
            self._check_microscaling()

    def _check_microscaling(self) -> None:
        for label, value, wanted in (("source", self.source, "dynamic"), ("steps", self.steps, "power_of_two")):
            if value != wanted:
                raise ValueError(f"Quantizer {label} must be {wanted} where the method is mx, not {value}")
        if self.scales is not None:
            raise ValueError(f"Quantizer scales must be left out where the method is mx, not {shorten(self.scales)}")
        if not (self.format.signed and self.symmetric):
            raise ValueError("Quantizer format must be signed and symmetric where the method is mx")

    @property
    def frac(self) -> int | None:
        """The exponent that the format itself gives its steps."""
        return self.format.frac if isinstance(self.format, Fixed) else None

    @property
    def chosen_method(self) -> str:
        """The method, by default the least squared error, which a dynamic source has no time for."""
        return self.method or ("minmax" if self.source == "dynamic" else "mse")

    @property
    def chosen_granularity(self) -> Granularity:
        return Granularity(self.granularity, self.axis, self.block)

    @property
    def chosen_steps(self) -> Steps:
        """What a step can be, of codes without a point."""
        format = Fixed(self.format.bits, signed=self.format.signed) if isinstance(self.format, Fixed) else self.format
        if self.method == "mx":
            return MicroscalingSteps(format, True, _EVERY_SCALE)
        if self.steps == "power_of_two":
            return PowerOfTwoSteps(format, self.symmetric, self.chosen_scales)
        if self.steps == "multiplier":
            return MultiplierSteps(format, self.symmetric, self.multiplier_bits or _MULTIPLIER_BITS)
        return RealSteps(format, self.symmetric)

    @property
    def chosen_scales(self) -> tuple[int, ...]:
        """The exponents to choose from: that of the format, those given, or -16 to 30."""
        if self.frac is not None:
            return (self.frac,)
        if self.scales is None:
            return _SCALES
        if not all(isinstance(scale, int) and not isinstance(scale, bool) for scale in self.scales):
            raise TypeError(f"Quantizer scales must be integers, not {shorten(self.scales)}")
        scales = tuple(self.scales)
        ascending = all(a < b for a, b in zip(scales, scales[1:]))
        if not scales or not ascending or not -62 <= scales[0] <= scales[-1] <= 62:
            raise ValueError(
                f"Quantizer scales must be ascending from -62 to 62 and at least one, not {shorten(self.scales)}"
            )
        return scales


def _check_word(label: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"Quantizer {label} must be one of {', '.join(known)}, not {shorten(value)}")


def _check_multiplier(bits: object, steps: str) -> None:
    if steps != "multiplier":
        raise ValueError(f"Quantizer multiplier_bits must be left out where steps are {steps}, not {shorten(bits)}")
    if isinstance(bits, bool) or not isinstance(bits, int):
        raise TypeError(f"Quantizer multiplier_bits must be an integer, not {shorten(bits)}")
    if not 1 <= bits <= 23:
        raise ValueError(f"Quantizer multiplier_bits must be from 1 to 23, not {bits}")


def _check_share(label: str, value: object, top: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Quantizer {label} must be a number, not {shorten(value)}")
    if not 0 < value <= top:
        raise ValueError(f"Quantizer {label} must be above 0 and at most {top}, not {value}")
