"""hwlut explore: what it runs, prints and draws."""

from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hwlut.cli.explore_options import explored_space, training_of_networks
from hwlut.cli.machine import check_count, dask_executor, spawning
from hwlut.cli.plot import save_picture
from hwlut.cli.screen import columns, emit, note, progress
from hwlut.cli.search_asked import Asked, found_by_all, task_source

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hwlut.explore import Exploration

__all__ = ["run"]

_KINDS = ("costed", "over the budget", "no tile computes it", "without a program")
_HEADERS = ("network", "array", "accuracy", "test", "kGE", "cycles", "kGE x kcycles", "RAM, kbit")


def run(asked: Asked) -> None:
    """Explore as was asked for, draw the front and print it; status 1 where no design is a choice."""
    from hwlut.explore import Budget, explore
    from hwlut.search.source import task_of

    source = task_source(asked)
    space, training = explored_space(asked), training_of_networks(asked)
    budget = Budget(area=asked["area"], cycles=asked["cycles"])
    task = task_of(source, note)
    folder = found_by_all(asked, asked["folder"] or Path(task.name))
    with _executor(asked) as executor, progress("explore") as step:
        found = explore(
            partial(task_of, source),
            space,
            folder,
            training=training,
            budget=budget,
            trials=asked["trials"],
            seed=asked["seed"],
            weights=None if asked["model"] or not asked["weights"] else found_by_all(asked, asked["weights"]),
            source=source,
            device=asked["device"],
            executor=executor,
            progress=step,
        )
    plots = _drawn(found, folder)
    if asked["as_json"]:
        emit({"run": str(folder), "plots": {name: str(path) for name, path in plots.items()}} | found.to_json())
    else:
        _show(found, folder, plots)
    if found.best is None:
        note("no design computes the task within the budget")
        raise typer.Exit(1)


def _executor(asked: Asked) -> "AbstractContextManager[Any]":
    """Where networks and designs are worked on: None for here."""
    if asked["dask"] is not None:
        asked.refuse(("jobs",), "with --dask")
        asked.refuse(("threads",), "with --dask: they are those of its workers")
        return nullcontext(dask_executor(asked["dask"]))
    jobs = asked["jobs"]
    if jobs is not None:
        check_count("--jobs", jobs)
    return nullcontext() if jobs in (None, 1) else spawning(jobs, asked["threads"])


def _show(found: "Exploration", folder: Path, plots: dict[str, Path]) -> None:
    for each in found.networks:
        if each.reason is not None:
            note(f"{each.network.label}: {each.reason}")
    rows = []
    for place in found.front:
        design = found.designs[place]
        network = found.networks[design.network]
        assert design.area and design.cycles and network.accuracy is not None and network.metric is not None
        rows.append(
            [
                network.network.label,
                design.array.label,
                f"{100 * network.accuracy:.2f} %",
                f"{100 * network.metric:.2f} %",
                f"{design.area / 1e3:.1f}",
                f"{design.cycles:.1f}",
                f"{design.area * design.cycles / 1e6:.1f}",
                f"{(design.ram_bits or 0) / 1e3:.1f}",
            ]
        )
    if rows:
        columns(rows, _HEADERS)
        print()
    kinds = Counter(_kind(each.reason) for each in found.designs)
    columns(
        [
            ("designs", ", ".join(f"{kinds[kind]} {kind}" for kind in _KINDS if kinds[kind])),
            *(("plot", str(path)) for path in plots.values()),
            ("run", str(folder)),
        ]
    )


def _kind(reason: str | None) -> str:
    """Of a design, by why it is no choice."""
    if reason is None:
        return _KINDS[0]
    return next((kind for kind in _KINDS if reason.startswith(kind)), _KINDS[-1])


def _drawn(found: "Exploration", folder: Path) -> dict[str, Path]:
    """A picture of all designs that have figures, if any has."""
    from hwlut.plot.explore import Point, designs_figure

    points = []
    for design, optimal in zip(found.designs, found.optimal):
        network = found.networks[design.network]
        if design.area is not None and design.cycles is not None and network.accuracy is not None:
            label = f"{network.network.label}, {design.array.label}"
            points.append(Point(label, network.accuracy, design.area, design.cycles, optimal))
    if not points:
        return {}
    path = folder / "front.png"
    save_picture(designs_figure(points, found.request["budget"]), path, "png")
    return {"front": path}
