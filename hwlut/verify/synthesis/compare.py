"""A unit beside what could stand in its place: error against size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from itertools import product
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hwlut.pareto import unbeaten
from hwlut.unit import Unit
from hwlut.verify.synthesis.synthesize import Synthesis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Candidate", "Comparison", "Step", "compare", "picture"]

_AROUND = ((1, 1), (1, 0), (0, 1), (1, -1), (-1, 1), (0, -1), (-1, 0), (-1, -1))

Step = Callable[[int, int, str], None]
"""Called after each synthesis with the number done, of how many, and the label."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to do what the unit does. A kind of units has its own kind of candidates, with their errors.

    measure: the name of the error that decides. columns: the errors that a text shows, by name, and their headers.
    axis: what `drawn`, made of the error that decides, is in a picture.
    """

    measure: ClassVar[str]
    columns: ClassVar[Mapping[str, str]]
    axis: ClassVar[str]

    label: str
    synthesis: Synthesis

    @property
    def errors(self) -> dict[str, float]:
        """All errors by name."""
        raise NotImplementedError

    @property
    def error(self) -> float:
        """The one that decides."""
        return self.errors[self.measure]

    @property
    def drawn(self) -> float:
        """The error as a picture has it."""
        return self.error

    @property
    def size(self) -> float:
        """um^2, or LUTs."""
        netlist = self.synthesis.netlist
        return netlist.luts if netlist.area is None else netlist.area


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every candidate, the unit itself first. left_out: which have no place beside it, and why."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]

    @property
    def smallest(self) -> Candidate:
        """The smallest of those whose error is at most the unit's."""
        fit = [candidate for candidate in self.candidates if candidate.error <= self.candidates[0].error]
        return min(fit, key=lambda candidate: candidate.size)

    @property
    def front(self) -> tuple[Candidate, ...]:
        """Those than which no other is both as small and as close and better in one of them (the Pareto front),
        the smallest first."""
        best = unbeaten([(candidate.size, candidate.error) for candidate in self.candidates])
        chosen = (candidate for candidate, optimal in zip(self.candidates, best) if optimal)
        return tuple(sorted(chosen, key=lambda candidate: candidate.size))

    @property
    def ok(self) -> bool:
        """False where a netlist was re-checked and differs."""
        return all(candidate.synthesis.ok for candidate in self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        rows = [{"label": c.label} | c.errors | {"synthesis": c.synthesis.to_dict()} for c in self.candidates]
        front = [candidate.label for candidate in self.front]
        return {"candidates": rows, "front": front, "smallest": self.smallest.label, "left_out": list(self.left_out)}


@singledispatch
def compare(
    unit: Unit,
    *,
    scale: int | None = None,
    target: str = "liberty",
    liberty: str | Path | None = None,
    step: Step | None = None,
) -> Comparison:
    """Synthesize `unit` and what could stand in its place.

    Parameters
    ----------
    unit: a Pwl or a Direct that names its function, beside truth tables and other fits of it; a Multiplier, beside
        the shipped ones of its operands' formats.
    scale, target, liberty: as for `synthesize`; a unit of several scales needs one.
    step: called after each.

    Raises ValueError for another kind, or a unit without a function.
    """
    raise ValueError(f"compare needs a Pwl, Direct or Multiplier table, not {type(unit).__name__} {unit.name!r}")


def picture(comparison: Comparison) -> "Figure":
    """Error against area of a `comparison`, one point a candidate, with a line through the front.

    Labels are without what stands before the first underscore where all candidates but the unit have it in common.
    """
    from matplotlib.figure import Figure

    unit, first = comparison.candidates[0], comparison.candidates[0].synthesis
    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    axes = figure.subplots()
    front = comparison.front
    if len(front) > 1:
        steps = [(candidate.size, candidate.drawn) for candidate in front]
        axes.plot(*zip(*steps), color="C0", linewidth=1, drawstyle="steps-post", zorder=1, label="front")
        axes.legend()
    for candidate in comparison.candidates:
        point = (candidate.size, candidate.drawn)
        color, marker = ("C1", "s") if candidate is unit else ("C0", "o")
        best = candidate in front
        axes.plot(*point, marker, color=color, markerfacecolor=color if best else "white")
    axes.axhline(unit.drawn, color="gray", linewidth=0.7, linestyle=":")
    size = f"area, um^2 ({first.liberty}), pre-layout" if first.liberty else f"LUTs ({first.netlist.target}), estimate"
    at = "" if first.scale is None else f", scale {first.scale}"
    axes.set(title=f"{first.unit}{at}", xlabel=size, ylabel=unit.axis)
    axes.set(xlim=(0, 1.25 * max(candidate.size for candidate in comparison.candidates)))
    drawn = [candidate.drawn for candidate in comparison.candidates]
    if all(drawn):
        axes.set_yscale("log")
    elif any(drawn):  # an exact candidate has its place at the foot of the same axis
        axes.set_yscale("symlog", linthresh=min(filter(None, drawn)))
        axes.set_ylim(-0.3 * min(filter(None, drawn)), 2 * max(drawn))
    else:
        axes.set_ylim(bottom=0)
    figure.draw_without_rendering()  # it lays out the axes
    _label(axes, comparison)
    return figure


def _label(axes: "Axes", comparison: Comparison) -> None:
    """Write each candidate's label at the nearest free place: of the front to the lower left, else to the upper right.

    Free is what is within the axes and meets no point, no line of the front and no label before.
    """
    from matplotlib.transforms import Bbox

    points = [axes.transData.transform((each.size, each.drawn)) for each in comparison.candidates]
    front = [axes.transData.transform((each.size, each.drawn)) for each in comparison.front]
    taken = [Bbox([point - 6, point + 6]) for point in points]
    for (x, y), (right, below) in zip(front, front[1:]):
        taken += [Bbox([(x, y), (right, y)]), Bbox([(right, below), (right, y)])]
    prefix = commonprefix([each.label for each in comparison.candidates[1:]])
    prefix = prefix[: prefix.find("_") + 1]
    for candidate in comparison.candidates:
        label, point = candidate.label.removeprefix(prefix), (candidate.size, candidate.drawn)
        note = axes.annotate(label, point, (0, 0), textcoords="offset points", fontsize="x-small", va="center")
        note.set_in_layout(False)
        side = -1 if candidate in comparison.front else 1
        for distance, (x, y) in product(range(6, 60, 3), _AROUND):
            note.set_position((side * x * (6 if y else distance), side * y * distance))
            note.set_horizontalalignment(("center", "left", "right")[side * x])
            box = note.get_window_extent()
            inside = box.x0 >= axes.bbox.x0 and box.x1 <= axes.bbox.x1 and box.y0 >= axes.bbox.y0
            if inside and box.y1 <= axes.bbox.y1 and not any(map(box.overlaps, taken)):
                break
        taken.append(box)
