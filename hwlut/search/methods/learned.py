"""What methods with a policy have in common."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from hwlut.quant.precision import Precision
from hwlut.search.methods.method import Method, Problem
from hwlut.search.policy import Policy

__all__ = ["Learned"]


class Learned(Method):
    """Learns a policy; found is the most probable configuration that meets the target."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.policy = Policy(problem.space.decisions, problem.options.rate)

    def find(self) -> dict[str, Precision]:
        return self.problem.repaired({key: -value for key, value in self.policy.log_probabilities().items()})

    def present(self) -> dict[str, Precision]:
        return self.find()

    def probabilities(self) -> dict[tuple[str, Precision], float]:
        return {key: math.exp(value) for key, value in self.policy.log_probabilities().items()}

    def told(self) -> dict[str, Any]:
        return {"policy": self.policy.told()}

    def state(self) -> dict[str, torch.Tensor]:
        return self.policy.state()

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        self.policy.resume(state)
