"""What a static quantizer remembers of the values it has seen, and the range or step it makes of them."""

from fractions import Fraction
from typing import Protocol

import torch

from hwlut.quant.affine import fake_quantized
from hwlut.quant.distribution import Distribution
from hwlut.quant.steps import Steps

__all__ = ["Extremes", "LeastError", "Observer", "Percentile", "averaged", "observer"]

_TOGETHER = 1 << 18  # values that are tried at once

Pair = tuple[torch.Tensor, torch.Tensor]


class Observer(Protocol):
    """Values in, batch after batch; a step out, over all values at once. Groups are rows."""

    def observe(self, rows: torch.Tensor) -> None:
        """Take in finite values [groups, any number but 0]."""

    def choose(self, steps: Steps) -> Pair:
        """The step and the zero point of each group: float32 and int32, [groups]."""


class Extremes:
    """The step that holds every value."""

    def __init__(self) -> None:
        self.low: torch.Tensor | None = None
        self.high: torch.Tensor | None = None

    def observe(self, rows: torch.Tensor) -> None:
        low, high = rows.float().aminmax(dim=1)
        low, high = low.clamp(max=0), high.clamp(min=0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def range(self) -> Pair:
        """The least and the greatest value of each group, and zero between them."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def choose(self, steps: Steps) -> Pair:
        return _pair(steps, *self.range())


class _Distributed:
    """Remembers the extremes and the distribution of the values."""

    def __init__(self) -> None:
        self.extremes = Extremes()
        self.distribution: Distribution | None = None

    def observe(self, rows: torch.Tensor) -> None:
        self.extremes.observe(rows)
        self.distribution = self.distribution or Distribution(len(rows), rows.device)
        self.distribution.add(rows)


class Percentile(_Distributed):
    """The step that holds a percentage of the values.

    With a zero point, as many of the rest lie above the range as below it. Without, the values are ranked by
    magnitude; negative values, where there are no negative codes, count as zero. The bounds are values that were
    seen, as numpy's percentile by the method "inverted_cdf" has them, or within `Distribution.error` of such.
    """

    def __init__(self, percent: float):
        super().__init__()
        self.percent = Fraction(str(percent))

    def choose(self, steps: Steps) -> Pair:
        seen = self.distribution
        assert seen is not None
        low, high = self.extremes.range()
        if steps.symmetric:
            values = seen.values.abs() if steps.format.signed else seen.values.clamp(min=0)
            end = seen.percentile(values, self.percent)
            first, last = -end, end
        else:
            each = (100 + self.percent) / 2
            first, last = -seen.percentile(-seen.values, each), seen.percentile(seen.values, each)
        return _pair(steps, torch.maximum(first, low).clamp(max=0), torch.minimum(last, high).clamp(min=0))


class LeastError(_Distributed):
    """The step of least squared error: of powers of two, each is tried; else hundredths of the one that holds all."""

    def choose(self, steps: Steps) -> Pair:
        seen = self.distribution
        assert seen is not None
        low, high = self.extremes.range()
        values, one = seen.values, seen.size == 1
        least = torch.full(low.shape, torch.inf, dtype=torch.float64, device=low.device)
        best = steps.holding(low, high)
        together = max(1, _TOGETHER // max(1, len(values)))
        for some in torch.stack(list(steps.candidates(low, high))).split(together):
            zeros = None if steps.symmetric else steps.zero_point(low, high, some)
            each, zero = (part if one or part is None else part[:, seen.groups] for part in (some, zeros))
            assert each is not None
            held = fake_quantized(values.expand(len(some), -1), each, zero, steps.format, margin=False)
            errors = seen.sums(held.sub_(values).double().square_())
            for step, error in zip(some, errors):
                # Of steps that serve equally well, the coarsest: it cuts off least of what is yet to come.
                best = torch.where(error < least, step, best)
                least = torch.minimum(error, least)
        return best, steps.zero_point(low, high, best)


def observer(method: str, percentile: float) -> Observer:
    """A new one for a method of `Quantizer`."""
    if method == "percentile":
        return Percentile(percentile)
    return LeastError() if method == "mse" else Extremes()


def averaged(low: torch.Tensor, high: torch.Tensor, bounds: Pair, momentum: float) -> Pair:
    """The running averages after one more range: ``(1 - momentum) * average + momentum * bound``.

    Averages that are NaN, or of no groups, are none yet, and start at the range.
    """
    if low.shape != bounds[0].shape:
        return bounds
    return (
        torch.where(low.isnan(), bounds[0], torch.lerp(low, bounds[0], momentum)),
        torch.where(high.isnan(), bounds[1], torch.lerp(high, bounds[1], momentum)),
    )


def _pair(steps: Steps, low: torch.Tensor, high: torch.Tensor) -> Pair:
    step = steps.holding(low, high)
    return step, steps.zero_point(low, high, step)
