"""Searches that judge whole configurations, on weights that all of them share."""

from collections import deque

import torch

from hwlut.quant.precision import Precision
from hwlut.search.methods.method import Method, Problem
from hwlut.train.randomness import number_of

__all__ = ["Evolution", "Random"]

_TOURNAMENT = 5
_WANTED = 100.0  # more than any random number that a choice is drawn by


class Random(Method):
    """The one of least held-out loss of configurations drawn at random that meet the target.

    In training, each step draws one of those.
    """

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self._generator = torch.Generator().manual_seed(number_of(problem.seed, 2))

    def before(self, step: int) -> None:
        self.problem.select(self.problem.draw_within(self.problem.generator(step), {}))

    def find(self) -> dict[str, Precision]:
        judged = [self._judged(self._near({})) for _ in range(self._count())]
        return min(judged, key=lambda each: each[0])[1]

    def _count(self) -> int:
        """Configurations to judge: each takes an evaluation of every held-out batch."""
        problem = self.problem
        given = problem.options.evaluations
        evaluations = 2 * (problem.steps - problem.delay) if given is None else given
        return max(1, evaluations // len(problem.judge.batches))

    def _judged(self, chosen: dict[str, Precision]) -> tuple[float, dict[str, Precision]]:
        return self.problem.loss(chosen), chosen

    def _near(self, wanted: dict[str, Precision]) -> dict[str, Precision]:
        """A random configuration that meets the target, with as many of the wanted choices as may be."""
        return self.problem.draw_within(self._generator, dict.fromkeys(wanted.items(), _WANTED))

    def _places(self, count: int, among: int) -> list[int]:
        """So many different random places among some."""
        return torch.randperm(among, generator=self._generator)[:count].tolist()


class Evolution(Random):
    """Real et al., "Regularized Evolution for Image Classifier Architecture Search" (AAAI 2019): the best of a few
    drawn from the population gets a child, which differs in one decision and takes the place of the oldest.
    """

    def find(self) -> dict[str, Precision]:
        count = self._count()
        population = deque(self._judged(self._near({})) for _ in range(min(count, self.problem.options.population)))
        best = min(population, key=lambda each: each[0])
        decisions = self.problem.space.decisions
        for _ in range(count - len(population)):
            drawn = [population[place] for place in self._places(_TOURNAMENT, len(population))]
            parent = min(drawn, key=lambda each: each[0])[1]
            decision = decisions[self._places(1, len(decisions))[0]]
            choice = decision.choices[self._places(1, len(decision.choices))[0]]
            child = self._judged(self._near(parent | {decision.name: choice}))
            population.append(child)
            population.popleft()
            best = min(best, child, key=lambda each: each[0])
        return best[1]
