"""What the codes of a value stand for while a model becomes a program."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.quant import Quantizer, RangedQuantizer

__all__ = ["FAR", "INFINITE", "MASKED", "Grid", "Number", "far_codes", "grid_of"]

_MOST_FRAC = 62
"""Of a `Fixed`: numbers of finer steps count as 0."""

FAR = float(1 << 28)
"""Codes, and numbers, as which greater ones count."""

INFINITE = 1e30
"""From which on numbers stand for infinity, as in masks."""

MASKED = -65536.0
"""What minus infinity counts as in a mask by itself: far below all scores."""


@dataclass(frozen=True)
class Grid:
    """Codes of `format` (no frac) that stand for ``(code - zero) * step``."""

    format: Fixed
    step: float
    zero: int = 0

    @classmethod
    def binary(cls, format: Fixed) -> "Grid":
        """The grid of a format with a frac."""
        return cls(Fixed(format.bits, signed=format.signed), math.ldexp(1.0, -format.frac))

    @classmethod
    def holding(cls, low: float, high: float, bits: int) -> "Grid":
        """Powers of two as steps, so that twice the range from `low` to `high` has signed codes."""
        most = max(abs(low), abs(high)) or 1.0
        frac = bits - 2 - math.frexp(most)[1]
        return cls(Fixed(bits), math.ldexp(1.0, -min(frac, _MOST_FRAC)))

    @property
    def fixed(self) -> Fixed:
        """The format with its frac, of a step that is a power of two; ValueError for one that has none."""
        frac = 1 - math.frexp(self.step)[1]
        if not 0 <= frac <= _MOST_FRAC:
            raise ValueError(f"numbers must have steps from 2^-{_MOST_FRAC} to 1, not {self.step:g}; scale them before")
        return Fixed(self.format.bits, frac, self.format.signed)

    @property
    def unit(self) -> "Grid":
        """The same codes with a step of at most 1."""
        return Grid(self.format, min(self.step, 1.0), self.zero)


@dataclass(frozen=True)
class Number:
    """A value of the program, whose code c stands for ``c * scale + offset``.

    name: of the value. dims: dimensions of its tensor. scale, offset: float64, one number or [channels] along `axis`,
    which counts from 0.
    """

    name: str
    dims: int
    scale: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    axis: int | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "offset"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))

    @classmethod
    def on(cls, name: str, dims: int, grid: Grid) -> "Number":
        """A value whose codes are those of a grid."""
        return cls(name, dims, np.array(grid.step), np.array(-grid.zero * grid.step))

    def along(self, values: np.ndarray) -> np.ndarray:
        """`values`, one or one a channel, in a shape that broadcasts against the value."""
        if self.axis is None or values.ndim == 0:
            return values
        return values.reshape(-1, *(1,) * (self.dims - 1 - self.axis))

    def real(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 numbers of codes, rounded once from float64."""
        scale, offset = (
            torch.from_numpy(self.along(each).copy()).to(codes.device) for each in (self.scale, self.offset)
        )
        return torch.addcmul(offset, codes.double(), scale).float()


def far_codes(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Real constants as steps of a grid, also far beyond its codes, up to 2^28: as which infinity counts, too."""
    return np.rint(np.clip(values / grid.step, -FAR, FAR))


def grid_of(quantizer: Quantizer) -> Grid:
    """The grid of activations that `quantizer` has now.

    Raises ValueError for what is no grid of integers: steps that follow each input or lie along channels, minifloats,
    and quantizers without a step yet.
    """
    if quantizer.source == "dynamic" or quantizer.granularity.kind != "tensor":
        raise ValueError(f"activations must have one step that is kept, not {quantizer.extra_repr()}")
    if not quantizer.calibrated:
        raise ValueError("activations must be calibrated, by hwlut.quant.calibrate")
    if isinstance(quantizer, RangedQuantizer) and not quantizer.fixed:
        raise ValueError("activations must have a fixed number of bits, by hwlut.nn.quantized.fix_ranges")
    format = quantizer.format
    if not isinstance(format, Fixed):
        raise ValueError(f"activations must have integer codes, not those of {format}")
    state = next((each for each in (*quantizer.parameters(), *quantizer.buffers())), torch.zeros(1))
    _, step, zero = quantizer.quantize(torch.zeros(1, device=state.device))
    return Grid(Fixed(format.bits, signed=format.signed), float(step), int(zero))
