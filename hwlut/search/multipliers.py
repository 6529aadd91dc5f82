"""A multiplier for each layer, under a budget of area or of error."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hwlut.nn.approx import Approximate, ApproxLayer, ApproxMatmul
from hwlut.search.assignment import Assignment, assign, costs_within
from hwlut.search.cost import Cost
from hwlut.search.sensitivity import Harm, Measure, harms, put
from hwlut.units import Multiplier

__all__ = ["AssignedMultiplier", "MultiplierAssignment", "assign_multipliers"]

_LAYERS = (ApproxLayer, ApproxMatmul)


@dataclass(frozen=True)
class AssignedMultiplier:
    """The multiplier of one layer: what it alone does to the model's error, and what it costs there."""

    layer: str
    multiplier: Multiplier
    error: float
    cost: float


@dataclass(frozen=True)
class MultiplierAssignment:
    """Result of `assign_multipliers`.

    layers: in the order of the model. assignment: the knapsack's result; its sensitivity is the sum of the errors of
    each layer alone. error: that of the model as it now is, measured.
    """

    layers: tuple[AssignedMultiplier, ...]
    assignment: Assignment
    error: float

    def __str__(self) -> str:
        lines = [
            f"{row.layer}: {row.multiplier.name}, error {row.error:.4g}, cost {row.cost:.6g}" for row in self.layers
        ]
        total = f"error {self.error:.4g} measured, {self.assignment.sensitivity:.4g} added up"
        return "\n".join([*lines, f"together: {total}, cost {self.assignment.cost:.6g}"])


def assign_multipliers(
    model: nn.Module,
    multipliers: Iterable[Multiplier],
    data: Iterable[Any],
    *,
    budget: float,
    cost: Cost | Mapping[tuple[str, Multiplier], float],
    limit: str = "cost",
    measure: Measure | None = None,
    file: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> MultiplierAssignment:
    """Give each approximate layer of `model` the best of `multipliers`, in place.

    Layers are linear ones, convolutions, and products of activations (`ApproxMatmul`), those of an
    `ApproxMultiheadAttention` too.

    Parameters
    ----------
    model: its multipliers now are what the error is measured from; most often exact ones.
    multipliers: of the operands of the layers' quantizers.
    data, measure, file, progress: as for `hwlut.search.sensitivities`.
    budget, limit: the most that the sum of the costs may be; with limit "sensitivity", that of the layers' errors.
    cost: of (name of a layer, multiplier), such as `CostTable.cost` gives: a function, or a mapping.

    A layer keeps its parameters, quantizers and gradient. Sums of errors of each layer alone only estimate that of
    all, which is measured at the end. Raises ValueError where there is no such layer, a multiplier has other operands,
    or nothing meets the budget: before anything is measured, where it is of the cost. After any error the model is as
    it was.
    """
    given = list(multipliers)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _LAYERS)}
    if not layers:
        raise ValueError("assign_multipliers needs a model with approximate layers; hwlut.nn.convert makes them")
    if not given:
        raise ValueError("assign_multipliers multipliers must be at least one")
    choices = {name: given for name in layers}
    costs = costs_within(choices, cost, budget, limit)
    harm = Harm(model, data, measure)
    errors = harms(harm, model, choices, _with, file=file, progress=progress)
    best = assign(choices, costs, errors, budget, limit=limit)
    chosen = {name: _with(layer, best[name]) for name, layer in layers.items()}
    modes = [(module, module.training) for module in model.modules()]
    try:
        for name, layer in layers.items():
            put(model, layer, chosen[name])
        error = harm(model)
    except BaseException:
        for name, layer in layers.items():
            put(model, chosen[name], layer)
        for module, training in modes:
            module.training = training
        raise
    rows = (AssignedMultiplier(name, best[name], errors[name, best[name]], costs[name, best[name]]) for name in layers)
    return MultiplierAssignment(tuple(rows), best, error)


def _with(layer: nn.Module, multiplier: Multiplier) -> nn.Module:
    """A layer on the parameters of `layer`, with copies of its quantizers, that multiplies by `multiplier`."""
    assert isinstance(layer, _LAYERS)
    spec = Approximate(multiplier, layer.activation_quantizer, layer.weight_quantizer, layer.gradient)
    if isinstance(layer, ApproxLayer):
        return type(layer).of(layer, spec)
    new = ApproxMatmul(
        multiplier=multiplier, activations=spec.activations, weights=spec.weights, gradient=spec.gradient
    )
    return new.to(layer.multiplier_digest.device)
