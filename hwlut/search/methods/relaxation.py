"""Search by gradient descent: every operand is the convex combination of its formats."""

import torch

from hwlut.search.methods.learned import Learned
from hwlut.search.methods.method import Problem

__all__ = ["Relaxation"]


class Relaxation(Learned):
    """Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural Networks" (CVPR 2020).

    Shares of formats are a softmax of logits, learned with the weights by the loss and by the expected cost above the
    target.
    """

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self._costs = [
            torch.tensor([problem.costs[decision.name, choice] for choice in decision.choices], dtype=torch.float64)
            for decision in problem.space.decisions
        ]
        self._learns = False
        self._weight = 0.0

    def before(self, step: int) -> None:
        problem = self.problem
        self._learns, self._weight = step >= problem.delay, problem.entropy_weight(step)
        shares = self.policy.shares(fixed=not self._learns)
        for decision, parts in zip(problem.space.decisions, shares):
            for name in decision.operations:
                weight, activation = problem.operations[name].choices
                device = problem.group.device
                weight.shares = parts[0].to(device, torch.float32)
                if activation is not None:
                    activation.shares = parts[-1].to(device, torch.float32)

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        if not self._learns:
            return loss
        problem = self.problem
        expected = torch.zeros((), dtype=torch.float64)
        for parts, costs in zip(self.policy.shares(), self._costs):
            joint = parts[0] if len(parts) == 1 else torch.outer(*parts).flatten()
            expected = expected + joint @ costs
        over = (expected / problem.target - 1).clamp(min=0)
        added = problem.options.beta * over + self._weight * self.policy.entropy()
        return loss + added.to(loss.device, loss.dtype)

    def after(self, step: int) -> None:
        if self._learns:
            self.policy.descend(self.problem.group)
