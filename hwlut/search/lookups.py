"""Prototypes, sub-vectors, encoder and table bits for each layer, under a budget of bytes or cycles."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwlut.nn.lut import Lookup, LutLayer
from hwlut.nn.lut.cost import lookup_cost, rows_of
from hwlut.nn.lut.replace import looked_up_layer
from hwlut.quant import Calibrated, calibrate
from hwlut.quant.calibration import batches_of, called
from hwlut.quant.modes import evaluating
from hwlut.search.assignment import Assignment, assign, costs_within
from hwlut.search.cost import Cost
from hwlut.search.sensitivity import Harm, Measure, harms, put
from hwlut.units.lut_array import reads

__all__ = ["AssignedLookup", "LookupAssignment", "assign_lookups", "lookup_bytes", "lookup_cycles"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class AssignedLookup:
    """The `Lookup` of one layer: what it alone does to the model's error, and what it costs there."""

    layer: str
    lookup: Lookup
    error: float
    cost: float


@dataclass(frozen=True)
class LookupAssignment:
    """Result of `assign_lookups`.

    layers: in the order of the model. assignment: the knapsack's result; its sensitivity is the sum of the errors of
    each layer alone. error: that of the model as it now is, measured.
    """

    layers: tuple[AssignedLookup, ...]
    assignment: Assignment
    error: float

    def __str__(self) -> str:
        lines = [
            f"{row.layer}: v={row.lookup.v}, {row.lookup.words()}, error {row.error:.4g}, cost {row.cost:.6g}"
            for row in self.layers
        ]
        total = f"error {self.error:.4g} measured, {self.assignment.sensitivity:.4g} added up"
        return "\n".join([*lines, f"together: {total}, cost {self.assignment.cost:.6g}"])


def lookup_bytes(model: nn.Module, sample: Any) -> Cost:
    """The `Cost` of (name of a layer, Lookup) in bytes of tables, encoders and biases; `sample` is a batch."""
    rows, modules = rows_of(model, sample), dict(model.named_modules())

    def cost(name: Any, lookup: Any) -> float:
        like = _like(modules[name], lookup)
        return lookup_cost(lookup, like.features, like.outputs, like.v, like.bias is not None, rows[name]).bytes

    return cost


def lookup_cycles(model: nn.Module, sample: Any, banks: int | None = None, tile: int | None = None) -> Cost:
    """The `Cost` of (name of a layer, Lookup) in cycles for one sample, of arrays of `banks` and `tile` each, as
    `hwlut.units.lut_array` has them, whose encoders keep up."""
    rows, modules = rows_of(model, sample), dict(model.named_modules())

    def cost(name: Any, lookup: Any) -> float:
        like = _like(modules[name], lookup)
        return rows[name] * reads(like.codebooks, like.outputs, banks, tile)

    return cost


def assign_lookups(
    model: nn.Module,
    lookups: Iterable[Lookup] | Mapping[str, Iterable[Lookup]],
    data: Iterable[Any],
    *,
    budget: float,
    cost: Cost | Mapping[tuple[str, Lookup], float],
    limit: str = "cost",
    measure: Measure | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> LookupAssignment:
    """Replace layers of `model`, in place, by layers of look-ups, each by the best of its choices.

    Parameters
    ----------
    lookups: of each layer, by name, the choices that it has; or those of every linear layer and convolution of one
        group, but the first and the last.
    data: batches that the model is called with; held, as are the inputs of the layers. Each choice learns from them as
        `hwlut.nn.convert` would let it, table refit included, and its error is measured on them with the layer in
        place.
    budget, limit: the most that the sum of the costs may be; with limit "sensitivity", that of the layers' errors.
    cost: such as `lookup_bytes` or `lookup_cycles` gives.
    measure, progress: as for `hwlut.search.sensitivities`.

    Sums of errors of each layer alone only estimate that of all, which is measured at the end. Raises ValueError where
    nothing meets the budget, before anything is measured where it is of the cost. After any error the model is as it
    was.
    """
    batches = list(batches_of("assign_lookups", data))
    choices = _choices(model, lookups)
    costs = costs_within(choices, cost, budget, limit)
    harm = Harm(model, batches, measure)
    seen = _inputs(model, choices, batches)
    made: dict[tuple[str, Lookup], nn.Module] = {}
    modules = dict(model.named_modules())

    def stand_in(name: str, lookup: Lookup) -> nn.Module:
        if (name, lookup) not in made:
            made[name, lookup] = _learned(modules[name], lookup, seen[name])
        return made[name, lookup]

    names = {modules[name]: name for name in choices}
    errors = harms(harm, model, choices, lambda layer, lookup: stand_in(names[layer], lookup), progress=progress)
    best = assign(choices, costs, errors, budget, limit=limit)
    try:
        for name in choices:
            put(model, modules[name], made[name, best[name]])
        error = harm(model)
    except BaseException:
        for name in choices:
            put(model, made[name, best[name]], modules[name])
        raise
    rows = (AssignedLookup(name, best[name], errors[name, best[name]], costs[name, best[name]]) for name in choices)
    return LookupAssignment(tuple(rows), best, error)


def _like(layer: nn.Module, lookup: Lookup) -> LutLayer:
    like = looked_up_layer(layer, lookup)
    assert isinstance(like, LutLayer)
    return like


def _choices(model: nn.Module, lookups: Iterable[Lookup] | Mapping[str, Iterable[Lookup]]) -> dict[str, list[Lookup]]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, _LAYERS)}
    if not isinstance(lookups, Mapping):
        whole = [name for name, module in found.items() if getattr(module, "groups", 1) == 1]
        given = list(lookups)
        lookups = {name: given for name in whole[1:-1]}
        if not lookups:
            raise ValueError("assign_lookups model must have a layer to replace between the first and the last")
    for name in lookups:
        if name not in found:
            raise ValueError(f"assign_lookups layer must be the name of a linear layer or convolution, not {name!r}")
    return {name: list(given) for name, given in lookups.items()}


def _inputs(model: nn.Module, names: Iterable[str], batches: list[Any]) -> dict[str, list[torch.Tensor]]:
    """What each layer is called with."""
    modules = dict(model.named_modules())
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    hooks = [
        modules[name].register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0].detach()))
        for name, kept in seen.items()
    ]
    try:
        with evaluating(model):
            for batch in batches:
                called("assign_lookups", model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _learned(layer: nn.Module, lookup: Lookup, inputs: list[torch.Tensor]) -> nn.Module:
    new = looked_up_layer(layer, lookup)
    calibrate(new, inputs, [child for child in new.modules() if isinstance(child, Calibrated)])
    return new.train(layer.training)
