"""Pictures of quantization searches: bits of every operation, the way of a policy, fronts of several searches."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bits_figure", "front_figure", "policy_figure"]

_FULL = 32


def bits_figure(bits: Mapping[str, tuple[int, int]]) -> "Figure":
    """The bits of the weights and of the activations of every operation, by its name, from top to bottom.

    An operand of 32 bits, which is not quantized, gets no bar but the word "float".
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(bits)
    picture = Figure(figsize=(9, 1.4 + 0.3 * len(names)), dpi=120, layout="constrained")
    both = picture.subplots(1, 2, sharey=True)
    widest = max((each for pair in bits.values() for each in pair if each < _FULL), default=8)
    for place, (axes, title) in enumerate(zip(both, ("weights (or second operand)", "activations"))):
        widths = [bits[name][place] for name in names]
        shown = [0 if width >= _FULL else width for width in widths]
        axes.barh(range(len(names)), shown, color=_colors(shown, widest), height=0.75)
        for row, width in enumerate(widths):
            quantized = width < _FULL
            axes.text(
                width if quantized else 0, row, f" {width}" if quantized else " float", va="center", fontsize="small"
            )
        axes.set(title=title, xlabel="bits", xlim=(0, widest * 1.12))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_yticks(range(len(names)), names, fontsize="small")
    both[0].invert_yaxis()
    return picture


def policy_figure(lines: Sequence[Mapping[str, Any]]) -> "Figure":
    """The probability of every format by the step, from the lines of a search's log.

    A panel a format, a row a decision; of weights and activations that have formats of their own, panels for each. A
    line of the log counts back to the one before.
    """
    from matplotlib.figure import Figure

    told = [line for line in lines if "policy" in line]
    if not told:
        raise ValueError("policy must be told of in the log, which has none")
    edges = [max((line["step"] for line in lines if line["step"] < told[0]["step"]), default=0)]
    edges += [line["step"] for line in told]
    names = list(told[0]["policy"])
    operands = _operands(told[0]["policy"])
    most = max(len(formats) for _, _, formats in operands)
    size = (3.2 + 2.1 * most, 0.8 + len(operands) * (0.7 + 0.24 * len(names)))
    picture = Figure(figsize=size, dpi=120, layout="constrained")
    panels = picture.subplots(len(operands), most, sharex=True, sharey=True, squeeze=False)
    mesh = None
    for row, (label, place, formats) in zip(panels, operands):
        for axes in row[len(formats) :]:
            axes.set_visible(False)
        for axes, format in zip(row, formats):
            shares = [[_share(line["policy"][name], place, format) for line in told] for name in names]
            rows = [each - 0.5 for each in range(len(names) + 1)]
            mesh = axes.pcolormesh(edges, rows, shares, cmap="viridis", vmin=0, vmax=1, rasterized=True)
            axes.set_title(f"{label}{format}", fontsize="medium")
        row[0].set_yticks(range(len(names)), names, fontsize="small")
    panels[0, 0].invert_yaxis()
    picture.supxlabel("step", fontsize="medium")
    assert mesh is not None
    picture.colorbar(mesh, ax=panels, label="probability", aspect=30, fraction=0.05)
    return picture


def front_figure(points: Sequence[tuple[float, float, str, bool]], kind: str) -> "Figure":
    """The metric, 0 to 1, of searches by their cost: (cost, metric, label, whether no other is better in both).

    Those that none beats are joined.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    picture = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    axes = picture.subplots()
    best = sorted((cost, 100 * metric) for cost, metric, _, optimal in points if optimal)
    beaten = [(cost, 100 * metric) for cost, metric, _, optimal in points if not optimal]
    axes.plot(*zip(*best), "o-", color="black", drawstyle="steps-post", linewidth=1, label="Pareto-optimal")
    if beaten:
        axes.plot(*zip(*beaten), "o", color="gray", fillstyle="none", label="beaten by another")
    for cost, metric, label, _ in points:
        axes.annotate(label, (cost, 100 * metric), xytext=(5, 5), textcoords="offset points", fontsize="small")
    axes.set(xlabel=f"cost (labels: {kind})", ylabel="metric, %")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.margins(0.1)
    axes.legend(loc="lower right", fontsize="small")
    return picture


def _colors(widths: Sequence[int], widest: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.92 * width / widest) for width in widths]


def _operands(policy: Mapping[str, Mapping[str, float]]) -> list[tuple[str, int, list[str]]]:
    """What is chosen: the words before a format's name, its place in a choice, and the formats there are."""
    choices = list(dict.fromkeys(choice for shares in policy.values() for choice in shares))
    found = [
        (label, place, list(dict.fromkeys(_format(choice, place) for choice in choices)))
        for place, label in enumerate(("weights ", "activations "))
    ]
    if not any("/" in choice for choice in choices):
        return [("", 0, choices)]
    return [each for each in found if len(each[2]) > 1] or found[:1]


def _format(choice: str, place: int) -> str:
    """That of weights, place 0, or activations, of a choice such as "s4" or "s8/s4"."""
    return (choice.split("/") * 2)[place]


def _share(shares: Mapping[str, float], place: int, format: str) -> float:
    return sum(value for choice, value in shares.items() if _format(choice, place) == format)
