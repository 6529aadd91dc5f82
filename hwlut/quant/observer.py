"""What calibration remembers of the values it has seen: how well each scale would have served."""

from collections.abc import Sequence

import torch

from hwlut.fields import shorten
from hwlut.fixed import Fixed

__all__ = ["Observer"]

_METHODS = ("minmax", "percentile", "mse")
_CUT_OFF = 1000  # one value in so many may be cut off by "percentile"


class Observer:
    """Chooses among power-of-two scales by the values shown to it, batch after batch.

    For each scale it counts the values that the code range would cut off, and sums the squared errors of
    quantization, so its choice is that over all values at once and nothing has to be stored.

    Parameters
    ----------
    format: bits and sign of the codes.
    scales: ascending exponents s, of the scale 2^-s.
    method: "minmax" takes the finest scale that cuts off nothing, "percentile" the finest that cuts off at most
        0.1 % of the values, "mse" the one of least squared error. Where every scale cuts off too much, the coarsest.
    """

    def __init__(self, format: Fixed, scales: Sequence[int], method: str = "mse"):
        if method not in _METHODS:
            raise ValueError(f"Observer method must be one of {', '.join(_METHODS)}, not {shorten(method)}")
        self.format = format
        self.scales = tuple(scales)
        self.method = method
        self.count = 0
        self._cut = torch.zeros(len(self.scales), dtype=torch.float64)
        self._error = torch.zeros(len(self.scales), dtype=torch.float64)

    @torch.no_grad()
    def observe(self, x: torch.Tensor) -> None:
        """Take in real values of any shape; ValueError where one is not finite."""
        real = x.detach().float()
        if not bool(real.isfinite().all()):
            raise ValueError("calibration values must be finite")
        self.count += real.numel()
        for place, scale in enumerate(self.scales):
            codes = torch.round(real * 2.0**scale)
            held = codes.clamp(self.format.min, self.format.max)
            self._cut[place] += float((held != codes).sum())
            self._error[place] += float((held * 2.0**-scale - real).double().square().sum())

    def choose(self) -> int:
        """The scale that served best; ValueError where no value has been seen."""
        if not self.count:
            raise ValueError("calibration must see at least one value")
        if self.method == "mse":
            # Of scales that serve equally well, the coarsest: it cuts off least of what is yet to come.
            return self.scales[int(self._error.argmin())]
        allowed = 0 if self.method == "minmax" else self.count // _CUT_OFF
        fitting = [scale for scale, cut in zip(self.scales, self._cut.tolist()) if cut <= allowed]
        return max(fitting, default=self.scales[0])
