"""The options of a quantizer: which there are, and which do not go together."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwlut.fields import shorten
from hwlut.fixed import Fixed

__all__ = ["Options"]

_STEPS = ("power_of_two", "real")
_SOURCES = ("static", "dynamic", "learned")
_METHODS = ("minmax", "ema", "percentile", "mse")
_SCALES = tuple(range(-16, 31))
_BITS_LIMIT = 24  # float32 holds every code


@dataclass(frozen=True)
class Options:
    """What `Quantizer` documents, once it is found to make sense: TypeError for the kind, ValueError for the value."""

    format: Fixed
    scales: Sequence[int] | None
    steps: str
    symmetric: bool
    granularity: str
    source: str
    method: str | None
    percentile: float
    momentum: float

    def __post_init__(self) -> None:
        if not isinstance(self.format, Fixed):
            raise TypeError(f"Quantizer format must be a Fixed, not {shorten(self.format)}")
        if not 2 <= self.format.bits <= _BITS_LIMIT:
            raise ValueError(f"Quantizer format bits must be from 2 to {_BITS_LIMIT}, not {self.format.bits}")
        if not isinstance(self.symmetric, bool):
            raise TypeError(f"Quantizer symmetric must be true or false, not {shorten(self.symmetric)}")
        _check_word("steps", self.steps, _STEPS)
        _check_word("source", self.source, _SOURCES)
        _check_word("method", self.chosen_method, _METHODS)
        _check_share("percentile", self.percentile, 100)
        _check_share("momentum", self.momentum, 1)
        self._check_together()

    def _check_together(self) -> None:
        one = self.steps == "power_of_two" and self.symmetric and self.granularity == "tensor"
        if self.format.frac is not None and (self.scales is not None or not one or self.source != "static"):
            raise ValueError(f"Quantizer format must have no frac where the scale is chosen, not {self.format.frac}")
        if self.steps == "real" and self.scales is not None:
            raise ValueError(f"Quantizer scales must be left out where steps are real, not {shorten(self.scales)}")
        if self.granularity == "token" and self.source != "dynamic":
            raise ValueError(f"Quantizer source must be dynamic where each token has its step, not {self.source}")
        if self.source == "dynamic" and self.chosen_method != "minmax":
            raise ValueError(f"Quantizer method must be minmax where the source is dynamic, not {self.method}")
        if self.source == "learned" and self.method == "ema":
            raise ValueError("Quantizer method must be one of minmax, percentile, mse where steps are learned, not ema")

    @property
    def chosen_method(self) -> str:
        """The method, by default the least squared error, which a dynamic source has no time for."""
        return self.method or ("minmax" if self.source == "dynamic" else "mse")

    @property
    def chosen_scales(self) -> tuple[int, ...]:
        """The exponents to choose from: that of the format, those given, or -16 to 30."""
        if self.format.frac is not None:
            return (self.format.frac,)
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


def _check_share(label: str, value: object, top: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Quantizer {label} must be a number, not {shorten(value)}")
    if not 0 < value <= top:
        raise ValueError(f"Quantizer {label} must be above 0 and at most {top}, not {value}")
