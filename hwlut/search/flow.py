"""A whole search: a model is quantized, trained while precisions are searched, and written as it was found."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.nn.quantized import quantize, quantized_operations, split_attention
from hwlut.quant import Calibrated, calibrate
from hwlut.quant.precision import Precision
from hwlut.search.budget import bounds, check_target, cost_of, counted_by
from hwlut.search.control import Searching
from hwlut.search.cost import Cost
from hwlut.search.dense import apart, dense_model, narrowed
from hwlut.search.judge import Judge, reestimate
from hwlut.search.methods import METHODS, Problem
from hwlut.search.options import Search
from hwlut.search.result import Configuration, QuantizedOperation, numbers_of
from hwlut.search.source import task_of_run
from hwlut.search.space import Space
from hwlut.train import Evaluation, Finetune, Task, finetune, load_state, sample, save_state
from hwlut.train.evaluation import loaded, scored
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import keeping_generators
from hwlut.train.request import check_request

__all__ = ["Found", "open_search", "search"]

Step = Callable[[int, int, str], None]
_BATCH = 100
_REESTIMATED = 20  # batches
_WARMUP = 0.1


@dataclasses.dataclass(frozen=True)
class Found:
    """Result of `search`. folder: of files. configuration: as in one. evaluations: in training. model: as it now is."""

    folder: Path
    configuration: Configuration
    evaluations: tuple[Evaluation, ...]
    model: nn.Module = dataclasses.field(repr=False)


def search(
    task: Task,
    options: Search,
    training: Finetune,
    folder: str | Path,
    *,
    cost: Cost | None = None,
    weights: str | Path | None = None,
    source: Any = None,
    device: str | torch.device | None = None,
    progress: Step | None = None,
) -> Found:
    """Search the precisions of the model of `task`, train it with them, and measure it on the test data.

    Parameters
    ----------
    task: held-out data for the search is taken from its training data; its test data decide nothing. A `dense` of its
        own is trained first.
    options, training: of the search and of all steps together.
    folder: gets ``config.json`` (a `Configuration`), ``model.safetensors``, ``checkpoint.safetensors`` and
        ``log.jsonl``, whose lines have the policy. A search that was stopped goes on; one of other arguments
        is refused.
    cost: of an operation by its path and a `Precision`; in the place of ``options.cost``.
    weights: a state of the dense model to start from.
    source: where `open_search` finds the task again, as plain JSON: see `hwlut.search.source.task_of`.
    device: by default a GPU where there is one. progress: called with steps done, their number and a text.

    Started by torchrun, the processes train and search together. Raises ValueError where nothing can be quantized, no
    choice meets the target, and for data or losses that are not finite.
    """
    if not isinstance(task, Task):
        raise TypeError(f"search task must be a Task, not {type(task).__name__}")
    if options.method == "gradient" and training.amp == "float16":
        raise ValueError("search amp must be None or bfloat16 with gradient: float16 scales the gradients of shares")
    request = {
        "task": task.name,
        "search": options.settings,
        "training": training.settings,
        "cost": None if cost is None else getattr(cost, "__name__", type(cost).__name__),
        "weights": None if weights is None else str(weights),
    }
    place = Path(folder)
    with processes(device) as group, keeping_generators(group.device):
        check_request(place / "request.json", request, group)
        run = _Run(task, options, training, place, group, progress)
        return run(request, cost, weights, source)


class _Run:
    def __init__(
        self,
        task: Task,
        options: Search,
        training: Finetune,
        folder: Path,
        group: Processes,
        progress: Step | None,
    ):
        self._task, self._options, self._training = task, options, training
        self._folder, self._group, self._progress = folder, group, progress
        self._held_out, self._trained = apart(task, options.held_out, training.seed)
        self._narrowed = narrowed(task, self._trained)

    def __call__(self, request: dict[str, Any], cost: Cost | None, weights: str | Path | None, source: Any) -> Found:
        task, options, group = self._task, self._options, self._group
        model = dense_model(self._narrowed, weights, self._training.seed, self._folder / "dense", group)
        space = options.space(model, sample(task))
        counted, target = counted_by(space, options, cost)
        costs = space.costs(counted)
        check_target(space, costs, target)
        if target <= 0:
            raise ValueError(f"search target must be above 0, not {target:g}: costs count as shares of it")
        quantize(model, _precisions(space), options.quantizers, space.owners)
        shown = self._shown(options.calibration)
        calibrated = partial(_calibrated, model.to(group.device), shown, group)
        calibrated()
        judge = Judge(model, task, self._judged())
        problem = Problem(model, space, costs, target, options, judge, self._training.seed, group)
        warmup = options.warmup
        if warmup is None:
            warmup = _WARMUP if weights is None and task.dense is None else 0.0
        control = Searching(METHODS[options.method](problem), problem, warmup, calibrated)
        done = finetune(
            model, self._narrowed, self._training, control=control, folder=self._folder, device=group.device,
            progress=self._progress,
        )  # fmt: skip
        assert control.found is not None
        problem.select(control.found)
        batch = self._training.batch
        reestimate(model, self._shown(_REESTIMATED * batch))
        for operation in quantized_operations(model).values():
            for choice in operation.choices:
                if choice is not None:
                    choice.settle()
        model.eval()
        evaluations = judge.evaluations
        spent, (least, most) = cost_of(costs, control.found), bounds(space, costs)
        assert spent <= target
        configuration = Configuration(
            request=request,
            source=source,
            operations=_operations(model, space, control.found, counted),
            owners=dict(space.owners),
            left=dict(space.left),
            cost=spent,
            target=target,
            least=least,
            most=most,
            metric=scored(model, task, group, _BATCH, self._training.workers),
            loss=judge.mean(group),
            probabilities=control.probabilities,
            evaluations=evaluations,
        )
        if group.first:
            save_state(self._folder / "model.safetensors", model)
            configuration.save(self._folder / "config.json")
        group.wait()
        return Found(self._folder, configuration, done.evaluations, model)

    def _loaded(self, places: list[int], size: int) -> list[Any]:
        """Batches of training samples."""
        training = self._training
        return list(loaded(self._task.train, places, size, training.seed, training.workers, self._group.device))

    def _shown(self, count: int) -> list[Any]:
        """Inputs of training samples."""
        generator = torch.Generator().manual_seed(self._training.seed)
        order = torch.randperm(len(self._trained), generator=generator)[:count].tolist()
        return [inputs for inputs, _ in self._loaded([self._trained[place] for place in order], _BATCH)]

    def _judged(self) -> list[Any]:
        """Held-out batches, whole ones where there is one; of each, the part of this process."""
        size, group = self._options.held_out_batch or self._training.batch, self._group
        size = min(size, len(self._held_out))
        if size < group.size:
            raise ValueError(f"Search held_out must leave a sample for each of {group.size} processes, not {size}")
        whole = self._held_out[: len(self._held_out) // size * size]
        parts = [whole[start : start + size][group.rank :: group.size] for start in range(0, len(whole), size)]
        return [batch for part in parts for batch in self._loaded(part, size)]


def _calibrated(model: nn.Module, shown: list[Any], group: Processes) -> None:
    """Let quantizers choose their steps, where any has a choice, by running statistics that each process has of its
    own: those of the first count.
    """
    if any(isinstance(module, Calibrated) and module.calibrates for module in model.modules()):
        calibrate(model, shown)
        group.agree(model.state_dict().values())


def _precisions(space: Space) -> dict[str, tuple[Precision, ...]]:
    return {name: decision.choices for decision in space.decisions for name in decision.operations}


def _operations(
    model: nn.Module, space: Space, found: Mapping[str, Precision], cost: Cost
) -> dict[str, QuantizedOperation]:
    modules = quantized_operations(model)
    return {
        name: QuantizedOperation(
            precision=found[decision.name],
            shape=space.shapes[name],
            cost=cost(name, found[decision.name]),
            decision=decision.name,
            **numbers_of(modules[name]),
        )
        for decision in space.decisions
        for name in decision.operations
    }


def open_search(folder: str | Path, task: Task | None = None) -> tuple[Configuration, Task, nn.Module]:
    """The configuration of a finished search, its task (unless given), and its model, in evaluation mode."""
    folder = Path(folder)
    configuration = Configuration.load(folder / "config.json")
    if task is None:
        task = task_of_run(folder, "search", configuration.source)
    model = task.model()
    split_attention(model)
    precisions = {name: (each.precision,) for name, each in configuration.operations.items()}
    quantize(model, precisions, configuration.quantizers, configuration.owners)
    load_state(folder / "model.safetensors", model)
    return configuration, task, model.eval()
