"""How a quantization search goes about it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from hwlut.fields import shorten
from hwlut.nn.quantized import Operands
from hwlut.quant.formats import Format
from hwlut.quant.precision import format_name
from hwlut.search.reward import REWARDS
from hwlut.search.schedule import SCHEDULES
from hwlut.search.space import Space, space_of

__all__ = ["COSTS", "METHODS", "Search"]

METHODS = ("oneshot", "gradient", "evolution", "random", "sensitivity", "uniform")
COSTS = ("memory", "bit_operations")

_INTEGERS = {
    "delay_steps": (0, 1 << 40),
    "evaluations": (1, 1 << 40),
    "population": (2, 1 << 20),
    "calibration": (1, 1 << 30),
    "held_out_batch": (1, 1 << 24),
}
_NUMBERS = {
    "target": (0.0, math.inf),
    "target_bits": (0.0, math.inf),
    "warmup": (0.0, 1.0),
    "share": (0.0, 1.0),
    "held_out": (0.0, 0.9),
    "beta": (0.0, math.inf),
    "rate": (0.0, math.inf),
    "entropy": (0.0, math.inf),
}
_OPTIONAL = ("delay_steps", "evaluations", "target", "target_bits", "warmup", "held_out_batch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What `hwlut.search.search` decides, and by which method.

    Parameters
    ----------
    formats: those there are to choose from; None is no quantization. "uniform" takes the widest that meets the target.
    method: "oneshot", REINFORCE on weights that all precisions share (FLIQS, arXiv 2308.03290); "gradient", a
        relaxation: the convex combination of all formats, whose shares are learned with the weights; "evolution" and
        "random", of configurations that meet the target, by held-out loss on shared weights; "sensitivity", the
        knapsack of what each choice alone does to the loss, before training; "uniform".
    include, exclude, decide, operands, activation: as for `hwlut.search.space_of`.
    quantizers: how operands are quantized.
    cost: "memory", bits of weights; or "bit_operations", multiply-accumulates times the bits of both operands.
    target, target_bits: the most that it may be; as a number, or as what so many bits everywhere would
        cost, or with operands "weights", of all weights beside the activations there are.
    function, beta: the reward, one of `hwlut.search.REWARDS`, and its weight of the cost. With "within", only
        configurations that meet the target are drawn. "gradient" adds beta times
        the expected cost above the target, over the target, to the loss.
    warmup: share of the training steps before anything is quantized, and quantizers start by the activations there are.
        Unless given, none where there are weights to start from, else a tenth.
    share: of the training steps that search; in the rest, the weights go on with what was found.
    delay_steps: first steps in which all is as likely and nothing learned; a quarter of the search unless given.
    rate: of the policy's, or the shares', gradient steps.
    entropy, schedule: highest weight of the policy's entropy in its loss, and how it rises: one of
        `hwlut.search.SCHEDULES`.
    evaluations, population: held-out evaluations of "evolution" and "random", as many as "oneshot" would take unless
        given, and how many configurations evolve.
    held_out: share of the training data on which choices are judged and no weight is trained. held_out_batch: samples
        of one judgement, the batch of training unless given.
    calibration: samples by which quantizers start.
    """

    formats: Sequence[Format | None]
    method: str = "oneshot"
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    decide: str | Sequence[str] = "layer"
    operands: str = "same"
    activation: Format | None = None
    quantizers: Operands = dataclasses.field(default_factory=Operands)
    cost: str = "bit_operations"
    target: float | None = None
    target_bits: float | None = None
    function: str = "within"
    beta: float = 1.0
    warmup: float | None = None
    share: float = 0.4
    delay_steps: int | None = None
    rate: float = 0.5
    entropy: float = 0.02
    schedule: str = "cosine"
    evaluations: int | None = None
    population: int = 20
    held_out: float = 0.1
    held_out_batch: int | None = None
    calibration: int = 100

    def __post_init__(self) -> None:
        for name, (least, most) in _INTEGERS.items():
            _check(name, getattr(self, name), int, "an integer", least, most)
        for name, (low, high) in _NUMBERS.items():
            _check(name, getattr(self, name), (int, float), "a number", low, high)
        words = {"method": METHODS, "cost": COSTS, "function": tuple(REWARDS), "schedule": tuple(SCHEDULES)}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise ValueError(f"Search {name} must be one of {', '.join(known)}, not {shorten(getattr(self, name))}")
        for name in ("include", "exclude"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"Search {name} must be a list of patterns, not {shorten(getattr(self, name))}")
        for name in ("formats", "include", "exclude"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for each in (*self.formats, self.activation):
            if not isinstance(each, Format | None):
                raise TypeError(f"Search formats must be Fixed, Minifloat or None, not {shorten(each)}")
        if (self.target is None) == (self.target_bits is None):
            raise ValueError("Search must be given target or target_bits, one of them")
        if not 0 < self.held_out:
            raise ValueError("Search held_out must be above 0: choices are judged by it")
        if self.method in ("oneshot", "gradient", "evolution", "random") and not 0 < self.share < 1:
            raise ValueError(f"Search share must be above 0 and below 1 for {self.method}, not {self.share:g}")

    def space(self, model: nn.Module, sample: Any) -> Space:
        """What is decided for `model`, as `hwlut.search.space_of` finds it; `sample` is a batch of one."""
        return space_of(
            model,
            sample,
            self.formats,
            include=self.include,
            exclude=self.exclude,
            decide=self.decide,
            operands=self.operands,
            activation=self.activation,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        kept["formats"] = [format_name(each) for each in self.formats]
        kept["activation"] = format_name(self.activation)
        kept["quantizers"] = {
            "weights": dict(self.quantizers.weights),
            "activations": dict(self.quantizers.activations),
        }
        kept["decide"] = self.decide if isinstance(self.decide, str) else list(self.decide)
        return kept | {name: list(kept[name]) for name in ("include", "exclude")}


def _check(name: str, value: object, kind: Any, words: str, low: float, high: float) -> None:
    if value is None and name in _OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"Search {name} must be {words}, not {shorten(value)}")
    assert isinstance(value, (int, float))
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"Search {name} must be from {low:g} to {high:g} and finite, not {value:g}")
