"""The training loop."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from hwlut.files import write_atomic
from hwlut.lutnn.average import Average
from hwlut.lutnn.checkpoint import Checkpoint, State
from hwlut.lutnn.evaluation import batches, scored
from hwlut.lutnn.losses import Losses
from hwlut.lutnn.options import Finetune
from hwlut.lutnn.processes import Processes, processes
from hwlut.lutnn.randomness import draw, keeping_generators
from hwlut.lutnn.task import Task
from hwlut.nn import LutLayer
from hwlut.quant.modes import keeping_modes

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
        trainer = _Trainer(student, task, options, teacher, None if folder is None else Path(folder), group)
        if teacher is not None:
            teacher.eval()
        return trainer.run(progress)


class _Trainer:
    def __init__(
        self,
        student: nn.Module,
        task: Task,
        options: Finetune,
        teacher: nn.Module | None,
        folder: Path | None,
        group: Processes,
    ):
        self._student, self._task, self._options, self._group = student, task, options, group
        if options.batch % group.size:
            raise ValueError(f"Finetune batch must be a multiple of the {group.size} processes, not {options.batch}")
        self._epoch = len(task.train) // options.batch
        if not self._epoch:
            raise ValueError(f"Task train must have a batch of {options.batch} samples, not {len(task.train)}")
        self._steps = options.steps or (options.epochs or 0) * self._epoch
        student.to(group.device)
        if teacher is not None:
            teacher.to(group.device)
        self._losses = Losses(task, options, student, teacher)
        self._optimizer = torch.optim.AdamW(_groups(student, options))
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=options.amp == "float16")
        self._average = Average(student, options.ema)
        self._log = None if folder is None else folder / "log.jsonl"
        self._checkpoint = None
        if folder is not None:
            file = folder / "checkpoint.safetensors"
            self._checkpoint = Checkpoint(file, options, self._steps, group.size, student)

    def run(self, progress: Step | None) -> Finetuned:
        group, options, student = self._group, self._options, self._student
        done, total, history = 0, 0.0, list[Evaluation]()
        if self._checkpoint is not None and self._checkpoint.path.exists():
            state = self._checkpoint.read(student, self._average, self._optimizer, self._scaler)
            done, total, history = state.step, state.losses, [Evaluation(*entry) for entry in state.history]
        resumed, counted = done, history[-1].step if history else 0
        self._start_log(done)
        model: nn.Module = student
        if group.size > 1:
            on = [group.device] if group.device.type == "cuda" else None
            model = DistributedDataParallel(student, device_ids=on, static_graph=True)
        every = options.evaluate_every or self._epoch
        losses, told = torch.tensor(total, device=group.device), time.monotonic()
        for inputs, target in self._batches(done) if done < self._steps else ():
            losses += self._step(model, inputs, target, done)
            done += 1
            evaluated = done == self._steps or done % every == 0
            if not evaluated and (not group.first or time.monotonic() - told < _SECONDS):
                continue
            total = float(losses)
            loss = total / (done - counted)
            if not math.isfinite(loss):
                raise ValueError(f"training loss must be finite, not {loss} up to step {done}: lower the learning rate")
            if evaluated:
                metric = scored(self._average.module, self._task, group, options.batch, options.workers)
                history.append(Evaluation(done, loss, metric))
                losses, total, counted = torch.zeros_like(losses), 0.0, done
            self._keep(State(done, total, [list(dataclasses.astuple(entry)) for entry in history]), loss)
            if progress is not None and group.first:
                progress(done, self._steps, f"loss {loss:.4g}" + (f", {100 * metric:.2f} %" if evaluated else ""))
            told = time.monotonic()
        if self._average.module is not student:
            student.load_state_dict(self._average.module.state_dict())
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
        with torch.autocast(device.type, kind, enabled=options.amp is not None):
            loss = self._losses(model, inputs, target)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        if options.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._student.parameters(), options.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average.update(self._student)
        return loss.detach().float()

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

    def _keep(self, state: State, loss: float) -> None:
        if self._checkpoint is None or self._log is None or not self._group.first:
            return
        line: dict[str, Any] = {"step": state.step, "steps": self._steps, "loss": loss}
        if state.history and state.history[-1][0] == state.step:
            line["metric"] = state.history[-1][2]
        with open(self._log, "a") as file:
            file.write(json.dumps(line) + "\n")
        self._checkpoint.write(state, self._student, self._average, self._optimizer, self._scaler)

    def _start_log(self, done: int) -> None:
        """Leave of the log what the checkpoint has seen."""
        if self._log is None or not self._group.first:
            return
        lines = self._log.read_text().splitlines() if done and self._log.exists() else []
        write_atomic(self._log, "".join(f"{line}\n" for line in lines if _step_of(line) <= done))


def _step_of(line: str) -> float:
    """The step of a line of the log; of a torn one none."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _groups(student: nn.Module, options: Finetune) -> list[dict[str, Any]]:
    """The parameters, each with its rate and decay."""
    places = {
        id(parameter)
        for layer in student.modules()
        if isinstance(layer, LutLayer)
        for name, parameter in layer.named_parameters(recurse=False)
        if name in ("prototypes", "thresholds")
    }
    temperatures, decayed, free = [], [], []
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.rpartition(".")[2] == "temperature":
            temperatures.append(parameter)
        elif parameter.dim() >= 2 and id(parameter) not in places:
            decayed.append(parameter)
        else:
            free.append(parameter)
    if not (temperatures or decayed or free):
        raise ValueError("finetune student must have a parameter to train; it has none")
    rates = (temperatures, options.temperature_rate, 0.0), (decayed, options.learning_rate, options.weight_decay)
    found = (*rates, (free, options.learning_rate, 0.0))
    return [{"params": params, "lr": rate, "weight_decay": decay} for params, rate, decay in found if params]
