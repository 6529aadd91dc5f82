"""How a model is trained."""

import dataclasses
import math
from typing import Any

from hwlut.fields import shorten

__all__ = ["Finetune"]

_AMP = ("bfloat16", "float16")
_INTEGERS = {
    "epochs": (1, 1_000_000),
    "steps": (1, 1 << 40),
    "batch": (1, 1 << 24),
    "seed": (0, (1 << 63) - 1),
    "evaluate_every": (1, 1 << 40),
    "workers": (0, 1024),
}
_NUMBERS = {
    "learning_rate": (0.0, math.inf),
    "temperature_rate": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "warmup": (0.0, 1.0),
    "clip": (0.0, math.inf),
    "ema": (0.0, 1.0),
    "distill": (0.0, 1.0),
    "distill_temperature": (1e-3, math.inf),
    "distill_layers": (0.0, math.inf),
}
_OPTIONAL = ("epochs", "steps", "clip", "evaluate_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
    """How `hwlut.lutnn.finetune` trains: AdamW, the rates rising evenly and then falling to zero along a cosine.

    Parameters
    ----------
    epochs, steps: how long, one of them; by default 10 epochs. An epoch is all whole batches of the training data.
    batch: samples a step, over all processes together.
    learning_rate: at its highest. temperature_rate: that of the parameters named ``temperature``.
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
    workers: processes that load samples; none of the results depends on them.
    """

    epochs: int | None = None
    steps: int | None = None
    batch: int = 100
    learning_rate: float = 3e-3
    temperature_rate: float = 0.1
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
    workers: int = 0

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
        if self.ema == 1:
            raise ValueError("Finetune ema must be below 1, not 1: nothing would be learned")
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
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "workers"}

    def factor(self, step: int, steps: int) -> float:
        """What the rates are multiplied by in a step, from 0 on, of so many."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
