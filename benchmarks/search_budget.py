"""How much of its budget a configuration spends, over random spaces."""

import random

from benchmarks.report import Row
from hwlut import Fixed
from hwlut.search import Decision, LayerShape, Space, bit_operations
from hwlut.search.budget import bounds, cost_of, repaired, upgrades

__all__ = ["budget_rows"]

_SPACES = 100
_FORMATS = tuple(map(Fixed, (2, 3, 4, 6, 8)))


def _space(numbers: random.Random) -> Space:
    """8 to 40 layers whose multiply-accumulates spread over three orders of magnitude."""
    shapes, decisions = {}, []
    for place in range(numbers.randint(8, 40)):
        name = f"layer {place}"
        shapes[name] = LayerShape(int(10 ** numbers.uniform(4, 7)), 1)
        tied = numbers.random() < 0.5
        decisions.append(Decision(name, (name,), _FORMATS, _FORMATS, tied))
    return Space(tuple(decisions), shapes, {}, {})


def budget_rows() -> list[Row]:
    """The most and the least of the target that is spent, and the decisions that could still have more."""
    numbers = random.Random(0)
    spent, open_to_more = [], 0
    for _ in range(_SPACES):
        space = _space(numbers)
        costs = space.costs(bit_operations(dict(space.shapes)))
        least, most = bounds(space, costs)
        target = least + (most - least) * numbers.uniform(0.01, 0.9)
        harms = {key: numbers.expovariate(1) for key in costs}
        chosen = repaired(space, costs, harms, target)
        cost = cost_of(costs, chosen)
        spent.append(cost / target)
        open_to_more += sum(
            cost - costs[each.name, chosen[each.name]] + costs[each.name, other] <= target
            for each in space.decisions
            for other in upgrades(each, chosen[each.name])
        )
    name = f"{_SPACES} random spaces of 8 to 40 decisions"
    return [
        Row(name=f"cost over target, greatest of {name}", unit="", ours=max(spent), target=1.0),
        Row(name=f"cost over target, least of {name}", unit="", ours=min(spent), sense=">=", target=0.95),
        Row(name=f"upgrades of one decision that would still fit, {name}", unit="", ours=open_to_more, target=0),
    ]
