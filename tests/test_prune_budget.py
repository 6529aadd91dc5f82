"""Bits within a budget, and what groups cost: beside every choice there is, and beside smaller models."""

import itertools

import pytest
import torch
from torch import nn

import hwlut.prune
from hwlut.nn.quantized import ranged_quantizers
from hwlut.prune import Budget, Joint, JointOptimizer, mask_, quantize_ranged, shrink, size_of
from hwlut.prune.bounds import bounded
from hwlut.prune.saliency import group_macs
from hwlut.search import memory
from hwlut.train import Finetune

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
MACS = {"0": 6 * 8, "2": 8 * 4, "4": 4 * 3}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))


def ranged(weights=(2, 4), activations=(3, 4)):
    model = net()
    quantize_ranged(model, X[:1], [X], weights=weights is not None, activations=activations is not None)
    return model, bounded(model, Joint(weight_bits=weights, activation_bits=activations))


def harm(path, operand, bits):
    """Made up: what a loss rises by, which falls with bits in another way for each operand."""
    return (1 + int(path)) * {"weight": 3.0, "activation": 1.0}[operand] / bits**2


def told(quantizers):
    return {(each.path, each.operand): round(float(each.quantizer.bits)) for each in quantizers}


def loss_of(quantizers):
    return lambda: sum(harm(path, operand, bits) for (path, operand), bits in told(quantizers).items())


def spent(bits, macs=MACS):
    return sum(macs[path] * bits[path, "weight"] * bits[path, "activation"] for path in macs)


@pytest.mark.parametrize("target", [700, 900, 1000, 1200])
def test_bits_are_those_that_harm_least_within_the_budget(target):
    model, quantizers = ranged()
    Budget(model, None, X[:1], loss_of(quantizers), [X], target=target)(quantizers, {})
    found = told(quantizers)
    keys = list(found)
    every = itertools.product(*((2, 3, 4) if operand == "weight" else (3, 4) for _, operand in keys))
    fitting = [dict(zip(keys, bits)) for bits in every if spent(dict(zip(keys, bits))) <= target]
    wide = [each for each in fitting if spent(each) >= 0.95 * target]
    least = min(sum(harm(*key, bits) for key, bits in each.items()) for each in wide or fitting)
    assert spent(found) <= target
    assert sum(harm(*key, bits) for key, bits in found.items()) <= least + 1e-9


def test_a_budget_in_bits_and_of_weights_alone():
    model, quantizers = ranged(activations=None)
    Budget(model, None, X[:1], loss_of(quantizers), [X], target_bits=3)(quantizers, {})
    bits = {path: found for (path, _), found in told(quantizers).items()}
    assert sum(MACS[path] * 32 * each for path, each in bits.items()) <= 3 * 32 * sum(MACS.values())
    Budget(model, None, X[:1], loss_of(quantizers), [X], target_bits=3, cost=memory)(quantizers, {})
    bits = {path: found for (path, _), found in told(quantizers).items()}
    assert sum(MACS[path] * each for path, each in bits.items()) <= 3 * sum(MACS.values())


def test_the_cost_is_of_the_smaller_model():
    model, quantizers = ranged()
    groups = hwlut.prune.groups(model, X[:1])
    removed = {"0": (0, 2, 4, 6), "2": (1,)}
    mask_(model, groups, removed)
    steps = [each.quantizer.step.clone() for each in quantizers]
    Budget(model, groups, X[:1], loss_of(quantizers), [X], target=500)(quantizers, removed)
    smaller = {"0": 6 * 4, "2": 4 * 3, "4": 3 * 3}
    assert 0.9 * 500 <= spent(told(quantizers), smaller) <= 500
    assert not all(torch.equal(each.quantizer.step, step) for each, step in zip(quantizers, steps))


def test_impossible_budgets_are_refused():
    model, quantizers = ranged()
    with pytest.raises(ValueError, match="search target must be at least 552, the smallest cost there is"):
        Budget(model, None, X[:1], loss_of(quantizers), [X], target=500)(quantizers, {})
    with pytest.raises(ValueError, match="Budget must be given target or target_bits, one of them"):
        Budget(model, None, X[:1], loss_of(quantizers), [X])
    with pytest.raises(ValueError, match="Budget target must be given with a cost of one's own, not target_bits"):
        Budget(
            model, None, X[:1], loss_of(quantizers), [X], target_bits=4, cost=lambda shapes: lambda layer, choice: 1.0
        )


def test_an_optimizer_keeps_the_budget():
    model = net()
    groups = hwlut.prune.groups(model, X[:1])
    quantize_ranged(model, X[:1], [X], activations=True)
    y = (X[:, 0] > 0).long()

    def loss():
        with torch.no_grad():
            return float(nn.functional.cross_entropy(model(X), y))

    asked = Joint(sparsity=0.5, weight_bits=(2, 6), activation_bits=(2, 6))
    training = Finetune(steps=60, learning_rate=1e-2)
    budget = Budget(model, groups, X[:1], loss, [X], target_bits=4)
    optimizer = JointOptimizer(model, groups, asked, training, budget)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimizer.step()
    made = optimizer.construct(X[:1])
    assert 0.9 * 16 * made.after.macs <= made.after.bit_operations <= 16 * made.after.macs
    assert len({str(each) for each in made.precisions.values()}) > 1
    assert not ranged_quantizers(made.model)
    for name, value in {"target_bits": 4, "keep": ["0"], "powers": True, "calibration": 7}.items():
        with pytest.raises(ValueError, match=f"JointOptimizer options must leave {name} to "):
            JointOptimizer(model, groups, Joint(**{name: value}), training)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.heads = 2
        self.up, self.down = nn.Conv1d(8, 6, 1), nn.Linear(6, 8)

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.out(((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + self.down(self.up(x.transpose(1, 2)).transpose(1, 2).relu())


@pytest.mark.parametrize(("model", "x"), [(net, X[:1]), (Attention, torch.randn(1, 5, 8))])
def test_what_goes_with_a_group(model, x):
    model = model()
    groups = hwlut.prune.groups(model, x)
    before, macs = size_of(model, x).macs, group_macs(groups)
    first = 0
    for coupling in groups:
        smaller = shrink(model, groups, {coupling.name: [1]}, x)
        assert before - size_of(smaller, x).macs == pytest.approx(float(macs[first + 1]))
        first += coupling.size
    assert first == len(macs)
