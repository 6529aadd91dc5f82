"""Costs of layers of look-ups by hand, and the choice of K, v, encoder and bits under a budget."""

import itertools

import pytest
import torch
from torch import nn

from hwlut.lutnn import costs
from hwlut.nn import Lookup, LutConv2d, LutLinear, convert
from hwlut.nn.lut.cost import LayerCost, dense_cost, lookup_cost
from hwlut.search import assign_lookups, lookup_bytes, lookup_cycles


def test_costs_by_hand():
    # 10 rows of 8 inputs in 3 sub-vectors of 3, 5 outputs, K = 4.
    assert dense_cost(8, 5, True, 10) == LayerCost(rows=10, macs=400, bytes=60)
    lookup = {"features": 8, "outputs": 5, "v": 3, "bias": False, "rows": 10}
    tables = 3 * 4 * 5
    assert lookup_cost(Lookup(k=4), **lookup) == LayerCost(
        rows=10, macs=10 * 8 * 4, compares=10 * 3 * 3, lookups=150, bytes=tables + 3 * 4 * 3
    )
    assert lookup_cost(Lookup(k=4, encoder="chebyshev"), **lookup) == LayerCost(
        rows=10, additions=10 * 8 * 4, compares=90, lookups=150, bytes=tables + 36
    )
    tree = lookup_cost(Lookup(k=4, encoder="tree", table_bits=4), **lookup | {"bias": True})
    assert tree == LayerCost(rows=10, compares=10 * 3 * 2, lookups=150, bytes=30 + 3 * (3 + 2) + 20)
    assert tree.operations == 60 + 150


class Tokens(nn.Module):
    """Two linear layers on tokens, one called twice, and a convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).mT
        return self.b(self.b(self.a(tokens))).mean(1)


def test_all_tokens_and_places_are_counted():
    torch.manual_seed(0)
    model, x = Tokens(), torch.randn(8, 2, 4, 5)
    found = costs(model, x[:3])
    assert [(each.name, each.kind, each.cost.rows) for each in found.layers] == [
        ("conv", "dense", 20), ("a", "dense", 20), ("b", "dense", 40),
    ]  # fmt: skip
    assert found.total("macs") == 20 * 18 * 6 + 20 * 6 * 8 + 40 * 8 * 8 == found.total("macs", dense=True)
    convert(model, {"a": Lookup(k=4, v=4), "conv": Lookup(k=8)}, [x])
    assert isinstance(model.conv, LutConv2d)
    found = costs(model, x[:3], banks=1, tile=2)
    conv, a, b = found.layers
    assert (conv.kind, a.kind, b.kind) == ("l2 K=8 v=9 8 bits", "l2 K=4 v=4 8 bits", "dense")
    assert conv.dense == dense_cost(18, 6, True, 20) and conv.cost.lookups == 20 * 2 * 6
    assert (conv.cycles, a.cycles, b.cycles) == (20 * 2 * 3, 20 * 2 * 4, None)
    assert found.total("lookups") == 240 + 20 * 2 * 8
    assert found.rows()[-1][:1] == ["total"] and found.to_dict()["total"]["bytes"] == found.total("bytes")
    with pytest.raises(ValueError, match="^costs model must call a linear layer"):
        costs(nn.ReLU(), x)
    with pytest.raises(ValueError, match="^cost sample must be a batch of at least one sample$"):
        costs(model, x[:0])


def network():
    torch.manual_seed(0)
    layers = [
        nn.Linear(12, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Linear(12, 4),
    ]
    return nn.Sequential(*layers), [torch.randn(64, 12) for _ in range(2)]


CHOICES = [Lookup(k=4, v=4), Lookup(k=16, v=4), Lookup(k=16, v=2, encoder="tree"), Lookup(k=8, v=4, table_bits=4)]


@pytest.mark.parametrize("figure", ["bytes", "cycles"])
def test_layers_get_the_best_under_a_budget(figure):
    model, batches = network()
    if figure == "bytes":
        cost, budget = lookup_bytes(model, batches[0]), 900
    else:
        cost, budget = lookup_cycles(model, batches[0], banks=1, tile=4), 30
    prices = {(name, choice): cost(name, choice) for name in ("2", "4") for choice in CHOICES}
    steps = []
    found = assign_lookups(
        model,
        CHOICES,
        batches,
        budget=budget,
        cost=cost,
        progress=lambda done, total, name: steps.append((done, total)),
    )
    assert steps[-1] == (8, 8) and [row.layer for row in found.layers] == ["2", "4"]
    spent = sum(prices[row.layer, row.lookup] for row in found.layers)
    assert spent == found.assignment.cost <= budget
    assert isinstance(model[2], LutLinear) and isinstance(model[4], LutLinear) and type(model[0]) is nn.Linear
    with torch.no_grad():
        away = torch.cat([(model(b) - network()[0](b)).flatten() for b in batches])
    assert found.error == pytest.approx(away.double().square().mean().item())
    # No other pair within the budget has a lower sum of errors, each measured on a model of its own.
    errors = {}
    for name, choice in prices:
        other, _ = network()
        convert(other, {name: choice}, batches)
        reference = network()[0]
        with torch.no_grad():
            away = torch.cat([(other(b) - reference(b)).flatten() for b in batches])
        errors[name, choice] = float(away.double().square().mean())
    feasible = [(a, b) for a, b in itertools.product(CHOICES, repeat=2) if prices["2", a] + prices["4", b] <= budget]
    best = min(errors["2", a] + errors["4", b] for a, b in feasible)
    chosen = {row.layer: row.lookup for row in found.layers}
    assert errors["2", chosen["2"]] + errors["4", chosen["4"]] == pytest.approx(best)
    assert "together" in str(found)


def test_impossible_budgets_change_nothing():
    model, batches = network()
    layers = list(model)
    with pytest.raises(ValueError, match="^assign budget must be at least .*, the least cost there is, not 10$"):
        assign_lookups(model, CHOICES, batches, budget=10, cost=lookup_bytes(model, batches[0]))
    with pytest.raises(
        ValueError, match="^assign_lookups layer must be the name of a linear layer or conv.*, not '1'$"
    ):
        assign_lookups(model, {"1": CHOICES}, batches, budget=10, cost=lambda layer, choice: 1)
    with pytest.raises(ValueError, match="at least K rows, 16, not 8$"):
        assign_lookups(model, CHOICES, [batches[0][:8]], budget=9999, cost=lookup_bytes(model, batches[0]))
    assert list(model) == layers
