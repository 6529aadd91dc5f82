"""A network of choices, from a task to a trained integer program; every step is kept in a folder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from hwlut.explore.assigned import assign_cells
from hwlut.explore.choices import HELD_OUT, Network
from hwlut.explore.substitution import common_operands, look_up, multiplied, multiply, piecewise
from hwlut.lowering.simulation import Simulation
from hwlut.nn import LutLayer
from hwlut.nn.approx import ApproxLayer
from hwlut.nn.quantized.layers import QuantizedLayer
from hwlut.prune import Joint, compress, open_compressed
from hwlut.records import read_fields, write_record
from hwlut.search import CostTable, synthesized
from hwlut.search.dense import apart, dense_model, narrowed, start
from hwlut.train import Finetune, Task, finetune
from hwlut.train.evaluation import loaded, scored
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import keeping_generators
from hwlut.train.request import check_request
from hwlut.unit import load
from hwlut.units.multiplier import Multiplier
from hwlut.units.program import Program

__all__ = ["Made", "make"]

_SCHEMA = "hwlut.made/1"
_LIMIT = 1 << 20
_FIGURES = {"accuracy": float, "metric": float, "float_accuracy": float, "multipliers": Mapping[str, str]}
_BATCH = 100
_CALIBRATED = 500
"""Training samples by which formats and scales are chosen."""

_TUNED = 0.1, 0.25
"""Of the steps and of the learning rate of the training, what the program is trained by."""

_HARM = 0.05
"""By how much the loss may grow, added up over operations, before that."""

_VALUE_BITS = 8, 16
_FACTOR = 4
"""Bits that the factors of requantizations have beyond the values'."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A network that was made.

    accuracy: the task's metric of the program on held-out training data, which decides; metric: on the test data.
    float_accuracy: of the dense model on the test data. multipliers: of each operation, by the path of its module, the
    name of what multiplies; operations that look up have none.
    """

    folder: Path
    accuracy: float
    metric: float
    float_accuracy: float
    multipliers: Mapping[str, str]
    program: Program = field(repr=False)


def make(
    task: Task,
    network: Network,
    folder: str | Path,
    *,
    weights: str | Path | None = None,
    training: Finetune,
    multipliers: Sequence[Multiplier] = (),
    device: str | torch.device | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Made:
    """Compress the dense model of `task`, let multipliers, look-ups and units stand in for its parts, and train it by
    the integer program that it has become.

    Parameters
    ----------
    network: what it is to be. Operations have one multiplier, the network's or the exact one of its most bits.
    folder: gets ``program.json`` and ``made.json`` in the end, before that what each step keeps. One that was stopped
        goes on, one that is finished is read, one of other arguments is refused.
    weights: a state of the dense model; without it that is trained first where the task says how.
    training: of the compression; the training by the program, of weights and biases of products alone, is a tenth as
        long, at a quarter of the rate.
    multipliers: beside the network's, what operations may have: each takes one of at most two, by the area of a cell
        with these, as far as the loss on held-out data allows.
    device, progress: as for `hwlut.prune.compress`.

    Of the training data a tenth is held out, the same in every network of the seed. Raises ValueError for a network
    that the task cannot have, naming what stands against it.
    """
    place = Path(folder)
    request = {
        "task": task.name,
        "network": network.to_json(),
        "multipliers": {unit.name: unit.digest for unit in multipliers},
        "training": training.settings,
        "weights": None if weights is None else str(weights),
    }
    with processes(device) as group, keeping_generators(group.device):
        check_request(place / "request.json", request, group)
        if not (place / "made.json").exists():
            _Making(task, network, place, weights, training, tuple(multipliers), group, progress).run()
    return _read(place)


class _Making:
    """The steps of `make`."""

    def __init__(
        self,
        task: Task,
        network: Network,
        folder: Path,
        weights: str | Path | None,
        training: Finetune,
        multipliers: tuple[Multiplier, ...],
        group: Processes,
        progress: Callable[[int, int, str], None] | None,
    ):
        self._held, trained = apart(task, HELD_OUT, training.seed)
        self._task, self._network, self._folder = task, network, folder
        self._training, self._multipliers, self._group, self._progress = training, multipliers, group, progress
        self._narrowed = narrowed(task, trained)
        self._weights = start(task, weights, HELD_OUT, training.seed, folder, group)

    def run(self) -> None:
        task, network, group = self._task, self._network, self._group
        given = dataclasses.replace(task, dense=None)
        dense = dense_model(given, self._weights, self._training.seed, self._folder, group)
        float_accuracy = scored(dense.to(group.device), task, group)
        model = self._compressed()
        shown = [inputs for inputs, _ in self._batches(self._narrowed, range(len(self._narrowed.train)))]
        if network.segments is not None and not piecewise(model, network.segments, shown, self._folder):
            raise ValueError("Network segments must be left out for a model without modules of such functions")
        if network.look_ups is not None:
            look_up(model, _between(model), network.look_ups.lookup(self._training.seed), shown)
        self._multiply(model)
        simulation = self._tuned(model, torch.cat(shown) if isinstance(shown[0], torch.Tensor) else shown[0])
        held = dataclasses.replace(task, test=Subset(task.train, self._held))
        figures = {
            "accuracy": scored(simulation, held, group),
            "metric": scored(simulation, task, group),
            "float_accuracy": float_accuracy,
            "multipliers": {path: each.name for path, each in multiplied(model).items()},
        }
        if group.first:
            simulation.program.save(self._folder / "program.json")
            write_record(self._folder / "made.json", "network", _SCHEMA, figures)
        group.wait()

    def _compressed(self) -> nn.Module:
        folder, network = self._folder / "compressed", self._network
        if (folder / "compression.json").exists():
            return open_compressed(folder, self._narrowed)[2].to(self._group.device)
        options = Joint(sparsity=network.sparsity, weight_bits=network.bits, activation_bits=network.bits)
        return compress(
            self._narrowed,
            options,
            self._training,
            folder,
            weights=self._weights,
            device=self._group.device,
            progress=self._progress,
        ).model

    def _multiply(self, model: nn.Module) -> None:
        """Let operations have their multipliers."""
        network = self._network
        first, second = common_operands(model, network.bits[1])
        exact = Multiplier(name=f"exact_{first}_{second}", family="exact", a=first, b=second)
        one = network.multiplier or exact
        multiply(model, one)
        if self._multipliers:
            every = [one, *self._multipliers]
            areas = self._areas(every)
            held = self._batches(self._task, self._held)
            file = self._folder / "harms.json"
            assign_cells(model, every, self._task, held, areas=areas, harm=_HARM, file=file)

    def _areas(self, units: Sequence[Multiplier]) -> CostTable:
        # In this process, which may be one of a pool's: yosys itself is another.
        with ThreadPoolExecutor(1) as executor:
            file = self._folder / "costs.json"
            return synthesized(units, file=file, form={"combinational": True}, executor=executor)

    def _tuned(self, model: nn.Module, sample: Any) -> Simulation:
        bits = min(max(self._network.bits[1] + 2, _VALUE_BITS[0]), _VALUE_BITS[1])
        simulation = Simulation(model, sample, min(bits + _FACTOR, 31), bits)
        share, slower = _TUNED
        steps = max(1, round(share * self._training.count(len(self._narrowed.train))))
        rate = slower * self._training.learning_rate
        options = dataclasses.replace(self._training, epochs=None, steps=steps, learning_rate=rate)
        # All else is constants of functions that the program's engine compiles, which would be compiled in every step.
        model.requires_grad_(False)
        for module in model.modules():
            if isinstance(module, (ApproxLayer, LutLayer)):
                module.requires_grad_(True)
        folder, device = self._folder / "tuned", self._group.device
        finetune(simulation, self._narrowed, options, folder=folder, device=device, progress=self._progress)
        return simulation.eval()

    def _batches(self, task: Task, places: Sequence[int]) -> list[Any]:
        training = self._training
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(training.seed))
        picked = [places[place] for place in order[:_CALIBRATED].tolist()]
        return list(loaded(task.train, picked, _BATCH, training.seed, training.workers, self._group.device))


def _between(model: nn.Module) -> list[str]:
    """Paths of the quantized layers but for the first and the last; ValueError for none."""
    paths = [path for path, module in model.named_modules() if isinstance(module, QuantizedLayer)][1:-1]
    paths = [path for path in paths if getattr(model.get_submodule(path), "groups", 1) == 1]
    if not paths:
        raise ValueError("Network look_ups must be left out for a model without a layer between the first and the last")
    return paths


def _read(folder: Path) -> Made:
    path = folder / "made.json"
    figures = read_fields(path, "network", _SCHEMA, _FIGURES, _LIMIT)
    program = load(folder / "program.json")
    if not isinstance(program, Program):
        raise ValueError(f"{folder / 'program.json'}: network must be a program, not a {type(program).__name__}")
    return Made(folder=folder, program=program, **figures)
