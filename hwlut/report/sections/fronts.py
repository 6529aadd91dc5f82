"""Fronts: what an exploration or several searches have found, as points."""

from typing import Any

from hwlut.report.charts import Point, scatter
from hwlut.report.designs import Design, designs_of
from hwlut.report.folder import Folder
from hwlut.report.html import Html, joined, table, tag
from hwlut.report.links import Links
from hwlut.search import Front

__all__ = ["fronts"]

_MOST_ROWS = 100


def fronts(folder: Folder, links: Links) -> Html | None:
    """Pictures with a table behind each."""
    parts = [_explored(found, links.to(file)) for file, found in folder.saved("hwlut.explore/1", "designs")]
    parts += [_searched(found, links.to(file)) for file, found in folder.of(Front)]
    return joined(parts) if parts else None


def _searched(front: Front, link: Html) -> Html:
    kind = front.kind.replace("_", " ")
    points = [Point(each.cost, 100 * each.metric, f"{each.target:g}", each.optimal) for each in front.trials]
    rows = [[f"{each.target:g}", each.cost, f"{each.metric:.2%}", each.loss, each.optimal] for each in front.trials]
    picture = scatter("Metric of searches by their cost", f"cost (labels: {kind})", "metric, %", points)
    headers = (kind, ">cost", ">metric", ">loss", "on the front")
    return joined([tag("h3", "Searches: ", link), _figure([picture], _FRONT), table("Searches", headers, rows)])


_FRONT = "Filled points are on the front: none other is better in all. The ring marks the one that was chosen."


def _explored(found: dict[str, Any], link: Html) -> Html:
    designs = designs_of(found)
    whole = [design for design in designs if design.whole]
    if not whole:
        return joined([tag("h3", "Exploration: ", link), tag("p", "No design has an area, cycles and an accuracy.")])
    pictures = []
    for key, factor, axis in (("area", 1e-3, "area, kGE"), ("cycles", 1.0, "cycles a sample")):
        points = [
            Point(
                each.content[key] * factor,
                100 * each.network["accuracy"],
                each.label,
                each.content["optimal"],
                each.chosen,
            )
            for each in whole
        ]
        pictures.append(scatter(f"Accuracy of designs by their {key}", axis, "accuracy, %", points, line=False))
    shown = sorted(whole, key=lambda each: (not each.chosen, not each.content["optimal"], each.content["area"]))
    headers = ("design", ">accuracy, held out", ">on test data", ">kGE", ">cycles", ">area × cycles, MGE", "")
    left = len(designs) - len(whole)
    told = f"{len(whole)} designs, the chosen one and the front first" + (f"; {left} could not be had" if left else "")
    if len(shown) > _MOST_ROWS:
        told += f"; the first {_MOST_ROWS}"
    rows = map(_row, shown[:_MOST_ROWS])
    return joined([tag("h3", "Exploration: ", link), _figure(pictures, _FRONT), table(told, headers, rows)])


def _row(design: Design) -> list[Any]:
    content, network = design.content, design.network
    return [
        design.label,
        f"{network['accuracy']:.2%}",
        None if network["metric"] is None else f"{network['metric']:.2%}",
        content["area"] / 1000,
        content["cycles"],
        content["area"] * content["cycles"] / 1e6,
        "chosen" if design.chosen else "front" if content["optimal"] else "",
    ]


def _figure(pictures: list[Html], told: str) -> Html:
    return tag("figure", tag("div", *pictures, class_="charts"), tag("figcaption", told))
