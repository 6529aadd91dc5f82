"""Searches for several targets, and which of their results no other beats."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hwlut.fields import shorten
from hwlut.pareto import unbeaten
from hwlut.records import held, read_record, write_record
from hwlut.search.cost import Cost
from hwlut.search.dense import start
from hwlut.search.flow import search
from hwlut.search.options import Search
from hwlut.train import Finetune, Task
from hwlut.train.processes import Processes, device_of, processes
from hwlut.train.randomness import keeping_generators
from hwlut.train.request import check_request
from hwlut.workers import ALONE

__all__ = ["Front", "MakeCost", "Trial", "front"]

Step = Callable[[int, int, str], None]
MakeCost = Callable[[Task, Search], Cost]
Job = partial[tuple[float, float, float]]
_SCHEMA = "hwlut.front/1"
_LIMIT = 16 << 20


@dataclasses.dataclass(frozen=True)
class Trial:
    """One search of a front. target: as given. cost: of what was found. metric, loss: on the test data; held-out.

    optimal: whether no other trial costs as little and has as high a metric, and is better in one of them.
    folder: of the search, below that of the front.
    """

    target: float
    cost: float
    metric: float
    loss: float
    folder: str
    optimal: bool = False


@dataclasses.dataclass(frozen=True)
class Front:
    """``front.json``: a trial for each target, in the order given. kind: "target" or "target_bits"."""

    kind: str
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, kind: str, trials: Sequence[Trial]) -> "Front":
        """Those trials, each told whether it is optimal."""
        best = unbeaten([(each.cost, -each.metric) for each in trials])
        return cls(kind, tuple(dataclasses.replace(each, optimal=optimal) for each, optimal in zip(trials, best)))

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        write_record(Path(path), "front", _SCHEMA, dataclasses.asdict(self))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Front":
        """Read one; ValueError, naming the file, for anything else."""
        path = Path(path)
        content = read_record(path, "front", _SCHEMA, ("kind", "trials"), _LIMIT)
        try:
            return held("front", content, cls)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None


def front(
    make_task: Callable[[], Task],
    options: Search,
    training: Finetune,
    targets: Sequence[float],
    folder: str | Path,
    executor: Executor | None = None,
    *,
    make_cost: MakeCost | None = None,
    weights: str | Path | None = None,
    source: Any = None,
    device: str | torch.device | None = None,
    progress: Step | None = None,
) -> Front:
    """Search once for each target.

    Parameters
    ----------
    make_task: gives the task, in whatever process a search runs; a ``dense`` of it is trained once, here.
    options: with a target, or target_bits, in whose place each of `targets` stands.
    folder: gets a folder for each search, ``front.json``, and what `search` has of a dense model. One that was stopped
        goes on.
    executor: where the searches run, which must be able to pickle what it is given; by default here, one by one.
    make_cost: gives a cost of one's own, of the task and the options, as `partial(file_cost, path)` does.
    device: by default, where there are several GPUs, that of the number of the search, modulo theirs.
    progress: called with how many are done, of how many, and a text; without an executor, with each search's own steps.

    The others are as for `search`. Started by torchrun, the processes take part in each search together, without an
    executor. A search that fails leaves the folders of the others to go on with.
    """
    wanted = tuple(targets)
    if not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"front targets must be at least one and all different, not {shorten(wanted)}")
    if executor is not None and "RANK" in os.environ:
        raise ValueError("front executor must be left out under torchrun, whose processes share each search")
    kind = "target" if options.target is not None else "target_bits"
    each = [dataclasses.replace(options, **{kind: target}) for target in wanted]  # type: ignore[arg-type]
    place = Path(folder)
    folders = [str(place / f"{kind}-{target:.10g}") for target in wanted]
    found: list[Trial | None] = [None] * len(wanted)
    with processes(device) as group, keeping_generators(group.device):  # joined once: not by each search anew
        weights = _start(make_task(), options, training, weights, place, group)
        jobs = [
            partial(_searched, make_task, one, training, path, make_cost, weights, source, device, number)
            for number, (one, path) in enumerate(zip(each, folders))
        ]
        for done, (number, (spent, metric, loss)) in enumerate(_results(jobs, executor, progress), 1):
            found[number] = Trial(wanted[number], spent, metric, loss, Path(folders[number]).name)
            if executor is not None and progress is not None:
                progress(done, len(jobs), f"{kind} {wanted[number]:g}: {100 * metric:.2f} %")
        result = Front.of(kind, [trial for trial in found if trial is not None])
        if group.first:
            result.save(place / "front.json")
    return result


def _results(
    jobs: list[Job], executor: Executor | None, progress: Step | None
) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Numbers of jobs and their results, as they come."""
    if executor is None:
        yield from ((number, job(progress=progress)) for number, job in enumerate(jobs))
        return
    waiting = {executor.submit(job): number for number, job in enumerate(jobs)}
    try:
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        for job in waiting:
            job.cancel()


def _searched(
    make_task: Callable[[], Task],
    options: Search,
    training: Finetune,
    folder: str,
    make_cost: MakeCost | None,
    weights: str | Path | None,
    source: Any,
    device: str | torch.device | None,
    number: int,
    progress: Step | None = None,
) -> tuple[float, float, float]:
    """Cost, metric and held-out loss of one search."""
    name = Path(folder).name
    with ALONE:
        task = make_task()
        cost = None if make_cost is None else make_cost(task, options)
        found = search(
            task, options, training, folder,
            cost=cost, weights=weights, source=source, device=device_of(device, number),
            progress=None if progress is None else lambda done, steps, text: progress(done, steps, f"{name}: {text}"),
        ).configuration  # fmt: skip
    return found.cost, found.metric, found.loss


def _start(
    task: Task, options: Search, training: Finetune, weights: str | Path | None, folder: Path, group: Processes
) -> str | Path | None:
    """The state that every search starts from, trained first where the task says how; a folder has one front."""
    request = {
        "task": task.name,
        "search": {name: value for name, value in options.settings.items() if name not in ("target", "target_bits")},
        "training": training.settings,
        "weights": None if weights is None else str(weights),
    }
    check_request(folder / "request.json", request, group)
    return start(task, weights, options.held_out, training.seed, folder, group)
