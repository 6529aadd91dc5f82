"""A budget for a space: what it can be, and the best choices that meet it and leave nothing of it unused."""

from collections.abc import Hashable, Mapping

from hwlut.quant.precision import Precision
from hwlut.search.assignment import numbers_of
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory
from hwlut.search.knapsack import solve
from hwlut.search.options import Search
from hwlut.search.space import Decision, Space

__all__ = ["bounds", "check_target", "cost_of", "counted_by", "repaired", "upgrades"]

_SPENT = 0.95

Numbers = Mapping[tuple[str, Precision], float]


def counted_by(space: Space, options: Search, cost: Cost | None) -> tuple[Cost, float]:
    """What operations cost, and the most that all may."""
    shapes: Mapping[Hashable, LayerShape] = {name: shape for name, shape in space.shapes.items()}
    arithmetic = memory(shapes) if options.cost == "memory" else bit_operations(shapes)
    if options.target is not None:
        return cost or arithmetic, options.target
    if cost is not None:
        raise ValueError("Search target must be given with a cost of one's own, not target_bits")
    assert options.target_bits is not None
    activations = options.target_bits
    if options.operands == "weights":
        activations = Precision(None, options.activation).activation_bits
    bits = Bits(options.target_bits, activations)
    return arithmetic, sum(arithmetic(name, bits) for name in space.shapes)


def bounds(space: Space, costs: Numbers) -> tuple[float, float]:
    """The least and the greatest cost that there is."""
    every = [[costs[decision.name, choice] for choice in decision.choices] for decision in space.decisions]
    return sum(map(min, every)), sum(map(max, every))


def check_target(space: Space, costs: Numbers, target: float) -> None:
    """ValueError, with the least and the greatest cost, where nothing meets the target."""
    least, most = bounds(space, costs)
    if target < least:
        raise ValueError(
            f"search target must be at least {least:.6g}, the smallest cost there is (the largest is {most:.6g}),"
            f" not {target:.6g}"
        )


def cost_of(costs: Numbers, chosen: Mapping[str, Precision]) -> float:
    """The sum over all decisions."""
    return sum(costs[name, choice] for name, choice in chosen.items())


def upgrades(decision: Decision, choice: Precision) -> list[Precision]:
    """Choices of a decision with more bits for an operand and fewer for none."""
    return [decision.choices[place] for place in decision.upgrades[decision.choices.index(choice)]]


def repaired(space: Space, costs: Numbers, harms: Numbers, target: float) -> dict[str, Precision]:
    """The choices of least total harm with a cost of at most `target`, upgraded while one upgrade of a decision fits.

    Where the first spend less than 95 % of the target, unused bits are priced until that is reached, if it can be.

    harms: of every decision and choice, such as minus the log-probability of a policy: the result is then the most
    probable of those that meet the budget. Of upgrades, the one that harms least is taken first. Raises as
    `check_target`.
    """
    check_target(space, costs, target)
    choices = {decision.name: decision.choices for decision in space.decisions}
    weights, values = numbers_of("search cost", choices, costs), numbers_of("search harm", choices, harms)
    places = _spending(weights, values, float(target))
    while True:
        spent = _total(weights, places)
        fitting = [
            (own_values[other] - own_values[place], layer, other)
            for layer, (decision, place) in enumerate(zip(space.decisions, places))
            for own_weights, own_values in [(weights[layer], values[layer])]
            for other in decision.upgrades[place]
            if spent - own_weights[place] + own_weights[other] <= target
        ]
        if not fitting:
            assert spent <= target
            return {decision.name: decision.choices[place] for decision, place in zip(space.decisions, places)}
        _, layer, other = min(fitting, key=lambda each: each[0])
        places[layer] = other


def _spending(weights: list[list[float]], values: list[list[float]], target: float) -> list[int]:
    """The place of each choice of least harm; where they spend less than 95 % of the target, of least harm less a
    price of what is spent, the lowest that brings them there, or else the most that can be.
    """
    reach = max(map(max, values)) - min(map(min, values)) or 1.0
    best: list[int] = []
    for price in (0.0, *(reach * 2.0**power for power in range(-12, 13))):
        priced = [
            [value - price * weight / (target or 1.0) for weight, value in zip(*row)] for row in zip(weights, values)
        ]
        places = solve(weights, priced, target)
        if not best or _total(weights, places) > _total(weights, best):
            best = places
        if _total(weights, best) >= _SPENT * target:
            break
    return best


def _total(rows: list[list[float]], places: list[int]) -> float:
    return sum(row[place] for row, place in zip(rows, places))
