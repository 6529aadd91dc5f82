"""One-shot search: a policy learned by reinforcement while the weights that it judges are trained."""

from collections.abc import Iterator
from typing import Any

import torch

from hwlut.quant.precision import Precision
from hwlut.search.budget import cost_of
from hwlut.search.methods.learned import Learned
from hwlut.search.methods.method import Problem
from hwlut.search.reward import REWARDS

__all__ = ["OneShot"]


class OneShot(Learned):
    """FLIQS (arXiv 2308.03290), section 3: every step trains the weights at a configuration drawn from the policy, and
    the policy, after a delay, by quality on held-out data and cost: of this configuration, and of another one drawn,
    on the same data.
    """

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self._drawn: dict[str, Precision] = {}
        self._other: dict[str, Precision] = {}
        self._reward = 0.0

    def before(self, step: int) -> None:
        generator = self.problem.generator(step)
        learns = step >= self.problem.delay
        draws = self._draws(generator, uniform=not learns)
        self._drawn = next(draws)
        if learns:
            self._other = next(draws)
        self.problem.select(self._drawn)

    def after(self, step: int) -> None:
        if step < self.problem.delay:
            return
        with self.problem.judge.ready():
            self._reward = self._judged(self._drawn, step)
            difference = self._reward - self._judged(self._other, step)
        self.policy.learn(self._drawn, self._other, difference, self.problem.entropy_weight(step))

    def _draws(self, generator: torch.Generator, uniform: bool) -> Iterator[dict[str, Precision]]:
        """Configurations from the policy as it is now."""
        if self.problem.options.function != "within":
            while True:
                yield self.policy.draw(generator, uniform)
        log_probabilities = {} if uniform else self.policy.log_probabilities()
        while True:
            yield self.problem.draw_within(generator, log_probabilities)

    def _judged(self, chosen: dict[str, Precision], step: int) -> float:
        problem, options = self.problem, self.problem.options
        problem.select(chosen)
        quality = -problem.judge.loss(step, problem.group)
        return REWARDS[options.function](quality, cost_of(problem.costs, chosen) / problem.target, options.beta)

    def told(self) -> dict[str, Any]:
        return super().told() | {"reward": self._reward}
