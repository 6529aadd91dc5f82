"""Pictures of explorations: accuracy against area and against cycles."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Point", "designs_figure"]

_AXES = (("area", "area, gate equivalents"), ("cycles", "cycles a sample"))


class Point(NamedTuple):
    """A design: its accuracy, 0 to 1, gate equivalents, cycles a sample, and whether no other beats it."""

    label: str
    accuracy: float
    area: float
    cycles: float
    optimal: bool


def designs_figure(points: Sequence[Point], budget: Mapping[str, float | None]) -> "Figure":
    """Accuracy against area and against cycles, a panel each.

    Designs on the front are numbered by a legend, from the most accurate on, of equals that of the least area times
    cycles first; a line marks the budget.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator

    best = sorted((each for each in points if each.optimal), key=lambda each: (-each.accuracy, each.area * each.cycles))
    beaten = [each for each in points if not each.optimal]
    picture = Figure(figsize=(10, 4.5 + 0.16 * len(best)), dpi=120, layout="constrained")
    for axes, (name, label) in zip(picture.subplots(1, 2, sharey=True), _AXES):
        for those, style in ((beaten, {"color": "gray", "fillstyle": "none"}), (best, {"color": "black"})):
            axes.plot([getattr(each, name) for each in those], [100 * each.accuracy for each in those], "o", **style)
        for number, each in enumerate(best, 1):
            axes.annotate(
                str(number),
                (getattr(each, name), 100 * each.accuracy),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize="small",
            )
        if (most := budget.get(name)) is not None:
            axes.axvline(most, color="C3", linewidth=1, linestyle="--")
        axes.set(xscale="log", xlabel=label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter("")
        axes.grid(alpha=0.3)
        axes.margins(0.1)
    picture.axes[0].set_ylabel("accuracy on held-out data, %")
    told = [f"{number}: {each.label}" for number, each in enumerate(best, 1)]
    picture.supxlabel("\n".join(told), fontsize="small", x=0.02, ha="left")
    return picture
