"""Pictures of units of a function: it, the unit's results, their difference, the breakpoints."""

import math
from typing import TYPE_CHECKING

import numpy as np

from hwlut.accuracy import accuracy, approximating, fitted_domain, held, samples
from hwlut.functions import function
from hwlut.unit import Unit
from hwlut.units.direct import Direct
from hwlut.units.program import Program
from hwlut.units.pwl import Pwl, Symmetry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["function_figure"]


def function_figure(unit: Unit, domain: tuple[float, float] | None = None) -> "Figure":
    """A picture of `unit` over `domain`, by default the surroundings of its breakpoints.

    Above: the function as a line and the unit's result at the codes of every scale. Below: their
    difference, with the errors over `domain` (or the function's own) in the legend. Vertical lines
    are the breakpoints before they are rounded to codes.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    table = approximating(unit)
    rows = accuracy(table, domain)
    low, high = _surroundings(table) if domain is None else domain
    target = function(table.function or "")
    counted = fitted_domain(table) if domain is None else domain
    picture = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    above, below = picture.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x = np.linspace(low, high, 2001)
    exact = target(x)
    exact[~held(table, exact)] = math.nan
    above.plot(x, exact, color="black", linewidth=1, zorder=4, label=f"{target.name}, exact")
    for row in rows:
        points = samples(table, row.scale, (low, high))
        color = colormaps["viridis"](0.92 * row.scale / max(table.scales[-1], 1))
        coarse_on_top = {"color": color, "markersize": 3, "zorder": 2 + 1 / (1 + row.scale)}
        above.plot(points.x, points.result, "o", label=f"unit, scale {row.scale}", **coarse_on_top)
        label = f"{row.scale}: mse {row.mse:.2g}, max {row.max_error:.2g}"
        below.plot(points.x, points.result - points.target, "o", label=label, **coarse_on_top)
    for axes in (above, below):
        for place in _breakpoints(table):
            axes.axvline(place, color="gray", linewidth=0.7, linestyle=":", zorder=0)
    below.axhline(0, color="black", linewidth=0.5)
    extent = "all codes" if counted == (-math.inf, math.inf) else f"codes in [{counted[0]:g}, {counted[1]:g}]"
    style = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": "small", "markerscale": 2}
    above.legend(**style)
    below.legend(title=f"scale: error over\n{extent}", **style)
    above.set(title=f"{table.name}: {_described(table)}", ylabel="output")
    dotted = " (dotted: breakpoints)" if isinstance(table, Pwl) else ""
    below.set(xlabel=f"input, real value{dotted}", ylabel="unit - exact", xlim=(low, high))
    return picture


def _described(unit: Pwl | Direct | Program) -> str:
    if isinstance(unit, Program):
        return f"program of {len(unit.nodes)} nodes, input {unit.input}, output {unit.output}"
    if isinstance(unit, Direct):
        return f"truth table, input {unit.input}, output {unit.output}"
    return f"{unit.segments} segments, input {unit.input}, symmetry {unit.symmetry.value}"


def _breakpoints(unit: Pwl | Direct | Program) -> list[float]:
    """Real breakpoints, on both sides of zero under a symmetry; a truth table and a program have none."""
    if not isinstance(unit, Pwl):
        return []
    points = sorted({math.ldexp(p, -unit.breakpoint_frac) for p in unit.breakpoints})
    return points if unit.symmetry is Symmetry.NONE else [-p for p in reversed(points)] + points


def _surroundings(unit: Pwl | Direct | Program) -> tuple[float, float]:
    """An interval around the breakpoints, within the function's domain and the widest input range."""
    low, high = fitted_domain(unit)
    widest = -unit.scales[0]
    low, high = max(low, math.ldexp(unit.input.min, widest)), min(high, math.ldexp(unit.input.max, widest))
    if points := _breakpoints(unit):
        margin = 0.15 * (points[-1] - points[0]) + 1
        low, high = max(low, points[0] - margin), min(high, points[-1] + margin)
    return low, high
