"""Training: curves from logs."""

from hwlut.report.charts import curves
from hwlut.report.folder import Folder
from hwlut.report.html import Html, joined, tag
from hwlut.report.links import Links
from hwlut.report.log import LIMIT, Log

__all__ = ["training"]

_MOST_CURVES = 6
_FIRST = ("loss", "metric")


def training(folder: Folder, links: Links) -> Html | None:
    """A figure for each log: loss and metric first."""
    found = []
    for file, log in folder.of(Log):
        names = sorted(log.curves, key=lambda name: (name not in _FIRST, name))[:_MOST_CURVES]
        if not names:
            continue
        pictures = [curves(f"{name} by step", "step", name, *log.curves[name]) for name in names]
        told = "" if log.whole else f"Of the log's first {LIMIT >> 20} MiB."
        figure = tag("figure", tag("div", *pictures, class_="charts"), tag("figcaption", told) if told else None)
        found.append(joined([tag("h3", links.to(file)), figure]))
    return joined(found) if found else None
