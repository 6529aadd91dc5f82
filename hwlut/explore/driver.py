"""Explorations: networks are made, arrays are costed for them, and which designs no other beats is told."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hwlut.explore.choices import HELD_OUT, Array, Network
from hwlut.explore.costs import Budget, cost_design, multiplier_costs
from hwlut.explore.jobs import Found, Job, kept, run_jobs
from hwlut.explore.network import make as make_network
from hwlut.explore.result import Design, Exploration, Trained
from hwlut.explore.space import Space
from hwlut.search import CostTable
from hwlut.search.dense import start
from hwlut.train import Finetune, Task, load_state
from hwlut.train.processes import device_of, processes
from hwlut.train.randomness import keeping_generators
from hwlut.train.request import check_request
from hwlut.unit import load
from hwlut.units.multiplier import Multiplier
from hwlut.units.tile import Tile
from hwlut.verify.synthesis import Liberty
from hwlut.verify.synthesis.flow import find_yosys
from hwlut.workers import ALONE

__all__ = ["explore"]

Step = Callable[[int, int, str], None]


def explore(
    make_task: Callable[[], Task],
    space: Space,
    folder: str | Path,
    *,
    training: Finetune,
    budget: Budget | None = None,
    trials: int | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    source: Any = None,
    device: str | torch.device | None = None,
    make: Callable[..., Any] = make_network,
    cost: Callable[..., Found] = cost_design,
    executor: Executor | None = None,
    progress: Step | None = None,
) -> Exploration:
    """Make the networks of `space`, cost every array for each, and tell which designs no other beats.

    Parameters
    ----------
    make_task: gives the task, in whatever process a network is made; a ``dense`` of it is trained once, here.
    folder: gets ``explore.json`` (an `Exploration`), ``costs.json`` (a `CostTable` of the bare multipliers),
        ``multipliers``, and in ``networks`` a folder for each network. One that was stopped goes on; one of other
        arguments is refused.
    training: of every network, and the seed of all that is drawn in it.
    budget: a design beyond it is kept, with that as its reason, and nothing more is found out about it. A network none
        of whose arrays can be within is not made.
    trials, seed: how many networks there are at most, as of `Space.networks`.
    weights: a state of the dense model to start from.
    source: where the task is found again, as plain JSON.
    device: by default, where there are several GPUs, that of the number of the network, modulo theirs.
    make: makes a network, as `hwlut.explore.network.make` does; a ValueError of it becomes the network's reason.
    cost: finds the figures of a `Design`, as `hwlut.explore.costs.cost_design` does.
    executor: where networks are made and arrays are costed, which must be able to pickle what it is given, and see the
        folder; by default here, one by one.
    progress: called with how many networks and designs are done, of how many, and a text; without an executor, with
        each network's own steps, too.

    Before anything is trained, raises ToolError where yosys or its cell library is missing, and ValueError for weights
    of another model.
    """
    if not isinstance(space, Space):
        raise TypeError(f"explore space must be a Space, not {type(space).__name__}")
    if trials is not None and trials < 1:
        raise ValueError(f"explore trials must be at least 1, not {trials}")
    if "RANK" in os.environ:
        raise ValueError("explore must not be started by torchrun: its processes are those of the executor")
    budget = budget or Budget()
    find_yosys()
    Liberty.read(None)
    place = Path(folder)
    with processes(device) as group, keeping_generators(group.device):
        task = make_task()
        if weights is not None:  # what is wrong with these is no network's reason
            load_state(Path(weights), task.model())
        request = {
            "task": task.name,
            "space": space.to_json(),
            "budget": asdict(budget),
            "trials": trials,
            "seed": seed,
            "training": training.settings,
            "weights": None if weights is None else str(weights),
        }
        check_request(place / "request.json", request, group)
        units = [unit for unit in space.multipliers if unit is not None]
        for unit in units:
            unit.save(place / "multipliers" / f"{unit.name}.json")
        table = multiplier_costs(units, place / "costs.json", executor)
        weights = start(task, weights, HELD_OUT, training.seed, place.resolve(), group)
        told = {"weights": weights, "training": training}
        made = partial(_network, make, make_task, told, device, progress if executor is None else None)
        work = _Work(place, space.networks(trials, seed), space.arrays(), made, partial(cost, budget=budget), progress)
        run_jobs(work.begin(partial(_too_large, budget, table)), work.then, executor)
    found = Exploration(json.loads(json.dumps(request)), source, *work.result())
    multiplier_costs([*units, *_multipliers(place, found)], place / "costs.json", executor)
    found.save(place / "explore.json")
    return found


class _Work:
    """What an exploration has found so far, by the places of networks and arrays.

    make: given a network's place, it and its folder. cost: given that folder and an array.
    """

    def __init__(
        self,
        folder: Path,
        networks: tuple[Network, ...],
        arrays: tuple[Array, ...],
        make: Callable[..., Found],
        cost: Callable[..., Found],
        progress: Step | None,
    ):
        self._networks, self._arrays = networks, arrays
        self._folders = [folder / "networks" / network.digest[:12] for network in networks]
        self._make, self._cost, self._progress = make, cost, progress
        self._trained: dict[int, Found] = {}
        self._costed: dict[tuple[int, int], Found] = {}

    def begin(self, too_large: Callable[[Network, Array], str | None]) -> Iterator[Job]:
        """The jobs of all networks that can be within the budget on some array."""
        for place, (network, folder) in enumerate(zip(self._networks, self._folders)):
            reasons = {number: too_large(network, array) for number, array in enumerate(self._arrays)}
            self._costed |= {(place, number): {"reason": reason} for number, reason in reasons.items() if reason}
            if all(reasons.values()):
                self._trained[place] = {"reason": "not made: no array can be within the budget"}
            else:
                yield (place, None), partial(kept, folder / "trained.json", partial(self._make, place, network, folder))

    def then(self, name: tuple[int, int | None], found: Found) -> Iterator[Job]:
        """Takes what a network or a design came to; after a network that was made come its designs."""
        place, number = name
        label = self._networks[place].label
        if number is not None:
            self._costed[place, number] = found
            self._tell(f"{label} on {self._arrays[number].label}: {found['reason'] or 'costed'}")
            return
        self._trained[place] = found
        left = [number for number in range(len(self._arrays)) if (place, number) not in self._costed]
        if found["reason"] is not None:
            self._costed |= {(place, number): {"reason": found["reason"]} for number in left}
            left = []
        self._tell(f"{label}: {found['reason'] or 'made'}")
        folder = self._folders[place]
        for number in left:
            array = self._arrays[number]
            yield (place, number), partial(kept, folder / f"{array.label}.json", partial(self._cost, folder, array))

    def result(self) -> tuple[tuple[Trained, ...], tuple[Design, ...]]:
        """All networks, and all designs."""
        trained = (
            Trained(network=network, folder=f"networks/{folder.name}", **self._trained[place])
            for place, (network, folder) in enumerate(zip(self._networks, self._folders))
        )
        designs = (
            Design(network=place, array=array, **self._costed[place, number])
            for place in range(len(self._networks))
            for number, array in enumerate(self._arrays)
        )
        return tuple(trained), tuple(designs)

    def _tell(self, text: str) -> None:
        if self._progress is not None:
            every = len(self._networks) * (1 + len(self._arrays))
            self._progress(len(self._trained) + len(self._costed), every, text)


def _too_large(budget: Budget, table: CostTable, network: Network, array: Array) -> str | None:
    """Whether the multipliers of a network on an array are over the budget, in words."""
    if network.multiplier is None:
        return None
    each = table[network.multiplier].gate_equivalents
    return None if each is None else budget.too_many(array, each)


def _network(
    make: Callable[..., Any],
    make_task: Callable[[], Task],
    told: dict[str, Any],
    device: str | torch.device | None,
    progress: Step | None,
    number: int,
    network: Network,
    folder: Path,
) -> Found:
    """Accuracies of a network that is made in its folder, and the reason why it cannot be."""
    if progress is not None:
        outer, label = progress, network.label
        told = told | {"progress": lambda done, steps, text: outer(done, steps, f"{label}: {text}")}
    try:
        with ALONE:
            made = make(make_task(), network, folder, device=device_of(device, number), **told)
    except ValueError as error:
        return {"reason": " ".join(str(error).split())}
    return {"accuracy": made.accuracy, "metric": made.metric, "float_accuracy": made.float_accuracy, "reason": None}


def _multipliers(folder: Path, found: Exploration) -> list[Multiplier]:
    """Those of all tiles that were made, once each."""
    units: dict[str, Multiplier] = {}
    for design in found.designs:
        if design.tile is not None:
            tile = load(folder / found.networks[design.network].folder / f"tile_{design.array.label}.json")
            assert isinstance(tile, Tile)
            units |= {unit.digest: unit for unit in tile.multipliers}
    return list(units.values())
