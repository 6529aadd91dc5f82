"""Pictures of pruning: what can be removed, what was, the way there, and fronts of several runs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["front_figure", "groups_figure", "stages_figure"]

_SHADES = ("#f3f3f3", "#e3eefa", "#fbe9d9", "#e4f3e2")
"""Of stages."""


def groups_figure(counts: Mapping[str, int], removed: Mapping[str, int] | None = None) -> "Figure":
    """`counts` of groups of each coupling, by its name, from top to bottom, and how many of them are `removed`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    removed = removed or {}
    names = list(counts)
    gone = [removed.get(name, 0) for name in names]
    stays = [counts[name] - each for name, each in zip(names, gone)]
    picture = Figure(figsize=(9, 1.5 + 0.26 * len(names)), dpi=120, layout="constrained")
    axes = picture.subplots()
    axes.barh(range(len(names)), stays, color="tab:blue", height=0.75, label="stay")
    axes.barh(range(len(names)), gone, left=stays, color="lightgray", height=0.75, label="removed")
    for row, (name, each) in enumerate(zip(names, gone)):
        axes.text(counts[name], row, f" {counts[name] - each} of {counts[name]}" if removed else f" {counts[name]}",
                  va="center", fontsize="small")  # fmt: skip
    title = f"{len(names)} coupling{'s'[: len(names) != 1]}, {sum(counts.values()):,} groups"
    axes.set(title=title, xlabel="groups", xlim=(0, 1.15 * max(counts.values(), default=1)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if removed:
        picture.legend(loc="outside upper right", ncols=2, fontsize="small", frameon=False)
    return picture


def stages_figure(lines: Sequence[Mapping[str, Any]], lengths: Mapping[str, int]) -> "Figure":
    """Loss, mean bits and removed groups by the step, from the lines of a compression's log.

    lengths: steps of each stage, in order, which are shaded.
    """
    from matplotlib.figure import Figure

    told = [line for line in lines if "stage" in line]
    if not told:
        raise ValueError("stages must be told of in the log, which has none")
    shown = [("loss", "training loss"), ("bits", "mean bits"), ("removed", "groups removed")]
    shown = [each for each in shown if any(each[0] in line for line in told)]
    picture = Figure(figsize=(8, 1 + 1.7 * len(shown)), dpi=120, layout="constrained")
    panels = picture.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (key, label) in zip(panels, shown):
        kept = [line for line in told if key in line]
        axes.plot([line["step"] for line in kept], [line[key] for line in kept], ".-", color="black", linewidth=1)
        axes.set(ylabel=label)
        axes.grid(alpha=0.3)
        start = 0
        for (stage, length), color in zip(lengths.items(), _SHADES):
            axes.axvspan(start, start + length, color=color, linewidth=0, zorder=0, label=stage.replace("_", "-"))
            start += length
    panels[-1].set(xlabel="step", xlim=(0, start))
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper center", ncols=len(lengths), fontsize="small", frameon=False)
    return picture


def front_figure(series: Mapping[str, Sequence[tuple[float, float, float]]], title: str = "") -> "Figure":
    """Accuracy, 0 to 1, by relative bit operations: of each series, by name, (relative, mean, spread) of its points.

    title: over the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    picture = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    axes = picture.subplots()
    for (name, points), marker in zip(series.items(), itertools.cycle("osD^v")):
        ordered = sorted(points)
        axes.errorbar(
            [100 * x for x, _, _ in ordered], [100 * y for _, y, _ in ordered], [100 * e for _, _, e in ordered],
            marker=marker, linestyle="none", capsize=3, fillstyle="none", label=name,
        )  # fmt: skip
        best, top = [], 0.0
        for x, y, _ in ordered:
            if y > top:
                best.append((100 * x, 100 * y))
                top = y
        axes.plot(*zip(*best), drawstyle="steps-post", linewidth=1, color=axes.containers[-1][0].get_color())
    axes.set(xscale="log", xlabel="bit operations, % of those of 32 x 32 bits", ylabel="accuracy, %", title=title)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right", fontsize="small")
    return picture
