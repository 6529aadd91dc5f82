"""The whole way: a dense model trained, converted, finetuned, measured, written."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.lutnn.layers import save_units
from hwlut.lutnn.lookups import from_json, rebuild, to_json
from hwlut.lutnn.record import Record
from hwlut.lutnn.replacement import replace
from hwlut.nn import Lookup
from hwlut.train.evaluation import loaded, scored
from hwlut.train.options import Finetune
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import draw, keeping_generators
from hwlut.train.states import load_state, save_state, warm_start
from hwlut.train.task import Task
from hwlut.train.training import Evaluation, finetune

__all__ = ["Result", "open_run", "run"]

Step = Callable[[int, int, str], None]
_BATCH = 100


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to.

    dense, converted, finetuned: the task's metric on its test data after each stage. layers: the names of the layers of
    look-ups. left: why others are dense. taken: tensors that a warm start took over. evaluations: while finetuned.
    """

    folder: Path
    dense: float
    converted: float
    finetuned: float
    layers: tuple[str, ...]
    left: Mapping[str, str]
    taken: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    model: nn.Module = dataclasses.field(repr=False)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Each stage and its metric in percent."""
        stages = ("dense", "converted", "finetuned")
        return [(stage, f"{100 * getattr(self, stage):.2f}") for stage in stages]

    def __str__(self) -> str:
        lines = [f"{stage:9}  {figure:>6}" for stage, figure in self.rows]
        return "\n".join([*lines, f"{len(self.layers)} layers looked up, in {self.folder}"])


def run(
    task: Task,
    lookup: Lookup | Mapping[str, Lookup],
    options: Finetune,
    folder: str | Path,
    *,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    keep_ends: bool = True,
    last_blocks: int | None = None,
    order: str = "together",
    samples: int = 1000,
    dense: str | Path | None = None,
    warm: str | Path | None = None,
    source: str | None = None,
    device: str | torch.device | None = None,
    progress: Step | None = None,
) -> Result:
    """Train or load the dense model of `task`, convert it (`hwlut.lutnn.replace`), finetune it, and measure each.

    Parameters
    ----------
    lookup, include, exclude, keep_ends, last_blocks, order: as for `replace`.
    options: of finetuning; with the dense model as the teacher where they distill.
    folder: gets ``config.json``, ``dense.safetensors``, ``converted.safetensors``, ``student.safetensors``, the
        checkpoint and ``log.jsonl`` of finetuning, in ``dense`` those of the dense model's training, and ``units``, the
        layers' parameter tables. A run that was stopped goes on with the next step; one of other arguments is refused.
    samples: how many of the training data layers learn from, drawn by the seed.
    dense: a state of the dense model, in the place of its training.
    warm: an earlier state, of which the student takes over what fits before it is finetuned (`warm_start`).
    source: the file of the task, for `open_run`.
    device: by default a GPU where there is one.
    progress: called with steps done, their number and a text that names the stage.
    """
    if not isinstance(task, Task):
        raise TypeError(f"run task must be a Task, not {type(task).__name__}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"run samples must be an integer of at least 1, not {samples!r}")
    lookups = lookup if isinstance(lookup, Mapping) else {"*": lookup}
    request: dict[str, Any] = {
        "task": task.name,
        "lookups": {pattern: to_json(each) for pattern, each in lookups.items()},
        "include": list(include),
        "exclude": list(exclude),
        "keep_ends": keep_ends,
        "last_blocks": last_blocks,
        "order": order,
        "samples": samples,
        "dense": None if dense is None else str(dense),
        "warm": None if warm is None else str(warm),
        "options": options.settings,
    }
    with processes(device) as group, keeping_generators(group.device):
        record = Record.started(Path(folder), request, source)
        group.wait()
        if group.first:
            record.write()
        flow = _Flow(task, options, record, group, progress)
        teacher = flow.dense(dense)
        chosen = {"include": include, "exclude": exclude, "keep_ends": keep_ends, "last_blocks": last_blocks}
        student = flow.converted(teacher, lookups, samples, chosen | {"order": order})
        taken = () if warm is None else warm_start(student, warm)
        evaluations = flow.finetuned(student, teacher)
    return Result(
        folder=record.folder,
        layers=tuple(record.layers),
        left=record.left,
        taken=taken,
        evaluations=evaluations,
        model=student,
        **record.metrics,
    )


def open_run(folder: str | Path) -> tuple[Record, Task, nn.Module]:
    """The record of a finished run, its task, and its student with the weights it came to, in evaluation mode."""
    record = Record.read(Path(folder))
    if "finetuned" not in record.metrics:
        raise ValueError(f"{folder}: run must be finished; it has come to {', '.join(record.metrics) or 'nothing'}")
    if record.source is None:
        raise ValueError(f"{folder}: run must have a task file to be opened; it was started without one")
    task = Task.load(record.source)
    return record, task, _rebuilt(task.model(), record, record.student)


def _rebuilt(model: nn.Module, record: Record, path: Path) -> nn.Module:
    rebuild(model, {name: from_json(content) for name, content in record.layers.items()}, path)
    return model.eval()


class _Flow:
    """The stages of one run; each is skipped where its files are there."""

    def __init__(self, task: Task, options: Finetune, record: Record, group: Processes, progress: Step | None):
        self._task, self._options, self._record, self._group = task, options, record, group
        self._progress = progress

    def dense(self, given: str | Path | None) -> nn.Module:
        """The dense model with its weights."""
        task, record = self._task, self._record
        model = self._model()
        if "dense" in record.metrics:
            load_state(record.dense, model)
            return model.to(self._group.device).eval()
        if given is not None:
            load_state(Path(given), model)
        elif task.dense is not None:
            said = self._told("dense")
            finetune(model, task, task.dense, folder=record.folder / "dense", device=self._group.device, progress=said)
        return self._measured("dense", record.dense, model.to(self._group.device).eval())

    def converted(
        self, dense: nn.Module, lookups: Mapping[str, Lookup], samples: int, chosen: Mapping[str, Any]
    ) -> nn.Module:
        """A copy of the dense model with layers of look-ups; the first process makes it, the others read it."""
        record, group = self._record, self._group
        if "converted" in record.metrics:
            return _rebuilt(copy.deepcopy(dense), record, record.converted)
        student = copy.deepcopy(dense)
        if group.first:
            said = self._told("converted")
            found = replace(student, lookups, self._shown(samples), progress=said, **chosen)
            record.layers = {name: to_json(each) for name, each in found.lookups.items()}
            record.left = dict(found.left)
            save_state(record.converted, student)
            record.write()
        group.wait()
        if not group.first:
            made = Record.read(record.folder)
            record.layers, record.left = made.layers, made.left
            student = _rebuilt(student, record, record.converted)
        return self._measured("converted", None, student)

    def finetuned(self, student: nn.Module, teacher: nn.Module) -> tuple[Evaluation, ...]:
        """Train the student; what the evaluations gave."""
        options, record, group = self._options, self._record, self._group
        taught = teacher if options.distills else None
        said = self._told("finetuned")
        done = finetune(
            student, self._task, options, teacher=taught, folder=record.folder, device=group.device, progress=said
        )
        student.eval()
        if "finetuned" not in record.metrics:
            if group.first:
                save_units(student, record.units)
            self._measured("finetuned", record.student, student)
        return done.evaluations

    def _model(self) -> nn.Module:
        draw(torch.device("cpu"), self._options.seed)
        model = self._task.model()
        if not isinstance(model, nn.Module):
            raise TypeError(f"Task model must return a torch module, not {type(model).__name__}")
        return model

    def _shown(self, samples: int) -> list[Any]:
        """Inputs that layers learn from."""
        task, seed = self._task, self._options.seed
        generator = torch.Generator().manual_seed(seed)
        places = torch.randperm(len(task.train), generator=generator)[:samples].tolist()
        shown = loaded(task.train, places, _BATCH, seed, self._options.workers, self._group.device)
        return [inputs for inputs, _ in shown]

    def _measured(self, stage: str, path: Path | None, model: nn.Module) -> nn.Module:
        """Keep the model's state and its metric."""
        record, group = self._record, self._group
        metric = scored(model, self._task, group, _BATCH, self._options.workers)
        if group.first and path is not None:
            save_state(path, model)
        record.metrics[stage] = metric
        if group.first:
            record.write()
        group.wait()
        return model

    def _told(self, stage: str) -> Step | None:
        progress = self._progress
        if progress is None:
            return None
        return lambda done, total, text: progress(done, total, f"{stage}, {text}")
