"""Pictures of multipliers: the error of every pair of codes, and its mean along each operand."""

from typing import TYPE_CHECKING

import numpy as np

from hwlut.fixed import Fixed
from hwlut.plot.figure import figure
from hwlut.units.multiplier import Multiplier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__: list[str] = []

_MOST = 512


@figure.register(Multiplier)
def _(unit: Multiplier, domain: tuple[float, float] | None = None) -> "Figure":
    """A heat map of m(a, b) - a b, with the mean of it over the other operand above and to the right.

    Of more than 2^18 pairs, 512 codes of an operand of more than 9 bits, drawn evenly from its range. The title has
    the metrics over all pairs, or of a sample where there are more than 2^24.
    """
    import torch
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if domain is not None:
        raise ValueError(f"Multiplier domain must not be given, not {domain[0]:g} to {domain[1]:g}")
    most_codes = _MOST if unit.pairs > _MOST**2 else unit.pairs
    a, b = _codes(unit.a, most_codes), _codes(unit.b, most_codes)
    error = (unit(torch.from_numpy(a)[:, None], torch.from_numpy(b)).numpy() - np.outer(a, b)).astype(np.float64)
    most = max(float(np.abs(error).max()), 1.0)
    picture = Figure(figsize=(9.5, 8), dpi=120, layout="constrained")
    grid = picture.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    surface = picture.add_subplot(grid[1, 0])
    above = picture.add_subplot(grid[0, 0], sharex=surface)
    right = picture.add_subplot(grid[1, 1], sharey=surface)
    mesh = surface.pcolormesh(b, a, error, cmap="RdBu_r", vmin=-most, vmax=most, shading="nearest", rasterized=True)
    for axes in (above, right):
        axes.tick_params(labelbottom=axes is right, labelleft=axes is above)
    above.plot(b, error.mean(axis=0), color="black", linewidth=1)
    above.axhline(0, color="gray", linewidth=0.7, linestyle=":")
    right.plot(error.mean(axis=1), a, color="black", linewidth=1)
    right.axvline(0, color="gray", linewidth=0.7, linestyle=":")
    above.set(ylabel="mean error\nover a")
    right.set(xlabel="mean error over b")
    surface.set(xlabel=f"b ({unit.b})", ylabel=f"a ({unit.a})")
    drawn = "" if error.size == unit.pairs else f", {error.size} of 2^{unit.a.bits + unit.b.bits} pairs"
    bar = picture.colorbar(mesh, ax=surface, location="bottom", aspect=40, label=f"m(a, b) - a b{drawn}")
    for axis in (bar.ax.xaxis, above.yaxis, right.xaxis):
        axis.set_major_formatter(_short)
    right.xaxis.set_major_locator(MaxNLocator(3))
    picture.suptitle(f"{unit.name}: {unit.family.value}{_summary(unit)}")
    return picture


def _codes(format: Fixed, most: int) -> np.ndarray:
    """All codes, or `most` of them, ends included."""
    count = min(1 << format.bits, most)
    return np.linspace(format.min, format.max, count).round().astype(np.int64)


def _short(value: float, place: float) -> str:
    """A number of an axis, where there is no room for many digits."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")(value) if abs(value) >= 1000 else f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _summary(unit: Multiplier) -> str:
    found = unit.metrics()
    errors = f"NMED {found.nmed:.3g}, WCE {found.wce}, EP {found.ep:.3g}, MRED {found.mred:.3g}, bias {found.bias:.3g}"
    return f", {errors}" if found.exhaustive else f" (a sample), {errors}"
