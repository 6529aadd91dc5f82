"""What every method of search has: the problem, and its part in training."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from hwlut.nn.quantized import QuantizedLayer, QuantizedProduct, quantized_operations
from hwlut.quant.precision import Precision
from hwlut.search.budget import Numbers, repaired
from hwlut.search.judge import Judge, select
from hwlut.search.options import Search
from hwlut.search.schedule import SCHEDULES
from hwlut.search.space import Space
from hwlut.train.processes import Processes
from hwlut.train.randomness import number_of

__all__ = ["Method", "Problem"]

Chosen = Mapping[str, Precision]


@dataclasses.dataclass
class Problem:
    """What is searched: `model` is quantized by the operations of `space`.

    costs: of each decision and choice. target: the most that their sum may be. steps: of the search, once known.
    """

    model: nn.Module
    space: Space
    costs: Numbers
    target: float
    options: Search
    judge: Judge
    seed: int
    group: Processes
    steps: int = 0

    @cached_property
    def operations(self) -> dict[str, QuantizedLayer | QuantizedProduct]:
        """Those of the model, by module path."""
        return quantized_operations(self.model)

    @property
    def delay(self) -> int:
        """First steps in which nothing is learned."""
        given = self.options.delay_steps
        return self.steps // 4 if given is None else given

    def entropy_weight(self, step: int) -> float:
        """What the entropy of the policy counts in a step."""
        done = (step - self.delay) / max(1, self.steps - 1 - self.delay)
        return self.options.entropy * SCHEDULES[self.options.schedule](done)

    def generator(self, step: int) -> torch.Generator:
        """Random numbers of a step, the same in every process."""
        return torch.Generator().manual_seed(number_of(self.seed, step, 1))

    def draw_within(
        self, generator: torch.Generator, log_probabilities: Mapping[tuple[str, Precision], float]
    ) -> dict[str, Precision]:
        """A random configuration that meets the target: the most probable one of perturbed log-probabilities, of which
        none is 0.

        Papandreou and Yuille, "Perturb-and-MAP Random Fields" (ICCV 2011): without the target, it would be a draw from
        the softmax.
        """
        noise = -torch.empty(len(self.costs), dtype=torch.float64).exponential_(generator=generator).log()
        harms = {key: -log_probabilities.get(key, 0.0) - each for key, each in zip(self.costs, noise.tolist())}
        return self.repaired(harms)

    def repaired(self, harms: Numbers) -> dict[str, Precision]:
        """The choices of least harm within the target, as `hwlut.search.budget.repaired` has them."""
        return repaired(self.space, self.costs, harms, self.target)

    def select(self, chosen: Chosen) -> None:
        """Let the model quantize by these choices."""
        select(self.operations, self.space.precisions(chosen))

    def bypass(self) -> None:
        """Let the model quantize nothing."""
        select(self.operations, dict.fromkeys(self.space.shapes, Precision(None, None)))

    def loss(self, chosen: Chosen) -> float:
        """The held-out loss of these choices on the present weights."""
        self.select(chosen)
        return self.judge.mean(self.group)


class Method:
    """One search.

    trains: whether weights are shared in a part of the training; else it is over before the first step.

    `before`, `loss` and `after` are as of `hwlut.train.Control`, in the steps of the search alone.
    """

    trains: ClassVar[bool] = True

    def __init__(self, problem: Problem):
        self.problem = problem

    def before(self, step: int) -> None: ...

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        return loss

    def after(self, step: int) -> None: ...

    def find(self) -> dict[str, Precision]:
        """What the search comes to, within the target."""
        raise NotImplementedError

    def present(self) -> dict[str, Precision]:
        """What a model that is measured before the search is over quantizes to: something within the target."""
        return self.problem.repaired(dict.fromkeys(self.problem.costs, 0.0))

    def probabilities(self) -> dict[tuple[str, Precision], float]:
        """Of every choice of every decision, by a policy; nothing without one."""
        return {}

    def told(self) -> dict[str, Any]:
        """What the log says of a step."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None: ...
