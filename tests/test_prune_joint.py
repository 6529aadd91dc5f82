"""Joint pruning and quantization: exactly so many groups, bits in their range at every step, steps that descend."""

import copy
import math
import re
from datetime import timedelta

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import hwlut.prune
from hwlut.fixed import Fixed
from hwlut.nn.quantized import Operands, quantize
from hwlut.prune import STAGES, Compressing, Coupling, Groups, Joint, JointOptimizer, Part, Stages, quantize_ranged
from hwlut.prune.forgetting import forget_rate, step_size
from hwlut.prune.members import Members
from hwlut.prune.saliency import CRITERIA, least, scores
from hwlut.quant import Quantizer, RangedQuantizer, calibrate
from hwlut.quant.precision import Precision
from hwlut.train import Finetune, Task, finetune

SHORT = {"warm_up": 3, "projection": 4, "joint": 8, "projection_periods": 2, "joint_periods": 2}
STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def points(count, seed):
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > x[:, 1]).long() + (x[:, 2] > 0)


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3))


def quantized(model=None, weights=True, activations=False, powers=False):
    model = model or plain()
    first = Fixed(16)
    pair = Precision(first if weights else None, first if activations else None)
    options = {"source": "ranged", "powers": powers}, {"source": "ranged", "find_sign": True}
    quantize(model, {name: (pair,) for name in ("0", "3", "5")}, Operands(*options))
    calibrate(model, [points(60, 2)[0]])
    return model


def coupling(name, size, *parts):
    return Coupling(name=name, size=size, parts=tuple(Part(*part, torch.arange(size)) for part in parts), results=())


def groups():
    first = [("0.weight", 0), ("0.bias", 0), ("1.weight", 0), ("1.bias", 0), ("1.running_mean", 0), ("3.weight", 1)]
    every = coupling("0", 8, *first), coupling("3", 10, ("3.weight", 0), ("3.bias", 0), ("5.weight", 1))
    return Groups(couplings={each.name: each for each in every}, left={}, graph=None)


def joint(**changes):
    return Joint(**SHORT | {"weight_bits": (3, 6), "frugality": 0.0} | changes)


def pruning(**changes):
    return joint(weight_bits=None, **changes)


def training(**changes):
    return Finetune(**{"steps": STEPS, "optimizer": "adamw", "learning_rate": 0.01} | changes)


def loss_of(model, step, size=16):
    return F.cross_entropy(model(points(size, 100 + step)[0]), points(size, 100 + step)[1])


def run(model, optimizer, steps=range(STEPS), after=lambda step: None):
    model.train()
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        after(step)
    return model


def elements(model, removed):
    """All parameter elements of removed groups."""
    tensors = dict(model.named_parameters())
    for each in groups():
        for part in each.parts:
            if part.tensor in tensors:
                yield (
                    tensors[part.tensor]
                    .detach()
                    .index_select(part.dim, torch.tensor(removed.get(each.name, ())).long())
                )


def count(removed):
    return sum(map(len, removed.values()))


# ---------------------------------------------------------------- saliency


def two_groups():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        model[1].weight.copy_(torch.tensor([[12.0, 0.0]]))
    model[0].weight.grad = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    model[1].weight.grad = torch.tensor([[0.5, 3.0]])
    every = Groups(couplings={"0": coupling("0", 2, ("0.weight", 0), ("1.weight", 1))}, left={}, graph=None)
    return Members(model, every)


BY_HAND = {  # group 0: x = 3 4 12, g = 1 0 0.5; group 1: x = 0 1 0, g = 2 2 3
    "magnitude": (13, 1),
    "average_magnitude": (13 / 3**0.5, 1 / 3**0.5),
    "cosine": (1 - 9 / (13 * 1.25**0.5), 1 - 2 / 17**0.5),
    "first_taylor": (9, 2),
    "second_taylor": ((9 + 36) / 2, 4 / 2),
}


def test_saliencies_are_those_computed_by_hand():
    assert set(BY_HAND) == set(CRITERIA)
    members = two_groups()
    for name, expected in BY_HAND.items():
        shares = torch.tensor(expected, dtype=torch.float64) / sum(expected)
        torch.testing.assert_close(scores(members, {name: 1.0}), shares)
    mixed = scores(members, {"magnitude": 2.0, "first_taylor": 0.5})
    torch.testing.assert_close(mixed, torch.tensor([2 * 13 / 14 + 0.5 * 9 / 11, 2 / 14 + 0.5 * 2 / 11]).double())


def test_gradients_that_are_none_or_not_finite_count_as_zero():
    members = two_groups()
    for member in members:
        member.parameter.grad = None
    expected = {"first_taylor": (0, 0), "cosine": (0.5, 0.5), "magnitude": (13 / 14, 1 / 14)}
    for name, shares in expected.items():
        torch.testing.assert_close(scores(members, {name: 1.0}), torch.tensor(shares).double())
    for member in members:
        member.parameter.grad = torch.full_like(member.parameter, math.inf)
    torch.testing.assert_close(scores(members, {"cosine": 1.0}), torch.tensor([0.5, 0.5]).double())


def test_the_least_are_chosen_and_one_of_each_coupling_stays():
    members = Members(plain(), groups())
    saliency = torch.arange(18.0).double()
    none = torch.zeros(18, dtype=torch.bool)
    assert least(saliency, members, 3, none).nonzero().flatten().tolist() == [0, 1, 2]
    assert least(saliency, members, 9, none).nonzero().flatten().tolist() == [*range(7), 8, 9]
    assert least(saliency, members, 16, none).nonzero().flatten().tolist() == [*range(7), *range(8, 17)]
    before = none.clone()
    before[[7, 17]] = True
    assert least(saliency, members, 3, before).nonzero().flatten().tolist() == [0, 7, 17]
    assert least(saliency, members, 16, before).nonzero().flatten().tolist() == [*range(6), 7, *range(8, 16), 17]
    assert least(torch.zeros(18).double(), members, 3, none).nonzero().flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("saliency", "changes", "goes"),
    [(1.5, {}, "0"), (1.5, {"frugality": 0.0}, "2"), (3.0, {}, "2"), (3.0, {"frugality": 1.0}, "0")],
)
def test_of_groups_the_one_with_less_saliency_by_its_cost_goes(saliency, changes, goes):
    """A channel of the first layer costs 20 + 4 multiply-accumulates, one of the second 4 + 2: four times less."""
    model = nn.Sequential(nn.Linear(20, 4, False), nn.ReLU(), nn.Linear(4, 4, False), nn.ReLU(), nn.Linear(4, 2, False))
    with torch.no_grad():
        for place, value in (("0", saliency * 20**-0.5), ("2", 1e-4), ("4", 2**-0.5)):
            model.get_submodule(place).weight.fill_(value)
    x = torch.randn(10, 20)
    options = Joint(**SHORT | {"sparsity": 3, "weight_bits": None, "saliency": ["magnitude"]} | changes)
    optimizer = JointOptimizer(model, hwlut.prune.groups(model, x), options, training(learning_rate=1e-9))
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert {name: len(numbers) for name, numbers in optimizer.removed.items() if numbers} == {goes: 3}


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("bits", [None, (3, 6)])
def test_so_many_groups_are_zero_from_the_end_of_their_period(kind, bits):
    model = plain() if bits is None else quantized()
    optimizer = JointOptimizer(model, groups(), joint(sparsity=9, weight_bits=bits), training(optimizer=kind))
    found = []

    def after(step):
        found.append(optimizer.removed)
        for each in elements(model, optimizer.removed):
            assert not each.count_nonzero()

    run(model, optimizer, after=after)
    assert [count(each) for each in found] == [0] * 10 + [4] * 4 + [9] * 6
    for name, numbers in found[10].items():
        assert set(numbers) <= set(found[14][name])
    assert all(len(found[-1][each.name]) < each.size for each in groups() if each.name in found[-1])
    rest = [(model[0].weight, "0"), (model[3].weight, "3")]
    for weight, name in rest:
        zero = (weight.detach() == 0).all(1).nonzero().flatten().tolist()
        assert zero == list(found[-1].get(name, ()))


@pytest.mark.parametrize("sparsity, expected", [(0.0, 0), (0.5, 9), (0.26, 5), (16, 16), (1, 1), (0.9, 16)])
def test_sparsity_is_met_exactly(sparsity, expected):
    model = quantized()
    optimizer = JointOptimizer(model, groups(), joint(sparsity=sparsity), training())
    run(model, optimizer)
    assert count(optimizer.removed) == expected


@pytest.mark.parametrize("powers", [False, True])
@pytest.mark.parametrize("kind, rate", [("sgd", 0.1), ("adamw", 0.03)])
def test_bits_stay_in_their_range(powers, kind, rate):
    model = quantized(activations=True, powers=powers)
    options = joint(activation_bits=(5, 7), sparsity=9)
    optimizer = JointOptimizer(model, groups(), options, training(optimizer=kind, learning_rate=rate, step_rate=0.1))
    quantizers = {
        name: (module.weight_choice, module.input_choice) for name, module in model.named_children() if name in "035"
    }
    seen = []

    def after(step):
        for name, pair in quantizers.items():
            for choice, (low, high), operand in zip(pair, ((3, 6), (5, 7)), ("weight", "activation")):
                q = choice.quantizer(choice.selected)
                if not q.fixed:  # by the definition: b = log2(q_m^t / d + 1) + 1 with a sign
                    levels = float(q.top.detach().double() ** q.power.detach().double() / q.step.detach().double())
                    bits = math.log2(levels + 1) + bool(q.format.signed)
                    assert optimizer.bits[name][operand] == pytest.approx(bits, abs=1e-4)
                bits = optimizer.bits[name][operand]
                if step >= 6:
                    assert low - 1e-4 <= bits <= high + 1e-4
                elif step in (3, 4):  # half of the way from 16
                    assert bits <= (16 + high) / 2 + 1e-4
                if step >= 14:
                    assert q.fixed and bits == round(bits) == q.format.bits
                seen.append(bits)

    run(model, optimizer, after=after)
    assert max(seen) > 15.5 and min(seen[-6:]) >= 3


def test_bits_that_are_not_in_their_range_are_told():
    model = quantized()
    optimizer = JointOptimizer(model, groups(), joint(), training())
    run(model, optimizer, range(8))
    with torch.no_grad():
        model[0].weight_choice.quantizer(Fixed(16)).top.fill_(math.nan)
    with pytest.raises(ValueError, match=r"^Joint weight bits of 0 must be from 3 to 6, not nan after step 8$"):
        run(model, optimizer, [8])


@pytest.mark.parametrize("powers", [False, True])
def test_the_cool_down_starts_from_whole_bits_and_folded_weights(powers):
    model = quantized(powers=powers)
    stages = Stages(model, None, joint(sparsity=0.0), STEPS)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    layers = [model[0], model[3], model[5]]
    quantizers = [layer.weight_choice.quantizer(Fixed(16)) for layer in layers]
    for step in range(STEPS):
        if step == 15:
            bits = [float(each.bits) for each in quantizers]
            before = [layer.weight.detach().clone() for layer in layers]
            tops = [(float(each.top.detach()), float(each.power.detach())) for each in quantizers]
        assert stages.before(step) is (step == 15)
        if step == 15:
            for layer, each, was, weight, (top, power) in zip(layers, quantizers, bits, before, tops):
                assert each.fixed and float(each.bits) == round(was)
                assert float(each.step.detach()) == pytest.approx(top**power / (2 ** (round(was) - 1) - 1), rel=1e-5)
                folded = weight.sign() * weight.abs().clamp_max(top) ** power
                torch.testing.assert_close(layer.weight.detach(), folded)
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        stages.after(step)
    assert any(power != 1 for _, power in tops) is powers


# ---------------------------------------------------------------- descent


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("powers", [None, False, True])
def test_each_step_on_redundant_weights_descends(powers, seed):
    model = plain(seed) if powers is None else quantized(plain(seed), powers=powers)
    options = joint(sparsity=9, joint=10, joint_periods=1, weight_bits=None if powers is None else (2, 5))
    stages, rate = Stages(model, groups(), options, 30), 0.02
    optimizer = torch.optim.SGD(model.parameters(), rate)
    history = []
    for step in range(18):
        stages.before(step)
        optimizer.zero_grad()
        loss_of(model, step).backward()
        old = {name: each.detach().clone() for name, each in model.named_parameters()}
        slopes = {name: each.grad.clone() for name, each in model.named_parameters() if "choice" not in name}
        optimizer.step()
        stages.after(step)
        new = {name: each.detach().clone() for name, each in model.named_parameters()}
        history.append((old, slopes, new))
    where = {
        name: torch.zeros_like(each, dtype=torch.bool)
        for name, each in model.named_parameters()
        if "choice" not in name
    }
    for each in groups():
        for part in each.parts:
            if part.tensor in where:
                where[part.tensor].index_fill_(part.dim, torch.tensor(stages.removed.get(each.name, ())).long(), True)
    checked = moved = 0
    for old, slopes, new in history[8:16]:  # without the first step, which chooses, and the last, which puts to zero
        for name, redundant in where.items():
            if not redundant.any():
                continue
            g, change = slopes[name][redundant].double(), (new[name] - old[name])[redundant].double()
            own = rate * float(g @ g)
            assert float(g @ change) <= -0.09 * own + 1e-9
            kept = (new[name] - old[name] + rate * slopes[name])[~redundant]
            torch.testing.assert_close(kept, torch.zeros_like(kept), rtol=0, atol=1e-6)
            moved += float((change + rate * g).norm()) > 1e-3 * float(old[name][redundant].norm())
            checked += 1
    assert checked >= 30 and moved > checked / 4


def test_rate_and_step_are_those_of_the_formulas():
    for seed in range(40):
        rate_and_step(seed)


def rate_and_step(seed):
    generator = torch.Generator().manual_seed(seed)
    x, g = torch.randn(2, 30, generator=generator, dtype=torch.float64)
    g = g + [0.0, 0.5, -0.5, 3.0][seed % 4] * x
    lr, uniform, d = 10.0 ** -(seed % 3 + 1), 1 / (seed % 7 + 1), 0.37
    low, high = d / (1 + seed % 5), d * (1 + seed % 2)
    r = x.sign() * ((x.abs() / d).round() - x.abs() / d)

    def cosine(a):
        return float(a @ g / (a.norm() * g.norm()))

    size, slope = float(x.norm()), float(g.norm())
    rate = uniform if cosine(x) >= 0 else min(uniform, -(1 - 0.999) * lr * slope / (cosine(x) * size))
    step = high if cosine(r) >= 0 else -0.9 * 0.999 * lr * slope / (rate * cosine(r) * float(r.norm()))
    step = min(step, high)
    if step < low:
        rate, step = rate * step / low, low
    descent = lr * (g @ g)
    gamma = forget_rate(descent, x @ g, x.abs().mean(), uniform)
    chosen, gamma = step_size(gamma, descent, r @ g, torch.tensor(low).double(), torch.tensor(high).double())
    assert float(chosen) == pytest.approx(step) and float(gamma) == pytest.approx(rate)
    change = -descent - gamma * (x @ g) - gamma * chosen * (r @ g)
    assert float(change) <= -0.999 * 0.1 * float(descent) * (1 - 1e-9)
    assert float(forget_rate(descent, x @ g, torch.tensor(1e-9), uniform)) == 0
    chosen, _ = step_size(torch.zeros(()).double(), descent, -(r @ g).abs(), *torch.tensor([low, high]).double())
    assert float(chosen) == pytest.approx(high)


def test_what_is_uniform_is_gone_by_the_end():
    model = plain()
    stages = Stages(model, groups(), pruning(sparsity=9, joint=5, joint_periods=1), STEPS)
    first = copy.deepcopy(model.state_dict())
    sizes = []
    for step in range(12):  # gradients that are not finite, as of a step that a scaler leaves out
        stages.before(step)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, math.inf if step % 2 else math.nan)
        if step == 7:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
        stages.after(step)
        sizes.append(model[3].weight.detach().abs().sum())
    removed = stages.removed
    assert count(removed) == 9
    for each in elements(model, removed):
        assert not each.count_nonzero()
    keep = torch.tensor([row not in removed.get("3", ()) for row in range(10)])
    left = torch.tensor([column not in removed.get("0", ()) for column in range(8)])
    assert torch.equal(model[3].weight.detach()[keep][:, left], first["3.weight"][keep][:, left])
    falls = [float(sizes[step] - sizes[step + 1]) for step in range(7, 11)]
    assert falls == pytest.approx([falls[0]] * 4, rel=1e-4) and falls[0] > 0  # 1/4 of the first each time


def test_groups_are_chosen_by_finite_gradients_or_at_the_last_step():
    model = plain()
    stages = Stages(model, groups(), pruning(sparsity=9, joint=5, joint_periods=1), STEPS)
    for step in range(12):
        stages.before(step)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, math.nan)
        stages.after(step)
        assert count(stages.removed) == (9 if step == 11 else 0)
        assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


# ---------------------------------------------------------------- one without the other


def test_quantization_alone():
    model = quantized(activations=True)
    optimizer = JointOptimizer(model, None, joint(sparsity=0.0, activation_bits=(4, 8)), training(step_rate=0.05))
    quantizer, steps = model[3].weight_choice.quantizer(Fixed(16)), []
    run(model, optimizer, after=lambda step: steps.append(float(quantizer.step.detach())))
    assert optimizer.removed == {} and len(set(steps[6:15])) > 2
    assert {round(bits["weight"]) for bits in optimizer.bits.values()} <= set(range(3, 7))


def test_pruning_alone_of_a_model_without_quantizers():
    model = plain()
    optimizer = JointOptimizer(model, groups(), pruning(), training())
    run(model, optimizer)
    assert optimizer.bits == {} and count(optimizer.removed) == 9


def test_stages_have_their_names():
    optimizer = JointOptimizer(model := plain(), groups(), pruning(), training())
    names = [optimizer.stage]
    run(model, optimizer, after=lambda step: names.append(optimizer.stage))
    assert names == ["warm_up"] * 3 + ["projection"] * 4 + ["joint"] * 8 + ["cool_down"] * 6
    assert tuple(dict.fromkeys(names)) == STAGES
    assert Joint(warm_up=0.1, projection=0.2, joint=0.3).lengths(100) == (10, 20, 30, 40)


@pytest.mark.parametrize("bits", [None, (3, 6)])
def test_the_smaller_model_computes_the_same(bits):
    model, (x, _) = plain(), points(30, 7)
    found = hwlut.prune.groups(model.eval(), x[:2])
    if bits is not None:
        quantize_ranged(model, x[:2], [x], activations=True)
    optimizer = JointOptimizer(model, found, joint(weight_bits=bits, activation_bits=bits), training())
    run(model, optimizer)
    smaller = optimizer.construct(x[:2]).model
    assert count(optimizer.removed) == 9 and smaller[0].out_features + smaller[3].out_features == 9
    torch.testing.assert_close(smaller(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, RangedQuantizer) for module in smaller.modules())
    quantizers = [module for module in smaller.modules() if isinstance(module, Quantizer)]
    assert len(quantizers) == (0 if bits is None else 6) and all(3 <= each.format.bits <= 6 for each in quantizers)


# ---------------------------------------------------------------- loops


@pytest.mark.parametrize("kind, at", [("sgd", 5), ("sgd", 9), ("adamw", 8), ("adamw", 11), ("adam", 15), ("sgd", 17)])
def test_an_optimizer_goes_on_to_the_bit(kind, at, tmp_path):
    def made():
        model = quantized(activations=True, powers=True)
        options = joint(activation_bits=(4, 8))
        return model, JointOptimizer(model, groups(), options, training(optimizer=kind))

    model, optimizer = made()
    run(model, optimizer)
    other, first = made()
    run(other, first, range(at))
    torch.save({"model": other.state_dict(), "optimizer": first.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    third, second = made()
    second.load_state_dict(state["optimizer"])
    third.load_state_dict(state["model"])
    assert second.stage == first.stage and second.removed == first.removed
    run(third, second, range(at, STEPS))
    for (name, ours), theirs in zip(third.state_dict().items(), model.state_dict().values()):
        assert torch.equal(ours, theirs), name
    assert second.removed == optimizer.removed and second.bits == optimizer.bits


def test_schedulers_and_closures():
    model = plain()
    optimizer = JointOptimizer(model, groups(), pruning(), training(optimizer="sgd", learning_rate=0.5))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    before = copy.deepcopy(model.state_dict())
    loss = optimizer.step(closure)
    scheduler.step()
    assert float(loss.detach()) > 0 and optimizer.param_groups[0]["lr"] == 0
    assert torch.equal(model[0].weight.detach(), before["0.weight"])  # the rate was 0 from the first
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    run(model, optimizer, [1])
    assert not torch.equal(model[0].weight.detach(), before["0.weight"])


def test_a_scaler_leaves_out_steps():
    model = quantized()
    optimizer = JointOptimizer(model, groups(), joint(), training())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    model.train()
    for step in range(STEPS + 2):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step) * (math.inf if step in (6, 9) else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert count(optimizer.removed) == 9 and optimizer.stage == "cool_down"
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def train(rank, store, results):
    torch.set_num_threads(1)
    limit = timedelta(minutes=2)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=limit)
    model = quantized()
    optimizer = JointOptimizer(model, groups(), joint(), training())
    net = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(net, 2 * step + rank).backward()
        optimizer.step()
    torch.save((model.state_dict(), optimizer.removed, optimizer.bits), f"{results}.{rank}")
    del net  # which holds the group's threads
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch.distributed, on the host's name
def test_processes_decide_alike(tmp_path):
    results = tmp_path / "results"
    torch.multiprocessing.spawn(train, (str(tmp_path / "store"), str(results)), nprocs=2)
    (one, removed, bits), (other, same, alike) = (torch.load(f"{results}.{rank}") for rank in range(2))
    assert count(removed) == 9 and removed == same and bits == alike
    for name, ours in one.items():
        if "running" not in name:
            assert torch.equal(ours, other[name]), name


# ---------------------------------------------------------------- within finetune


def task():
    data = {"train": TensorDataset(*points(48, 0)), "test": TensorDataset(*points(20, 1))}
    return Task(name="points", model=plain, **data)


def stop_at(at):
    def progress(done, steps, text):
        if done == at:
            raise KeyboardInterrupt

    return progress


def trained(folder, progress=None, **changes):
    model = quantized(activations=True)
    control = Compressing(model, groups(), joint(activation_bits=(4, 8)))
    options = training(batch=12, evaluate_every=1, **{"ema": 0.9, "log_every": 1, "save_every": 1} | changes)
    finetune(model, task(), options, control=control, folder=folder, device="cpu", progress=progress)
    return model, control


@pytest.mark.parametrize("at", [9, 15, 18])
def test_a_training_goes_on_to_the_bit(at, tmp_path):
    whole, control = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", stop_at(at))
    parts, again = trained(tmp_path / "parts")
    for name, ours in parts.state_dict().items():
        assert torch.equal(ours, whole.state_dict()[name]), name
    assert again.stages.removed == control.stages.removed and count(again.stages.removed) == 9
    lines = [(tmp_path / each / "log.jsonl").read_text() for each in ("whole", "parts")]
    assert re.sub(r'"seconds": [\d.]+', "", lines[0]) == re.sub(r'"seconds": [\d.]+', "", lines[1])
    assert '"stage": "joint", "removed": 4' in lines[0]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_kept_of_a_training_has_the_zeros_and_whole_bits(ema, tmp_path):
    model, control = trained(None, ema=ema)
    assert count(control.stages.removed) == 9
    for each in elements(model, control.stages.removed):
        assert not each.count_nonzero()
    for bits in control.stages.bits.values():
        assert bits["weight"] in range(3, 7) and bits["activation"] in range(4, 9)


def test_accuracy_stays_high(need):
    need("sklearn")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16 - 0.3, torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = (TensorDataset(x[part], y[part]) for part in (order[:1400], order[1400:]))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    quantize_ranged(model, train[:2][0], [train[:200][0]], activations=True)
    every = (
        coupling("0", 64, ("0.weight", 0), ("0.bias", 0), ("2.weight", 1)),
        coupling("2", 48, ("2.weight", 0), ("2.bias", 0), ("4.weight", 1)),
    )
    found = Groups(couplings={each.name: each for each in every}, left={}, graph=None)
    control = Compressing(model, found, Joint(activation_bits=(4, 8), frugality=0.0))
    options = Finetune(steps=200, batch=100, learning_rate=5e-3, ema=0.9)
    done = finetune(model, Task(name="digits", model=plain, train=train, test=test), options, control=control)
    assert count(control.stages.removed) == 56
    assert all(4 <= each <= 8 for bits in control.stages.bits.values() for each in bits.values())
    assert done.metric > 0.85  # 0.89 or more, as the CPU rounds


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"sparsity": "half"}, TypeError, "Joint sparsity must be a number, not 'half'"),
        ({"sparsity": True}, TypeError, "Joint sparsity must be a number, not True"),
        ({"sparsity": -1}, ValueError, "Joint sparsity must be a share from 0 to 1 or a positive integer .*, not -1"),
        ({"sparsity": 1.5}, ValueError, "Joint sparsity must be a share from 0 to 1 or a positive integer .*, not 1.5"),
        ({"sparsity": math.nan}, ValueError, "Joint sparsity must be a share from 0 to 1 or a positive .*, not nan"),
        ({"weight_bits": (8, 4)}, ValueError, r"Joint weight_bits must be ascending from 2 to 16, not \(8, 4\)"),
        ({"weight_bits": (1, 4)}, ValueError, r"Joint weight_bits must be ascending from 2 to 16, not \(1, 4\)"),
        ({"activation_bits": (4, 17)}, ValueError, r"Joint activation_bits must be .* from 2 to 16, not \(4, 17\)"),
        ({"weight_bits": 4}, TypeError, "Joint weight_bits must be the least and the most bits, or None, not 4"),
        ({"joint": 1.0}, ValueError, "Joint joint must be a share from 0 to below 1 or an integer .*, not 1.0"),
        ({"warm_up": -2}, ValueError, "Joint warm_up must be a share from 0 to below 1 or an integer .*, not -2"),
        ({"joint_periods": 0}, ValueError, "Joint joint_periods must be at least 1, not 0"),
        ({"joint_periods": 1.5}, TypeError, "Joint joint_periods must be an integer, not 1.5"),
        ({"saliency": ("size",)}, ValueError, "Joint saliency must be of magnitude, .*, second_taylor, not 'size'"),
        ({"saliency": "magnitude"}, TypeError, "Joint saliency must be criteria, with weights or without, not 'magn.*"),
        ({"saliency": {"cosine": -1}}, ValueError, "Joint saliency cosine must be at least 0, not -1"),
        ({"saliency": {"cosine": 0}}, ValueError, "Joint saliency must have a criterion with a weight above 0"),
        ({"sparsity": 0.0, "weight_bits": None}, ValueError, "Joint must be given a sparsity above 0, .*"),
    ],
)
def test_options_are_checked(changes, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        joint(**changes)


def test_settings_are_plain():
    settings = joint(saliency=["cosine"]).settings
    assert settings == SHORT | {
        **{"sparsity": 0.5, "weight_bits": [3, 6], "activation_bits": None, "saliency": {"cosine": 1.0}},
        **{"frugality": 0.0, "target": None, "target_bits": None, "powers": False},
        **{"keep": [], "exclude": [], "calibration": 100},
    }


@pytest.mark.parametrize(
    "model, changes, message",
    [
        (plain, {}, "Joint weight_bits must be None: no operation of the model has a ranged quantizer of them"),
        (quantized, {"weight_bits": None}, "Joint weight_bits must be given: the weight of 0 has a ranged quantizer"),
        (quantized, {"activation_bits": (4, 8)}, "Joint activation_bits must be None: no operation .*"),
        (quantized, {"sparsity": 17}, "Joint sparsity must be of at most 16 of the 18 groups, .*, not 17"),
        (quantized, {"sparsity": 1.0}, "Joint sparsity must be of at most 16 of the 18 groups, .*, not 18"),
        (
            quantized,
            {"joint": 20},
            "Joint stages must leave a step of .*, but take warm_up 3, .*, joint 20 of 20 steps",
        ),
        (quantized, {"joint_periods": 9}, "Joint joint_periods must be at most the 8 steps of joint, not 9"),
        (quantized, {"projection": 0}, "Joint projection must be of a step at least, not of none of 20"),
    ],
)
def test_models_and_lengths_are_checked(model, changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        JointOptimizer(model(), groups(), joint(**changes), training())


def test_optimizers_are_checked():
    with pytest.raises(ValueError, match=r"^JointOptimizer training must be of so many steps, not epochs$"):
        JointOptimizer(plain(), groups(), pruning(), Finetune())
    with pytest.raises(ValueError, match=r"^Joint sparsity must be 0 where there are no groups to remove$"):
        JointOptimizer(plain(), None, pruning(), training())
    with pytest.raises(TypeError, match=r"^JointOptimizer model must be a Module, not 3$"):
        JointOptimizer(3, None, pruning(), training())
    other = Groups(couplings={"c": coupling("c", 8, ("c.weight", 0))}, left={}, graph=None)
    with pytest.raises(ValueError, match=r"^Groups of c must be of this model, which has no c.weight$"):
        JointOptimizer(plain(), other, pruning(), training())
    wide = Groups(couplings={"c": coupling("c", 7, ("0.weight", 0))}, left={}, graph=None)
    with pytest.raises(ValueError, match=r"^Groups of c must have a place along dimension 0 of 0.weight for each of "):
        JointOptimizer(plain(), wide, pruning(), training())
    model = plain()
    optimizer = JointOptimizer(model, groups(), pruning(), training())
    with pytest.raises(ValueError, match=r"^JointOptimizer state must be of a JointOptimizer, not of another opt"):
        optimizer.load_state_dict(torch.optim.SGD(model.parameters(), 0.1).state_dict())
    with pytest.raises(
        ValueError, match=r"^JointOptimizer construct must come in the cool-down, not in the stage warm"
    ):
        optimizer.construct(points(2, 0)[0])
