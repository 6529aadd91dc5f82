"""The training loop."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from hwlut.quant.modes import keeping_modes
from hwlut.train.average import Average
from hwlut.train.checkpoint import Checkpoint, State
from hwlut.train.control import Control
from hwlut.train.evaluation import batches, scored
from hwlut.train.log import Log
from hwlut.train.losses import Losses
from hwlut.train.optimizers import optimizer_of
from hwlut.train.options import Finetune
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import draw, keeping_generators
from hwlut.train.recompute import recomputing
from hwlut.train.task import Task

__all__ = ["Evaluation", "Finetuned", "finetune"]

Step = Callable[[int, int, str], None]
_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """After so many steps, this process's mean loss since the one before, and the metric on the test data."""

    step: int
    loss: float
    metric: float


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """What `finetune` did. steps: all. resumed: those that a checkpoint had. evaluations: the last is at the end."""

    steps: int
    resumed: int
    evaluations: tuple[Evaluation, ...]

    @property
    def metric(self) -> float:
        """That of the weights the student now has."""
        return self.evaluations[-1].metric


def finetune(
    student: nn.Module,
    task: Task,
    options: Finetune | None = None,
    *,
    teacher: nn.Module | None = None,
    control: Control | None = None,
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: Step | None = None,
) -> Finetuned:
    """Train `student`, in place, on the training data of `task`; it ends with the averaged weights.

    Parameters
    ----------
    student: the model: one with layers of look-ups, or a dense one.
    options: by default `Finetune()`.
    teacher: the dense model, which is not changed; needed where `options` distill.
    control: takes part in every step.
    folder: holds ``checkpoint.safetensors``, written at each evaluation and every half minute, and ``log.jsonl``, a
        line each time. Where there is a checkpoint, training goes on from it, to the very weights that it would have
        come to without a stop; one of another model or other options is refused.
    device: by default a GPU where there is one. The models are moved there.
    progress: called now and then with the steps done, their number and a text.

    Started by torchrun, the processes train together (`DistributedDataParallel`, gloo or nccl), each on its part of
    every batch; the first writes. Raises ValueError where the loss is no longer finite, with the files as they were.
    """
    options = options or Finetune()
    for label, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, nn.Module) and not (label == "teacher" and model is None):
            raise TypeError(f"finetune {label} must be a torch module, not {type(model).__name__}")
    models = [model for model in (student, teacher) if model is not None]
    with processes(device) as group, keeping_generators(group.device), keeping_modes(*models):
        place = None if folder is None else Path(folder)
        trainer = _Trainer(student, task, options, teacher, control or Control(), place, group)
        if teacher is not None:
            teacher.eval()
        with recomputing(student, options.recompute):
            return trainer.run(progress)


class _Trainer:
    def __init__(
        self,
        student: nn.Module,
        task: Task,
        options: Finetune,
        teacher: nn.Module | None,
        control: Control,
        folder: Path | None,
        group: Processes,
    ):
        self._student, self._task, self._options, self._group = student, task, options, group
        self._control = control
        if options.batch % (group.size * options.accumulate):
            parts = "" if options.accumulate == 1 else f" times the {options.accumulate} parts"
            raise ValueError(
                f"Finetune batch must be a multiple of the {group.size} processes{parts}, not {options.batch}"
            )
        self._steps, self._epoch = options.count(len(task.train)), len(task.train) // options.batch
        student.to(group.device)
        if teacher is not None:
            teacher.to(group.device)
        self._losses = Losses(task, options, student, teacher)
        self._optimizer = optimizer_of(student, options)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=options.amp == "float16")
        self._average = Average(student, options.ema)
        self._folder = folder
        self._log: Log | None = None
        self._checkpoint = None
        if folder is not None and options.save_every != 0:
            file = folder / "checkpoint.safetensors"
            self._checkpoint = Checkpoint(file, options, self._steps, group.size, student)

    def run(self, progress: Step | None) -> Finetuned:
        group, options, student = self._group, self._options, self._student
        done, total, history = 0, 0.0, list[Evaluation]()
        if self._checkpoint is not None and self._checkpoint.path.exists():
            state = self._checkpoint.read(student, self._average, self._optimizer, self._scaler, self._control)
            done, total, history = state.step, state.losses, [Evaluation(*entry) for entry in state.history]
        resumed, counted = done, history[-1].step if history else 0
        if self._folder is not None and group.first:
            self._log = Log(self._folder, done, self._steps, options.tensorboard)
        model: nn.Module = student
        if group.size > 1:
            on = [group.device] if group.device.type == "cuda" else None
            same = type(self._control) is Control  # a control may leave out parameters, others in each step
            model = DistributedDataParallel(student, on, static_graph=same, find_unused_parameters=not same)
        every = options.evaluate_every or self._epoch
        losses, told = torch.tensor(total, device=group.device), time.monotonic()
        self._control.start(self._steps, group)
        for inputs, target in self._batches(done) if done < self._steps else ():
            losses += self._step(model, inputs, target, done)
            done += 1
            evaluated = done == self._steps or done % every == 0
            regular = evaluated or (group.first and time.monotonic() - told >= _SECONDS)
            log, save = (_due(interval, done, regular) for interval in (options.log_every, options.save_every))
            if not (regular or log or save):
                continue
            total = float(losses)
            loss = total / (done - counted)
            if not math.isfinite(loss):
                raise ValueError(f"training loss must be finite, not {loss} up to step {done}: lower the learning rate")
            if evaluated:
                self._control.measured(self._average.module)
                metric = scored(self._average.module, self._task, group, options.batch, options.workers)
                history.append(Evaluation(done, loss, metric))
                losses, total, counted = torch.zeros_like(losses), 0.0, done
            state = State(done, total, [list(dataclasses.astuple(entry)) for entry in history])
            self._keep(state, loss, log or done == self._steps, save or done == self._steps)
            if progress is not None and group.first:
                progress(done, self._steps, f"loss {loss:.4g}" + (f", {100 * metric:.2f} %" if evaluated else ""))
            told = time.monotonic()
        if self._average.module is not student:
            student.load_state_dict(self._average.module.state_dict())
        if self._log is not None:
            self._log.close()
        group.wait()
        return Finetuned(self._steps, resumed, tuple(history))

    def _step(self, model: nn.Module, inputs: Any, target: Any, step: int) -> torch.Tensor:
        """One step; its loss."""
        options, device = self._options, self._group.device
        draw(device, options.seed, step, self._group.rank)
        model.train()
        factor = options.factor(step, self._steps)
        for group, rate in zip(self._optimizer.param_groups, self._rates):
            group["lr"] = rate * factor
        kind = getattr(torch, options.amp or "bfloat16")
        if self._control.before(step):
            self._average.restart(self._student)
        self._optimizer.zero_grad()
        total = torch.zeros((), device=device)
        parts = list(zip(_parts(inputs, options.accumulate), _parts(target, options.accumulate)))
        for place, (some, wanted) in enumerate(parts):
            with torch.autocast(device.type, kind, enabled=options.amp is not None):
                loss = self._control.loss(self._losses(model, some, wanted)) / len(parts)
            waits = isinstance(model, DistributedDataParallel) and place + 1 < len(parts)
            with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
                self._scaler.scale(loss).backward()
            total += loss.detach()
        if options.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._student.parameters(), options.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._control.after(step)
        self._average.update(self._student)
        return total

    def _batches(self, done: int) -> Iterator[Any]:
        """The batches from step `done` on, to the end; each epoch in an order of its own."""
        options, group = self._options, self._group
        sampler: DistributedSampler[int] = DistributedSampler(
            range(len(self._task.train)),  # type: ignore[arg-type]
            num_replicas=group.size,
            rank=group.rank,
            seed=options.seed,
            drop_last=True,
        )
        share = options.batch // group.size
        for epoch in range(done // self._epoch, -(-self._steps // self._epoch)):
            sampler.set_epoch(epoch)
            keys = [(epoch, place) for place in sampler]
            parts = [keys[share * i : share * (i + 1)] for i in range(self._epoch)]
            first = max(0, done - epoch * self._epoch)
            last = min(self._epoch, self._steps - epoch * self._epoch)
            yield from batches(self._task.train, parts[first:last], options.seed, options.workers, group.device)

    def _keep(self, state: State, loss: float, log: bool, save: bool) -> None:
        if not self._group.first:
            return
        if log and self._log is not None:
            line: dict[str, Any] = {"loss": loss}
            if state.history and state.history[-1][0] == state.step:
                line["metric"] = state.history[-1][2]
            self._log.write(state.step, line | dict(self._control.told()))
        if save and self._checkpoint is not None:
            self._checkpoint.write(state, self._student, self._average, self._optimizer, self._scaler, self._control)


def _due(interval: int | None, done: int, regular: bool) -> bool:
    """Whether what is done every so many steps, or with None regularly, is due."""
    return regular if interval is None else interval > 0 and done % interval == 0


def _parts(value: Any, count: int) -> list[Any]:
    """The samples in tensors, tuples, lists and dicts, in so many parts."""
    if count == 1:
        return [value]
    if isinstance(value, torch.Tensor):
        return list(value.chunk(count))
    if isinstance(value, dict):
        each = {name: _parts(entry, count) for name, entry in value.items()}
        return [{name: entries[place] for name, entries in each.items()} for place in range(count)]
    assert isinstance(value, (tuple, list))
    return [type(value)(entries) for entries in zip(*(_parts(entry, count) for entry in value))]
