"""hwlut search: what it runs."""

import dataclasses
import os
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from hwlut.cli.machine import check_count, dask_executor, spawning
from hwlut.cli.screen import note, progress
from hwlut.cli.search_asked import Asked, found_by_all, parts, run_folder, task_source
from hwlut.cli.search_options import budgets, cost_maker, search_options, training_options
from hwlut.cli.search_result import draw_front, draw_search, show_front, show_search

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hwlut.search import Search
    from hwlut.search.front import MakeCost
    from hwlut.train import Task

__all__ = ["run"]


def run(asked: Asked) -> None:
    """Search as was asked for, for one budget or several, draw what was found and print it."""
    from hwlut.search import front, search
    from hwlut.search.source import task_of

    source = task_source(asked)
    options, targets, make_cost = search_options(asked), budgets(asked), cost_maker(asked)
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes the one that tells
    task = task_of(source, note if first else None)
    training = training_options(asked, task, options.held_out)
    options = _checked(asked, options, targets, make_cost, task, first)
    folder = found_by_all(asked, run_folder(asked, task.name, first))
    common: dict[str, Any] = {
        "weights": None if asked["model"] or not asked["weights"] else found_by_all(asked, asked["weights"]),
        "source": source,
        "device": asked["device"],
    }
    if len(targets) < 2:
        with progress("search") as step:
            cost = None if make_cost is None else make_cost(task, options)
            found = search(task, options, training, folder, cost=cost, progress=step, **common)
        if first:
            show_search(found.configuration, folder, draw_search(found.configuration, folder), asked["as_json"])
        return
    make_task = partial(task_of, source)
    common["make_cost"] = make_cost
    with _executor(asked) as executor, progress("search") as step:
        every = front(make_task, options, training, targets, folder, executor, progress=step, **common)
    if first:
        show_front(every, folder, draw_front(every, folder), asked["as_json"])


def _checked(
    asked: Asked, options: "Search", targets: tuple[float, ...], make_cost: "MakeCost | None", task: "Task", first: bool
) -> "Search":
    """The options, with the patterns of parts, once there is something to search and a way to meet every budget."""
    from hwlut.search import space_for
    from hwlut.search.budget import bounds, check_target, counted_by
    from hwlut.search.parts import part_patterns
    from hwlut.train.recompute import check_recomputes

    if asked["gradient_checkpointing"]:
        check_recomputes(task.model())
    if wanted := parts(asked):
        every = space_for(task, dataclasses.replace(options, exclude=()))
        options = dataclasses.replace(options, include=part_patterns([*every.shapes, *every.left], wanted))
    space = space_for(task, options)
    cost = None if make_cost is None else make_cost(task, options)
    name = "target" if options.target is not None else "target_bits"
    for target in targets or (None,):
        one = options if target is None else dataclasses.replace(options, **{name: target})  # type: ignore[arg-type]
        counted, limit = counted_by(space, one, cost)
        costs = space.costs(counted)
        check_target(space, costs, limit)
        if first:
            least, most = bounds(space, costs)
            decided = f"{len(space.decisions)} decisions for {len(space.shapes)} operations"
            note(f"search of {decided}, cost {least:.6g} to {most:.6g}, at most {limit:.6g}")
    if first and space.left:
        note("left as they are: " + ", ".join(f"{name} ({why})" for name, why in space.left.items()))
    return options


def _executor(asked: Asked) -> "AbstractContextManager[Any]":
    """Where the searches of a front run: None for here."""
    import torch

    if asked["dask"] is not None:
        return nullcontext(dask_executor(asked["dask"]))
    jobs = asked["jobs"]
    if jobs is None:
        jobs = 1 if "RANK" in os.environ or (asked["device"] or "cuda") != "cuda" else max(1, torch.cuda.device_count())
    check_count("--jobs", jobs)
    return nullcontext() if jobs == 1 else spawning(jobs, asked["threads"])
