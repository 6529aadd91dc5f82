"""How a model is trained."""

import dataclasses
import math
from typing import Any

from hwlut.fields import shorten

__all__ = ["Finetune"]

_AMP = ("bfloat16", "float16")
_OPTIMIZERS = ("adamw", "adam", "sgd")
_INTEGERS = {
    "epochs": (1, 1_000_000),
    "steps": (1, 1 << 40),
    "batch": (1, 1 << 24),
    "seed": (0, (1 << 63) - 1),
    "accumulate": (1, 1 << 24),
    "evaluate_every": (1, 1 << 40),
    "log_every": (1, 1 << 40),
    "save_every": (0, 1 << 40),
    "workers": (0, 1024),
}
_NUMBERS = {
    "learning_rate": (0.0, math.inf),
    "temperature_rate": (0.0, math.inf),
    "step_rate": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "warmup": (0.0, 1.0),
    "clip": (0.0, math.inf),
    "ema": (0.0, 1.0),
    "distill": (0.0, 1.0),
    "distill_temperature": (1e-3, math.inf),
    "distill_layers": (0.0, math.inf),
}
_FLAGS = ("recompute", "tensorboard")
_ASIDE = ("workers", "log_every", "save_every", *_FLAGS)
_OPTIONAL = ("epochs", "steps", "clip", "evaluate_every", "log_every", "save_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
    """How `hwlut.train.finetune` trains: the rates rise evenly and then fall to zero along a cosine.

    Parameters
    ----------
    epochs, steps: how long, one of them; by default 10 epochs. An epoch is all whole batches of the training data.
    batch: samples a step, over all processes together. accumulate: equal parts of it that are computed one by one, to
        the same sum of gradients, for less memory.
    optimizer: "adamw", "adam", whose decay is part of the gradient, or "sgd", with a momentum of 0.9.
    learning_rate: at its highest. temperature_rate: that of the parameters named ``temperature``. step_rate: that of
        the learned steps of quantizers.
    weight_decay: of parameters of two dimensions and more, but for prototypes and thresholds.
    warmup: share of the steps in which the rates rise.
    clip: largest norm of all gradients together; None leaves them.
    ema: decay of the running average of the weights, which is what is evaluated and kept; less in the beginning,
        ``(1 + step) / (10 + step)``. With 0 the weights are those of the last step.
    distill: share of the loss that is the divergence of the logits from the teacher's; the rest is the task's own.
    distill_temperature: of the softmax of both; the divergence counts its square times.
    distill_layers: weight, beside these, of the mean over layers of look-ups of the squared difference of their output
        from that of the teacher's layer, over the variance of that.
    amp: "bfloat16" or "float16", what the dense parts compute in under autocast; None is float32.
    seed: of order and all that is drawn in training.
    evaluate_every: steps from one evaluation to the next; None is once an epoch. There is always one at the end.
    log_every, save_every: steps from one line of the log, or checkpoint, to the next; None is at each evaluation and
        every half minute. With a save_every of 0 there is no checkpoint.
    workers: processes that load samples; none of the results depends on them.
    recompute: keep only the inputs of the model's blocks, and compute what is in them again in the backward pass: the
        gradient checkpointing of transformers' models, to the same weights.
    tensorboard: write the numbers of the log for TensorBoard too.
    """

    epochs: int | None = None
    steps: int | None = None
    batch: int = 100
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    temperature_rate: float = 0.1
    step_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float | None = 1.0
    ema: float = 0.999
    distill: float = 0.0
    distill_temperature: float = 2.0
    distill_layers: float = 0.0
    amp: str | None = None
    seed: int = 0
    evaluate_every: int | None = None
    log_every: int | None = None
    save_every: int | None = None
    workers: int = 0
    recompute: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _INTEGERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Finetune {name} must be an integer, not {shorten(value)}")
            if not least <= value <= most:
                raise ValueError(f"Finetune {name} must be from {least} to {most}, not {value}")
        for name, (low, high) in _NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"Finetune {name} must be a number, not {shorten(value)}")
            if not (low <= value <= high and math.isfinite(value)):
                span = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
                raise ValueError(f"Finetune {name} must be {span} and finite, not {value:g}")
            object.__setattr__(self, name, float(value))
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"Finetune {name} must be true or false, not {shorten(getattr(self, name))}")
        if self.ema == 1:
            raise ValueError("Finetune ema must be below 1, not 1: nothing would be learned")
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(
                f"Finetune optimizer must be one of {', '.join(_OPTIMIZERS)}, not {shorten(self.optimizer)}"
            )
        if self.batch % self.accumulate:
            raise ValueError(f"Finetune batch must be a multiple of accumulate, {self.accumulate}, not {self.batch}")
        if self.amp is not None and self.amp not in _AMP:
            raise ValueError(f"Finetune amp must be None or one of {', '.join(_AMP)}, not {shorten(self.amp)}")
        if self.epochs is not None and self.steps is not None:
            raise ValueError("Finetune must be given epochs or steps, not both")
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 10)

    @property
    def distills(self) -> bool:
        """Whether there must be a teacher."""
        return self.distill > 0 or self.distill_layers > 0

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _ASIDE}

    def count(self, samples: int) -> int:
        """The steps of a training on so many samples. ValueError where they are fewer than a batch."""
        epoch = samples // self.batch
        if not epoch:
            raise ValueError(f"Task train must have a batch of {self.batch} samples, not {samples}")
        return self.steps or (self.epochs or 0) * epoch

    def factor(self, step: int, steps: int) -> float:
        """What the rates are multiplied by in a step, from 0 on, of so many."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
