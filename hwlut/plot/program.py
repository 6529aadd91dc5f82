"""The picture of a program: its nodes as a graph, from the inputs down."""

from typing import TYPE_CHECKING

from hwlut.plot.figure import figure
from hwlut.plot.function import function_figure
from hwlut.units.nodes import Extent, Node, format_of
from hwlut.units.operations import Constant
from hwlut.units.program import Program
from hwlut.units.reductions import Entries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["program_figure"]

_WIDTH, _HEIGHT = 2.6, 0.62
"""Inches of a place in the grid of nodes."""

_MOST = 1500
_COLORS = {Extent.CODES: "#dbe7f3", Extent.ROWS: "#e3efd9", Extent.TENSORS: "#f6e3cf"}
_ENDS = "#e6e6e6"


@figure.register(Program)
def _(unit: Program, domain: tuple[float, float] | None = None) -> "Figure":
    if unit.function is not None:
        return function_figure(unit, domain)
    if domain is not None:
        raise ValueError("a program that names no function is drawn as a graph, which has no domain")
    return program_figure(unit)


def program_figure(program: Program) -> "Figure":
    """Every value as a box with its operation and its bits, below what it is made of; constants stand in their boxes.

    Raises ValueError for more than 1,500 values.
    """
    from matplotlib.figure import Figure

    nodes = {node.name: node for node in program.nodes}
    shown = [name for name in program.spans if not isinstance(nodes.get(name), (Constant, Entries))]
    if len(shown) > _MOST:
        raise ValueError(f"a program is drawn with at most {_MOST} values, not {len(shown)}")
    places = _places(program, shown, nodes)
    columns = max(column for column, _ in places.values()) + 1
    rows = max(row for _, row in places.values()) + 1
    picture = Figure(figsize=(max(4.5, _WIDTH * columns), _HEIGHT * rows + 0.6), dpi=100, layout="constrained")
    axes = picture.subplots()
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.4, -0.6))
    axes.set_axis_off()
    axes.set_title(f"{program.name}: {len(program.nodes)} nodes", fontsize="medium")
    for name in shown:
        for operand in nodes[name].operands if name in nodes else ():
            if operand in places:
                _arrow(axes, places[operand], places[name])
    outputs = {port.name for port in program.outputs}
    for name in shown:
        node = nodes.get(name)
        color = _ENDS if node is None else _COLORS[node.extent]
        column, row = places[name]
        edge = {"edgecolor": "#222222" if name in outputs or node is None else "#9a9a9a", "facecolor": color}
        text = f"{_short(name)}\n{_words(program, name, node)}"
        box = {"boxstyle": "round,pad=0.25", "linewidth": 0.9, **edge}
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, bbox=box, zorder=3)
    return picture


def _places(program: Program, shown: list[str], nodes: dict[str, Node]) -> dict[str, tuple[int, int]]:
    """Column and row of each value: a row below the lowest that it is made of, in the first column free there."""
    places: dict[str, tuple[int, int]] = {}
    taken: set[tuple[int, int]] = set()
    for name in shown:
        above = [places[each] for each in (nodes[name].operands if name in nodes else ()) if each in places]
        row = max((row for _, row in above), default=-1) + 1
        column = min((column for column, at in above if at == row - 1), default=0)
        while (column, row) in taken:
            column += 1
        places[name] = column, row
        taken.add((column, row))
    return places


def _arrow(axes: "object", start: tuple[int, int], end: tuple[int, int]) -> None:
    far = end[1] - start[1] > 1
    style = {"arrowstyle": "-|>", "color": "#7a7a7a", "linewidth": 0.7, "shrinkA": 9, "shrinkB": 9}
    curve = {"connectionstyle": "arc3,rad=-0.25"} if far and start[0] == end[0] else {}
    axes.annotate("", xy=end, xytext=start, arrowprops=style | curve, zorder=1)  # type: ignore[attr-defined]


def _words(program: Program, name: str, node: Node | None) -> str:
    format = format_of(program.spans[name])
    return f"{'input' if node is None else node.op}, {format}"


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}...{name[-13:]}"
