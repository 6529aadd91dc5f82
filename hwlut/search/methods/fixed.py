"""Configurations found before training: one precision for all, or by what each choice alone does."""

from hwlut.quant.precision import Precision
from hwlut.search.budget import check_target, cost_of
from hwlut.search.methods.method import Method

__all__ = ["Sensitivity", "Uniform"]


class Uniform(Method):
    """The one choice of the most cost that every decision can have together within the target."""

    trains = False

    def find(self) -> dict[str, Precision]:
        problem = self.problem
        decisions = problem.space.decisions
        common = [choice for choice in decisions[0].choices if all(choice in each.choices for each in decisions)]
        every = [{decision.name: choice for decision in decisions} for choice in common]
        fitting = [chosen for chosen in every if cost_of(problem.costs, chosen) <= problem.target]
        if not fitting:
            check_target(problem.space, problem.costs, problem.target)
            raise ValueError(f"search formats must have one that all decisions can have within {problem.target:.6g}")
        return max(fitting, key=lambda chosen: cost_of(problem.costs, chosen))


class Sensitivity(Method):
    """The knapsack of what each choice of a decision does to the held-out loss, all others having their most costly."""

    trains = False

    def find(self) -> dict[str, Precision]:
        problem = self.problem
        most = {
            decision.name: max(decision.choices, key=lambda choice: problem.costs[decision.name, choice])
            for decision in problem.space.decisions
        }
        base = problem.loss(most)
        harms = {(name, choice): problem.loss(most | {name: choice}) - base for name, choice in problem.costs}
        return problem.repaired(harms)
