"""A search within a training: draw, learn, commit, go on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hwlut.nn.quantized import quantized_operations
from hwlut.quant.precision import Precision
from hwlut.search.judge import select
from hwlut.search.methods import Method, Problem
from hwlut.train import Control
from hwlut.train.processes import Processes

__all__ = ["Searching"]


class Searching(Control):
    """Trains without quantization first, then lets a method draw precisions, and holds what it finds in the rest.

    warmup: share of the steps without quantization. calibrate: lets quantizers choose their steps anew,
    after it. found: of each decision, once the search is over.
    """

    def __init__(self, method: Method, problem: Problem, warmup: float, calibrate: Callable[[], None]):
        self._method, self._problem, self._warmup, self._calibrate = method, problem, warmup, calibrate
        self.found: dict[str, Precision] | None = None
        self._first = self._step = 0

    @property
    def probabilities(self) -> dict[str, float]:
        """Of each decision's choice that was found, by the policy of the method, where it has one."""
        every = self._method.probabilities()
        return {name: every[name, choice] for name, choice in (self.found or {}).items() if (name, choice) in every}

    def start(self, steps: int, group: Processes) -> None:
        problem = self._problem
        problem.group = group
        self._first = round(self._warmup * steps)
        problem.steps = round(problem.options.share * steps) if self._method.trains else 0
        if self._method.trains and problem.steps <= problem.delay:
            raise ValueError(
                f"Search share must be of more steps than the {problem.delay} of the delay, but is {problem.steps} of"
                f" {steps}"
            )
        if self._first + problem.steps >= steps:
            raise ValueError(
                f"Search warmup and share must leave a step to train what is found, but take {self._first} and"
                f" {problem.steps} of {steps}"
            )
        if self.found is not None:
            problem.select(self.found)
        else:
            problem.bypass()

    def before(self, step: int) -> bool:
        self._step = step - self._first
        starts = self._step == 0 and self._first > 0
        if starts:
            self._calibrate()
        if self._searches:
            self._method.before(self._step)
        elif self._step >= 0 and self.found is None:
            self.found = self._method.find()
            self._problem.select(self.found)
            return True
        return starts

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        return self._method.loss(loss) if self._searches else loss

    def after(self, step: int) -> None:
        if self._searches:
            self._method.after(self._step)

    def measured(self, model: nn.Module) -> None:
        space = self._problem.space
        if self._step < 0:
            select(quantized_operations(model), dict.fromkeys(space.shapes, Precision(None, None)))
            return
        chosen = self._method.present() if self.found is None else self.found
        select(quantized_operations(model), space.precisions(chosen))

    def told(self) -> Mapping[str, Any]:
        if self._step < 0:
            return {"phase": "warmup"}
        if self._searches:
            return {"phase": "search"} | self._method.told()
        return {"phase": "final"}

    def state(self) -> Mapping[str, torch.Tensor]:
        state = {f"method.{name}": value for name, value in self._method.state().items()}
        state["evaluations"] = torch.tensor(self._problem.judge.evaluations)
        if self.found is not None:
            decisions = self._problem.space.decisions
            places = [decision.choices.index(self.found[decision.name]) for decision in decisions]
            state["found"] = torch.tensor(places)
        return state

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        kept = {name: value for name, value in state.items() if name.startswith("method.")}
        self._method.resume({name.removeprefix("method."): value for name, value in kept.items()})
        self._problem.judge.evaluations = int(state["evaluations"])
        if "found" not in state:
            return
        decisions, places = self._problem.space.decisions, state["found"].tolist()
        if len(places) != len(decisions):
            raise ValueError(f"it has {len(places)} decisions, not {len(decisions)}")
        self.found = {decision.name: decision.choices[place] for decision, place in zip(decisions, places)}

    @property
    def _searches(self) -> bool:
        return 0 <= self._step < self._problem.steps
