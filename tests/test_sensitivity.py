"""Sensitivities against plain loops, models restored exactly, runs that go on, and multipliers a layer."""

import copy
import json
import re

import pytest
import torch
from torch import nn

from hwlut.nn.approx import Approximate, ApproxLinear, ApproxMultiheadAttention
from hwlut.search import assign_multipliers, sensitivities
from hwlut.units import Multiplier

EXACT = Multiplier(family="exact", signed=True, name="exact")
COARSE = Multiplier(family="truncate_operands", a_drop=3, b_drop=3, signed=True, name="coarse")
FINE = Multiplier(family="truncate_operands", a_drop=1, b_drop=0, signed=True, name="fine")
AREAS = {EXACT: 90, FINE: 70, COARSE: 30}


class Net(nn.Module):
    """Three layers, the middle one in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.again = self.shared
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(self.again(torch.relu(self.shared(torch.relu(self.first(x)))))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def data():
    torch.manual_seed(1)
    return [torch.randn(8, 4), torch.randn(5, 4)]


def scaled(layer, factor):
    new = copy.deepcopy(layer)
    with torch.no_grad():
        new.weight *= factor
    return new


CHOICES = {"first": [1.0, 0.5], "shared": [0.5, 2.0]}


def test_each_choice_alone(net, data):
    before = dict(net.named_modules()), copy.deepcopy(net.state_dict())
    net.drop.eval()
    found = sensitivities(net, iter(data), CHOICES, scaled)
    assert list(found) == [("first", 1.0), ("first", 0.5), ("shared", 0.5), ("shared", 2.0)]
    assert found["first", 1.0] == 0
    plain = copy.deepcopy(net).eval()
    for (layer, factor), value in found.items():
        other = copy.deepcopy(plain)
        with torch.no_grad():
            other.get_submodule(layer).weight *= factor  # both places of the shared one
            differences = torch.cat([(other(x) - plain(x)).double().flatten() for x in data])
        assert value == pytest.approx(float(differences.square().mean()), rel=1e-6)
    modules, state = before
    assert dict(net.named_modules()) == modules and net.again is net.shared
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert net.training and net.first.training and not net.drop.training


def test_a_loss_and_its_increase(net, data):
    batches = [{"x": x, "target": torch.zeros(len(x), dtype=torch.long)} for x in data]

    def loss(model, batch):
        assert not model.training and not torch.is_grad_enabled()
        return nn.functional.cross_entropy(model(batch["x"]), batch["target"])

    found = sensitivities(net, batches, CHOICES, scaled, loss)
    plain, other = copy.deepcopy(net).eval(), copy.deepcopy(net).eval()
    with torch.no_grad():
        other.first.weight *= 0.5
        means = [sum(float(loss(model, batch)) for batch in batches) / 2 for model in (plain, other)]
    assert found["first", 0.5] == pytest.approx(means[1] - means[0]) and found["first", 1.0] == 0


def test_an_interrupted_run_goes_on(net, data, tmp_path):
    path, applied, told = tmp_path / "s.json", [], []

    def stops(layer, factor):
        applied.append(factor)
        if len(applied) == 3:
            raise KeyboardInterrupt
        return scaled(layer, factor)

    before = dict(net.named_modules())
    with pytest.raises(KeyboardInterrupt):
        sensitivities(net, data, CHOICES, stops, file=path)
    assert dict(net.named_modules()) == before and net.training
    found = sensitivities(net, data, CHOICES, stops, file=path, progress=lambda *step: told.append(step))
    assert applied == [1.0, 0.5, 0.5, 0.5, 2.0] and told[-1] == (4, 4, "shared") and len(told) == 4
    assert found == sensitivities(net, data, CHOICES, scaled)
    for text, message in (
        ("{", "sensitivities must be a JSON object: Expecting property name enclosed in double quotes: .*"),
        ("{}", "sensitivities must be an object of schema, which is hwlut.sensitivities/1, key, values"),
        (
            json.dumps({"schema": "hwlut.sensitivities/1", "key": "0", "values": {}}),
            "sensitivities must be of this model, data and measure, not of others",
        ),
        (
            json.dumps(json.loads(path.read_text()) | {"values": {"a": "b"}}),
            "values 'a' must be a number, not 'b'",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}$"):
            sensitivities(net, data, CHOICES, scaled, file=path)


def test_refuses(net, data):
    for arguments, kind, message in (
        ((net, [], CHOICES, scaled), ValueError, "sensitivities data must be at least one batch"),
        ((net, data[0], CHOICES, scaled), TypeError, "sensitivities data must be batches, such as [x], not a tensor"),
        (
            (net, [(data[0], torch.zeros(8))], CHOICES, scaled),
            TypeError,
            "sensitivities data must be batches that the model is called with, such as (images for images, _ in"
            " loader), not of 2 arguments: too many positional arguments",
        ),
        ((net, data, {"no": [1]}, scaled), ValueError, "layer must be the name of a module in the model, not 'no'"),
        ((net, data, {"": [1]}, scaled), ValueError, "layer must be the name of a module in the model, not ''"),
        (
            (net, data, CHOICES, lambda *_: None),
            TypeError,
            "sensitivities apply must return a module, not None",
        ),
        (
            (net, data, {"first": [float("nan")]}, scaled),
            ValueError,
            "sensitivity of layer 'first', choice nan must be finite",
        ),
    ):
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            sensitivities(*arguments)
    assert type(net.first) is nn.Linear and net.training


@pytest.fixture
def approximate():
    torch.manual_seed(0)
    layers = [ApproxLinear(8, 16, multiplier=EXACT), nn.ReLU(), ApproxLinear(16, 16, multiplier=EXACT)]
    return nn.Sequential(*layers, nn.ReLU(), ApproxLinear(16, 4, multiplier=EXACT))


def with_wide(layer, multiplier):
    return AREAS.get(multiplier, 0)


def area(layer, multiplier):
    return AREAS[multiplier]


def test_multipliers(approximate, tmp_path):
    torch.manual_seed(1)
    data = [torch.randn(64, 8)]
    weight, reference = approximate[0].weight, approximate.eval()(data[0]).detach()
    approximate.train()
    found = assign_multipliers(approximate, [EXACT, FINE, COARSE], data, budget=200, cost=area, file=tmp_path / "s")
    assert found.assignment.cost == sum(row.cost for row in found.layers) <= 200
    assert [row.layer for row in found.layers] == ["0", "2", "4"] and approximate.training
    for row in found.layers:
        assert approximate.get_submodule(row.layer).multiplier == row.multiplier
        assert row.cost == AREAS[row.multiplier] and (row.error == 0) == (row.multiplier == EXACT)
    assert approximate[0].weight is weight
    measured = float((approximate.eval()(data[0]).detach() - reference).double().square().mean())
    assert found.error == pytest.approx(measured, rel=1e-6) and measured > 0
    # Each way to spend 200 at most, by hand: the sums of what one layer alone does.
    alone = {}
    for index in (0, 2, 4):
        for multiplier in AREAS:
            model = nn.Sequential(
                *[ApproxLinear.of(m, spec(m, EXACT)) if hasattr(m, "multiplier") else m for m in approximate]
            )
            model[index] = ApproxLinear.of(model[index], spec(model[index], multiplier))
            alone[index, multiplier] = float((model.eval()(data[0]).detach() - reference).double().square().mean())
    best = min(
        alone[0, x] + alone[2, y] + alone[4, z]
        for x in AREAS
        for y in AREAS
        for z in AREAS
        if AREAS[x] + AREAS[y] + AREAS[z] <= 200
    )
    assert found.assignment.sensitivity == pytest.approx(best, rel=1e-6)
    assert str(found).splitlines()[-1].endswith(f"cost {found.assignment.cost}") and str(found).startswith("0: ")


def spec(layer, multiplier):
    return Approximate(multiplier, layer.activation_quantizer, layer.weight_quantizer)


def test_multipliers_under_a_budget_of_error(approximate):
    torch.manual_seed(1)
    data = [torch.randn(64, 8)]
    found = assign_multipliers(approximate, [EXACT, COARSE], data, budget=0.0, limit="sensitivity", cost=area)
    assert {row.multiplier for row in found.layers} == {EXACT} and found.error == 0
    found = assign_multipliers(approximate, [EXACT, COARSE], data, budget=1e9, limit="sensitivity", cost=area)
    assert {row.multiplier for row in found.layers} == {COARSE} and found.error > 0


def test_multipliers_refuse(approximate):
    data, before = [torch.randn(2, 8)], list(approximate)
    wide = Multiplier(family="exact", bits=12, signed=True)
    for model, multipliers, budget, message in (
        (nn.Sequential(nn.Linear(8, 2)), [EXACT], 1, "assign_multipliers needs a model with approximate layers; .*"),
        (approximate, [], 1, "assign_multipliers multipliers must be at least one"),
        (approximate, [EXACT, COARSE], 89, "assign budget must be at least 90, the least cost there is, not 89"),
        (approximate, [EXACT, wide], 500, "Approximate activations .*"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            assign_multipliers(model, multipliers, data, budget=budget, cost=with_wide)
    assert list(approximate) == before


def test_costs_are_looked_up_before_anything_is_measured(approximate):
    def measure(model, batch):
        raise AssertionError

    before, data = list(approximate), [torch.randn(2, 8)]
    for cost, budget, limit, kind, message in (
        (area, 89, "cost", ValueError, "assign budget must be at least 90, the least cost there is, not 89"),
        ({}, 89, "cost", ValueError, "assign cost must have an entry for layer '0', choice .*"),
        ({}, 89, "sensitivity", ValueError, "assign cost must have an entry for layer '0', choice .*"),
        (3, 89, "cost", TypeError, r"assign cost must be a function or a mapping of \(layer, choice\), not 3"),
        (area, "89", "sensitivity", TypeError, "assign budget must be a number, not '89'"),
        (area, 89, "area", ValueError, "assign limit must be cost or sensitivity, not 'area'"),
    ):
        with pytest.raises(kind, match=f"^{message}$"):
            assign_multipliers(
                approximate, [EXACT, COARSE], data, budget=budget, cost=cost, limit=limit, measure=measure
            )
    assert list(approximate) == before


def test_a_mapping_of_costs(approximate):
    costs = {(layer, multiplier): area(layer, multiplier) for layer in "024" for multiplier in (EXACT, COARSE)}
    found = assign_multipliers(approximate, [EXACT, COARSE], [torch.randn(4, 8)], budget=90, cost=costs)
    assert [row.cost for row in found.layers] == [30] * 3 and approximate[4].multiplier == COARSE


def test_an_error_at_the_end_leaves_the_model(approximate):
    calls, before = [], list(approximate)
    approximate[2].eval()

    def fails_once_put(model, batch):
        calls.append([layer.multiplier for layer in model if isinstance(layer, ApproxLinear)])
        if calls[-1] == [COARSE] * 3:
            raise ZeroDivisionError
        return 0.0

    with pytest.raises(ZeroDivisionError):
        assign_multipliers(
            approximate, [COARSE, EXACT], [torch.randn(4, 8)], budget=90, cost=area, measure=fails_once_put
        )
    assert list(approximate) == before and [layer.training for layer in before] == [True, True, False, True, True]
    assert len(calls) == 8  # at first, each layer's two choices, all


def test_products_of_attention_are_layers():
    torch.manual_seed(0)
    attention = ApproxMultiheadAttention(8, 2, multiplier=EXACT, batch_first=True)
    model, x = nn.ModuleDict({"attention": attention}), torch.randn(2, 5, 8)

    def loss(model, batch):
        return model["attention"](batch, batch, batch)[0].square().sum()

    found = assign_multipliers(model, [EXACT, COARSE], [x], budget=180, cost=area, measure=loss)
    names = [row.layer.removeprefix("attention.") for row in found.layers]
    assert sorted(names) == ["context", "k_proj", "out_proj", "q_proj", "scores", "v_proj"]
    assert {attention.get_submodule(name).multiplier for name in names} == {COARSE} and found.error != 0
