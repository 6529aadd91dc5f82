"""From a dense model to a trained one on look-ups: which layers, the loop against a plain one, stops, refusals."""

import copy
import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

from hwlut import Fixed
from hwlut.lutnn import open_run, replace, run
from hwlut.lutnn.lookups import from_json, to_json
from hwlut.nn import Lookup, LutConv2d, LutLinear, convert
from hwlut.quant import Quantizer
from hwlut.train import Finetune, ImageFolder, Task, evaluate, finetune, load_state, save_state, warm_start
from hwlut.train.average import Average
from hwlut.train.losses import Losses
from hwlut.train.randomness import Drawn

ROOT = Path(__file__).resolve().parent.parent
LOOKUP = Lookup(k=8, v=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def points(count, seed):
    """Points in eight dimensions, and whether the first four are farther from 0 than the others."""
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :4].square().sum(1) > x[:, 4:].square().sum(1)).long()


class Noisy(Dataset):
    """The points, each with new noise whenever it is read."""

    def __init__(self, count, seed):
        self.x, self.y = points(count, seed)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, place):
        return self.x[place] + 0.1 * torch.randn(8), self.y[place]


def small():
    """A model with all that training must treat with care: normalization, dropout, layers at both ends."""
    torch.manual_seed(0)
    middle = nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), *middle, nn.Linear(16, 2))


def toy(**changes):
    fields = {"name": "toy", "model": small, "train": Noisy(60, 1), "test": TensorDataset(*points(40, 2))}
    return Task(**fields | changes)


def looked_up():
    """A model whose middle layer is looked up, and the dense one it was."""
    dense = small().eval()
    student = copy.deepcopy(dense)
    replace(student, LOOKUP, [points(60, 1)[0]])
    return student, dense


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Backwards(nn.Module):
    """Calls its layers in the reverse of their order in the model."""

    def __init__(self):
        super().__init__()
        self.last, self.odd = nn.Linear(8, 2), nn.Conv1d(8, 8, 1, groups=2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(3))
        self.first, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(self.odd(x[..., None]).flatten(1))


def test_the_layers_called_first_and_last_stay():
    model = Backwards()
    found = replace(model, LOOKUP, [torch.randn(40, 8)])
    names = [f"blocks.{block}.{layer}" for block in range(3) for layer in (0, 2)]
    assert list(found.lookups) == [entry.name for entry in found.replaced] == names
    assert all(isinstance(model.get_submodule(name), LutLinear) for name in names)
    assert found.left == {
        "first": "called first",
        "last": "called last",
        "odd": "LutConv1d groups must be 1, not 2",
        "unused": "called by no batch",
    }
    assert type(model.first) is nn.Linear and type(model.last) is nn.Linear
    assert str(found).endswith(
        "odd (LutConv1d groups must be 1, not 2), last (called last), unused (called by no batch)"
    )


def test_layers_are_chosen_by_names_and_blocks():
    coarse = Lookup(k=4, v=8)
    model = Backwards()
    lookups = {"blocks.2.*": coarse, "*": LOOKUP}
    names = {"include": ["blocks.*", "last"], "exclude": ["*.2"]}
    found = replace(model, lookups, [torch.randn(40, 8)], keep_ends=False, last_blocks=2, **names)
    assert found.lookups == {"blocks.1.0": LOOKUP, "blocks.2.0": coarse}
    assert model.blocks[2][0].lookup is coarse and model.blocks[1][0].lookup is LOOKUP
    assert found.left["blocks.0.0"] == found.left["last"] == "not in the last 2 blocks"
    assert found.left["blocks.1.2"] == "excluded" and found.left["first"] == "not included"
    again = replace(model, LOOKUP, [torch.randn(40, 8)], keep_ends=False)
    assert again.left["blocks.1.0"] == "already looked up" and "first" in again.lookups


def test_layers_learn_together_or_in_turn():
    data = [points(200, 3)[0]]
    made = {}
    for order in ("together", "in_turn"):
        torch.manual_seed(0)
        made[order] = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        dense = copy.deepcopy(made[order])
        told = []
        replace(made[order], LOOKUP, data, keep_ends=False, order=order, progress=lambda *step, t=told: t.append(step))
        parts = [{"0": LOOKUP, "2": LOOKUP, "4": LOOKUP}] if order == "together" else [{n: LOOKUP} for n in "024"]
        for part in parts:
            convert(dense, part, data)
        assert same(dense, made[order])
        assert told == [(3, 3, "4")] if order == "together" else [(1, 3, "0"), (2, 3, "2"), (3, 3, "4")]
    assert not same(made["together"], made["in_turn"])


def test_attention_and_convolutions_are_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 8, 3)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            x = self.conv(x).flatten(2).mT
            return self.attention(x, x, x)[0]

    model = Net().eval()
    x = torch.randn(8, 2, 6, 6)
    expected = model(x)
    found = replace(model, Lookup(k=16, v=2), [x], keep_ends=False)
    assert list(found.lookups) == ["conv", "attention"] and isinstance(model.conv, LutConv2d)
    task = Task(name="net", model=Net, train=[(x[0], 0)], test=[(x[0], 0)], loss=lambda y, t: y.square().mean())
    teacher = Net().eval()
    loss = Losses(task, Finetune(distill_layers=1.0), model, teacher)(model, x, None)
    apart = [
        (model.conv(x) - teacher.conv(x)).square().mean() / teacher.conv(x).var(correction=0),
        (model(x) - teacher(x)).square().mean() / teacher(x).var(correction=0),
    ]
    torch.testing.assert_close(loss, model(x).square().mean() + sum(apart) / 2)
    assert expected.shape == model(x).shape


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"include": ["nothing"]}, ValueError, "replace include 'nothing' must match a layer; it matches none"),
        ({"exclude": ["x*"]}, ValueError, "replace exclude 'x[*]' must match a layer; it matches none"),
        ({"include": "blocks.*"}, TypeError, "replace include must be patterns of names, not 'blocks.[*]'"),
        ({"order": "reverse"}, ValueError, "replace order must be one of together, in_turn, not 'reverse'"),
        ({"last_blocks": 4}, ValueError, "replace last_blocks must be from 1 to 3, not 4"),
        (
            {"include": ["first", "unused"]},
            ValueError,
            r"replace must find a layer to look up; left out: first \(called first\), .*unused \(called by no batch\)",
        ),
    ],
)
def test_impossible_choices_are_refused(options, error, message):
    model = Backwards()
    before = list(model.modules())
    with pytest.raises(error, match=f"^{message}$"):
        replace(model, LOOKUP, [torch.randn(40, 8)], **options)
    assert list(model.modules()) == before


def test_a_failed_conversion_changes_nothing():
    model = nn.Sequential(nn.Linear(8, 8), nn.Unflatten(1, (4, 2)), nn.Flatten(), nn.Linear(8, 4)).eval()
    before = list(model.modules())
    lookups = {"0": Lookup(k=4, v=4), "3": Lookup(k=64, v=4)}
    for data, message in (
        ([torch.randn(40, 8)], "at least K rows, 64, not 40"),
        ([], "data must be at least one batch"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(model, lookups, data, keep_ends=False, order="in_turn")
        assert list(model.modules()) == before
    with pytest.raises(TypeError, match="^replace lookup must be a Lookup or Lookups by patterns, not int$"):
        replace(model, 16, [torch.randn(40, 8)])


def test_rates_rise_and_fall():
    options = Finetune(warmup=0.5)
    factors = [options.factor(step, 8) for step in range(8)]
    cosine = [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    assert factors == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, *cosine])
    assert Finetune(warmup=0.0).factor(0, 3) == 1


def test_training_is_the_plain_loop():
    x, y = points(30, 4)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    plain = copy.deepcopy(model)
    options = Finetune(steps=10, batch=7, ema=0, warmup=0.2, learning_rate=0.02, weight_decay=0.1, clip=0.5, seed=5)
    done = finetune(model, toy(train=TensorDataset(x, y)), options)
    weights, biases = [plain[0].weight, plain[2].weight], [plain[0].bias, plain[2].bias]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}])
    losses = []
    for step in range(10):
        epoch, part = divmod(step, 4)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(5 + epoch))
        places = order[7 * part : 7 * part + 7]
        rate = (step + 1) / 3 if step < 2 else (1 + math.cos(math.pi * (step - 2) / 8)) / 2
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * rate
        loss = F.cross_entropy(plain(x[places]), y[places])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    for ours, theirs in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert [entry.step for entry in done.evaluations] == [4, 8, 10]
    means = [sum(losses[:4]) / 4, sum(losses[4:8]) / 4, sum(losses[8:]) / 2]
    assert [entry.loss for entry in done.evaluations] == pytest.approx(means, rel=1e-5)
    test_x, test_y = points(40, 2)
    assert done.metric == pytest.approx((model(test_x).argmax(1) == test_y).float().mean().item())


def test_temperatures_have_their_own_rate():
    student, _ = looked_up()
    start = {name: value.clone() for name, value in student.named_parameters()}

    def changed(**rates):
        trained = copy.deepcopy(student)
        finetune(trained, toy(), Finetune(steps=1, batch=20, ema=0, weight_decay=0, **rates))
        return {name for name, value in trained.named_parameters() if not torch.equal(value, start[name])}

    assert changed(learning_rate=0, temperature_rate=0.1) == {"2.temperature"}
    assert changed(learning_rate=1e-2, temperature_rate=0) == set(start) - {"2.temperature"}


def test_prototypes_do_not_decay():
    student, _ = looked_up()
    before = copy.deepcopy(student[2])
    frozen = toy(loss=lambda output, target: 0 * output.sum())
    finetune(student, frozen, Finetune(steps=1, batch=20, ema=0, weight_decay=0.5, learning_rate=0.1, warmup=0))
    assert torch.equal(student[2].prototypes, before.prototypes)
    torch.testing.assert_close(student[2].table, before.table * 0.95)


def test_averages_by_hand():
    model = nn.BatchNorm1d(1)
    average = Average(model, 0.6)
    seen = []
    for step in range(1, 9):
        with torch.no_grad():
            model.weight.fill_(step**2)
            model.running_mean.fill_(-step)
            model.num_batches_tracked.fill_(step)
        average.update(model)
        seen.append(average.module.weight.item())
    expected, mean = [1.0], -1.0
    for step in range(2, 9):
        decay = min(0.6, (1 + step) / (10 + step))
        expected.append(decay * expected[-1] + (1 - decay) * step**2)
        mean = decay * mean - (1 - decay) * step
    assert seen == pytest.approx(expected, rel=1e-5) and average.module.running_mean.item() == pytest.approx(mean)
    assert average.module.num_batches_tracked.item() == 8 and not average.module.training
    assert Average(model, 0).module is model


def test_distillation_by_hand():
    student, dense = looked_up()
    student.eval()
    x, y = points(20, 6)
    t = 3.0
    options = Finetune(distill=0.25, distill_temperature=t, distill_layers=0.5)
    found = Losses(toy(), options, student, dense)(student, x, y)
    ours, theirs = student(x), dense(x)
    p, q = (theirs / t).softmax(1), (ours / t).softmax(1)
    divergence = t * t * (p * (p.log() - q.log())).sum() / 20
    hidden = student[:3](x), dense[:3](x)
    apart = ((hidden[0] - hidden[1]) ** 2).mean() / ((hidden[1] - hidden[1].mean()) ** 2).mean()
    torch.testing.assert_close(found, 0.75 * F.cross_entropy(ours, y) + 0.25 * divergence + 0.5 * apart)
    found.backward()
    assert student[2].table.grad is not None and dense[2].weight.grad is None


def test_distillation_needs_a_teacher_of_the_same_layers():
    student, dense = looked_up()
    with pytest.raises(ValueError, match="^finetune teacher must be given with distill or distill_layers above 0$"):
        finetune(student, toy(), Finetune(batch=20, distill=0.5))
    with pytest.raises(ValueError, match="^finetune teacher must hold a layer '2', as the student does$"):
        finetune(student, toy(), Finetune(batch=20, distill_layers=1.0), teacher=nn.Sequential(nn.Linear(8, 2)))
    with pytest.raises(ValueError, match="^finetune student must hold layers of look-ups with distill_layers above 0"):
        finetune(dense, toy(), Finetune(batch=20, distill_layers=1.0), teacher=dense)


@pytest.mark.parametrize("learned", [False, True])
def test_modes_teacher_and_quantizers(learned):
    quantizer = Quantizer(Fixed(8), steps="real", symmetric=False, source="learned") if learned else None
    dense = small()
    student = copy.deepcopy(dense)
    replace(student, Lookup(k=8, v=4, activations=quantizer), [points(60, 1)[0]])
    step = student[2].activation_quantizer.step.clone()
    taught = copy.deepcopy(dense)
    student.train()
    student[3].eval()
    taught.train()
    taught[0].eval()
    modes = [module.training for model in (student, taught) for module in model.modules()]
    seen = []
    hooks = [
        student[5].register_forward_pre_hook(lambda module, _: seen.append(("student", module.training))),
        taught[5].register_forward_pre_hook(lambda module, _: seen.append(("teacher", module.training))),
    ]
    finetune(student, toy(), Finetune(steps=2, batch=20, distill=0.5, ema=0), teacher=taught)
    for hook in hooks:
        hook.remove()
    assert [module.training for model in (student, taught) for module in model.modules()] == modes
    assert same(taught, dense)
    assert [entry for entry in seen if entry[0] == "teacher"] == [("teacher", False)] * 2
    assert seen.count(("student", True)) == 2 and ("student", False) in seen
    assert torch.equal(student[2].activation_quantizer.step, step) != learned


class Stop(Exception):
    pass


def stopping(task, calls):
    """The task, whose loss gives up after so many calls."""
    left = [calls]

    def loss(output, target):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return task.loss(output, target)

    return Task(**{**vars(task), "loss": loss})


RESUMED = Finetune(epochs=4, batch=12, distill=0.5, distill_layers=0.1, learning_rate=5e-3, evaluate_every=3, seed=7)


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_a_stopped_training_goes_on_to_the_same_weights(ema, tmp_path):
    options = Finetune(**{**vars(RESUMED), "ema": ema})
    whole, dense = looked_up()
    stopped, fresh = copy.deepcopy(whole), copy.deepcopy(whole)
    expected = finetune(whole, toy(), options, teacher=dense)
    assert [entry.step for entry in expected.evaluations] == [3, 6, 9, 12, 15, 18, 20] and expected.resumed == 0
    with pytest.raises(Stop):
        finetune(stopped, stopping(toy(), 8), options, teacher=dense, folder=tmp_path)
    torch.manual_seed(123)  # what else is drawn meanwhile does not count
    with pytest.raises(Stop):
        finetune(copy.deepcopy(fresh), stopping(toy(), 7), options, teacher=dense, folder=tmp_path)
    before = torch.get_rng_state()
    found = finetune(fresh, toy(), options, teacher=dense, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.resumed == 12 and found.evaluations == expected.evaluations
    assert same(fresh, whole)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12, 15, 18, 20]
    assert lines[-1] == {"step": 20, "steps": 20, "loss": expected.evaluations[-1].loss, "metric": expected.metric}
    done = copy.deepcopy(stopped)
    assert finetune(done, toy(), options, teacher=dense, folder=tmp_path).resumed == 20 and same(done, whole)


def test_checkpoints_between_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr("hwlut.train.training._SECONDS", 0.0)
    whole, dense = looked_up()
    fresh = copy.deepcopy(whole)
    expected = finetune(whole, toy(), RESUMED, teacher=dense)
    with pytest.raises(Stop):
        finetune(copy.deepcopy(fresh), stopping(toy(), 8), RESUMED, teacher=dense, folder=tmp_path)
    found = finetune(fresh, toy(), RESUMED, teacher=dense, folder=tmp_path)
    assert found.resumed == 8 and found.evaluations == expected.evaluations and same(fresh, whole)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert [line["step"] for line in lines if "metric" in line] == [3, 6, 9, 12, 15, 18, 20]


def test_log_lines_after_the_checkpoint_are_dropped(tmp_path):
    student, dense = looked_up()
    with pytest.raises(Stop):
        finetune(student, stopping(toy(), 4), RESUMED, teacher=dense, folder=tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 6, "steps": 20, "loss": 1.0}\n{"step": 7, "st')
    with pytest.raises(Stop):
        finetune(student, stopping(toy(), 0), RESUMED, teacher=dense, folder=tmp_path)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [3]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_change_nothing():
    students = [small(), small()]
    for student, workers in zip(students, (0, 2)):
        finetune(student, toy(), Finetune(steps=7, batch=12, workers=workers))
    assert same(*students)


def test_items_draw_by_seed_epoch_and_place():
    data, other = Drawn(Noisy(5, 0), 1), Drawn(Noisy(5, 0), 2)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = data[0, 3][0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(data[0, 3][0], first)
    assert not any(torch.equal(each[0], first) for each in (data[1, 3], data[0, 2], other[0, 3]))


def checkpoint(tmp_path):
    student, dense = looked_up()
    with pytest.raises(Stop):
        finetune(student, stopping(toy(), 4), RESUMED, teacher=dense, folder=tmp_path)
    return tmp_path / "checkpoint.safetensors"


def test_checkpoints_of_others_are_refused(tmp_path):
    file = checkpoint(tmp_path)
    content = file.read_bytes()
    student, dense = looked_up()

    def refused(student, options, message):
        with pytest.raises(ValueError, match=f"^{file}: checkpoint must be {message}$") as caught:
            finetune(student, toy(), options, teacher=dense, folder=tmp_path)
        assert "\n" not in str(caught.value)
        assert file.read_bytes() == content

    for change, message in (
        ({"learning_rate": 1.0}, "of learning_rate 1.0, not 0.005"),
        ({"epochs": 5}, "of epochs 5, not 4"),
        ({"seed": 8}, "of seed 8, not 7"),
    ):
        refused(student, Finetune(**{**vars(RESUMED), **change}), message)
    other = small()
    replace(other, Lookup(k=8, v=8), [points(60, 1)[0]])
    refused(other, RESUMED, "of this model, not of another")


def test_damaged_checkpoints_are_refused(tmp_path):
    file = checkpoint(tmp_path)
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[-9] ^= 1
    student, dense = looked_up()
    for damaged, message in (
        (bytes(flipped), "must be as it was written; its digest is of another content"),
        (content[: len(content) // 2], "must be a whole .safetensors file: "),
        (b"", "must be a whole .safetensors file: "),
    ):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"^{file}: checkpoint {message}"):
            finetune(student, toy(), RESUMED, teacher=dense, folder=tmp_path)
        assert file.read_bytes() == damaged
    save_state(file, student)
    with pytest.raises(ValueError, match=f"^{file}: checkpoint must have the schema hwlut.training/1, not None$"):
        finetune(student, toy(), RESUMED, teacher=dense, folder=tmp_path)


def test_losses_that_are_not_finite_stop_training(tmp_path):
    file = checkpoint(tmp_path)
    content = file.read_bytes()
    student, dense = looked_up()
    broken = toy(loss=lambda output, target: output.sum() * torch.nan)
    with pytest.raises(ValueError, match="^training loss must be finite, not nan up to step 6: lower the learning"):
        finetune(student, broken, RESUMED, teacher=dense, folder=tmp_path)
    assert file.read_bytes() == content


def test_states(tmp_path):
    model, other = small(), small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    file = tmp_path / "state.safetensors"
    save_state(file, other)
    load_state(file, model)
    assert same(model, other)
    wider = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    taken = warm_start(wider, file)
    assert taken == ("0.bias", "0.weight") and torch.equal(wider[0].weight, other[0].weight)
    before = copy.deepcopy(wider)
    with pytest.raises(ValueError, match=f"^{file}: state must be that of this model; it has beside it .*6.weight"):
        load_state(file, wider)
    with pytest.raises(ValueError, match=f"^{file}: state must be that of this model; it misses .*7.weight"):
        load_state(file, nn.Sequential(*small(), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=f"^{file}: state must have a tensor of this model, by name and shape; it has"):
        warm_start(nn.Conv2d(1, 1, 1), file)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'none'}: no such file$"):
        warm_start(wider, tmp_path / "none")
    narrow = nn.Sequential(nn.Linear(8, 4), *small()[1:])
    with pytest.raises(ValueError, match=f"^{file}: state must fit the model: size mismatch for 0.bias"):
        load_state(file, narrow)
    nan = small()
    nan[0].weight.data[0] = torch.nan
    save_state(file, nan)
    with pytest.raises(ValueError, match=rf"^{file}: state must be finite, but not \['0.weight'\]$"):
        load_state(file, model)
    assert same(model, other) and same(wider, before)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"epochs": 0}, ValueError, "Finetune epochs must be from 1 to 1000000, not 0"),
        ({"batch": 2.5}, TypeError, "Finetune batch must be an integer, not 2.5"),
        ({"epochs": 1, "steps": 1}, ValueError, "Finetune must be given epochs or steps, not both"),
        ({"ema": 1}, ValueError, "Finetune ema must be below 1, not 1: nothing would be learned"),
        ({"distill": 1.5}, ValueError, "Finetune distill must be from 0 to 1 and finite, not 1.5"),
        ({"learning_rate": math.inf}, ValueError, "Finetune learning_rate must be at least 0 and finite, not inf"),
        ({"learning_rate": "high"}, TypeError, "Finetune learning_rate must be a number, not 'high'"),
        ({"amp": "int8"}, ValueError, "Finetune amp must be None or one of bfloat16, float16, not 'int8'"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        Finetune(**options)


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_amp_trains(amp, tmp_path):
    student, dense = looked_up()
    options = Finetune(steps=6, batch=20, distill=0.5, distill_layers=0.1, amp=amp)
    before, fresh = copy.deepcopy(student), copy.deepcopy(student)
    with pytest.raises(Stop):
        finetune(copy.deepcopy(fresh), stopping(toy(), 4), options, teacher=dense, folder=tmp_path)
    assert finetune(fresh, toy(), options, teacher=dense, folder=tmp_path).resumed == 3
    assert math.isfinite(finetune(student, toy(), options, teacher=dense).evaluations[-1].loss)
    assert same(student, fresh)
    assert not same(student, before) and student[0].weight.dtype == torch.float32


def test_bad_data_is_refused():
    with pytest.raises(ValueError, match="^Task train must have a batch of 100 samples, not 60$"):
        finetune(small(), toy(), Finetune())
    with pytest.raises(TypeError, match=r"^Task data must be of pairs \(input, target\), not of Tensor$"):
        finetune(small(), toy(train=points(60, 1)[0]), Finetune(batch=20))
    with pytest.raises(ValueError, match="^Task test must have at least one sample$"):
        toy(test=[])
    with pytest.raises(TypeError, match="^Task train must be a data set with a length and items, not generator$"):
        toy(train=(pair for pair in []))
    with pytest.raises(ValueError, match="^Task name must be an identifier, not 'a b'$"):
        toy(name="a b")


TASK_FILE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hwlut.train import Finetune, Task
from beside import HIDDEN

def model():
    return nn.Sequential(nn.Linear(8, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 16), nn.ReLU(), nn.Linear(16, 2))

def task():
    x = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return Task(name="product", model=model, train=TensorDataset(x[:80], y[:80]), test=TensorDataset(x[80:], y[80:]),
                dense=Finetune(epochs=3, batch=20, learning_rate=1e-2))
"""


@pytest.fixture
def task_file(tmp_path):
    (tmp_path / "beside.py").write_text("HIDDEN = 16\n")
    file = tmp_path / "product.py"
    file.write_text(TASK_FILE)
    yield file
    sys.modules.pop("beside", None)
    sys.path[:] = [folder for folder in sys.path if folder != str(tmp_path)]


def test_tasks_are_files(task_file):
    assert Task.load(task_file).name == "product"
    for content, message in (
        ("", r"a task file must define task\(\), which returns a hwlut.train.Task"),
        ("def task(): return 3", r"task\(\) must return a hwlut.train.Task, not int"),
        ("def task(): raise KeyError('data')", r"task\(\) raised KeyError: 'data'"),
        ("import missing_package", "cannot be run: ModuleNotFoundError: No module named 'missing_package'"),
        ("def task(:", "cannot be run: SyntaxError: .*"),
        ("raise SystemExit(3)", "cannot be run: SystemExit: 3"),
    ):
        task_file.write_text(content)
        with pytest.raises(ValueError, match=f"^{task_file}: {message}$"):
            Task.load(task_file)
    with pytest.raises(
        ValueError, match=r"^task must be a Python file or a shipped example \(lut_cnn_mnist, lut_deit, "
    ):
        Task.load("lut_nothing")


def test_shipped_tasks_build(need, monkeypatch):
    need("mlxtend")
    images = torch.rand(30, 1, 28, 28)
    split = images, torch.arange(30) % 10
    for name in ("lut_cnn_mnist", "lut_vit_mnist"):
        monkeypatch.setattr(f"examples.{name}.mnist", lambda: (split, split))
        task = Task.load(name)
        (image, label), test_image = task.train[7], task.test[7][0]
        assert (task.name, len(task.train), len(task.test)) == (name, 30, 30) and task.dense is not None
        assert task.logits(task.model()(image[None])).shape == (1, 10) and label == 7
        assert torch.equal(test_image, images[7])
        moves = [images[7].roll((down, across), (1, 2)) for down in range(-2, 3) for across in range(-2, 3)]
        seen = [task.train[7][0] for _ in range(30)]
        places = {next(i for i, moved in enumerate(moves) if torch.equal(each, moved)) for each in seen}
        assert len(places) > 5


def test_a_run_is_every_stage(task_file, tmp_path):
    task, folder = Task.load(task_file), tmp_path / "run"
    options = Finetune(epochs=2, batch=20, distill=0.5)
    told = []
    result = run(
        task, LOOKUP, options, folder, source=str(task_file), progress=lambda *step: told.append(step), samples=60
    )
    assert result.layers == ("2",) and dict(result.left) == {"0": "called first", "4": "called last"}
    assert [text.split(",")[0] for *_, text in told] == ["dense"] * 3 + ["converted"] + ["finetuned"] * 2
    shown = str(result).splitlines()
    assert shown[0].split() == ["dense", f"{100 * result.dense:.2f}"] and shown[2].startswith("finetuned")
    files = {path.name for path in folder.iterdir()}
    assert {"config.json", "dense.safetensors", "converted.safetensors", "student.safetensors", "log.jsonl"} <= files
    record, opened, student = open_run(folder)
    assert same(student, result.model) and evaluate(student, opened) == result.finetuned == record.metrics["finetuned"]
    dense = task.model()
    load_state(record.dense, dense)
    assert evaluate(dense, task) == result.dense
    by_hand = copy.deepcopy(dense)
    places = torch.randperm(80, generator=torch.Generator().manual_seed(0))[:60]
    replace(by_hand, LOOKUP, [torch.stack([task.train[place][0] for place in places])])
    converted = task.model()
    convert(converted, {"2": LOOKUP})
    load_state(record.converted, converted)
    assert same(by_hand, converted) and evaluate(by_hand, task) == result.converted
    finetune(by_hand, task, options, teacher=dense)
    assert same(by_hand, result.model)


STAGES = {"dense": 7, "converted": 12, "finetuned": 14}


@pytest.mark.parametrize("calls", STAGES.values(), ids=STAGES)
def test_a_stopped_run_goes_on(calls, task_file, tmp_path):
    task = Task.load(task_file)
    options = Finetune(epochs=2, batch=20, distill=0.5, evaluate_every=3)
    whole = run(task, LOOKUP, options, tmp_path / "whole")
    with pytest.raises(Stop):
        run(stopping(task, calls), LOOKUP, options, tmp_path / "stopped")
    resumed = run(task, LOOKUP, options, tmp_path / "stopped")
    assert same(whole.model, resumed.model) and resumed.evaluations == whole.evaluations
    assert (resumed.dense, resumed.converted, resumed.finetuned) == (whole.dense, whole.converted, whole.finetuned)
    again = run(task, LOOKUP, options, tmp_path / "stopped")
    assert same(again.model, whole.model) and again.finetuned == whole.finetuned
    config = tmp_path / "stopped" / "config.json"
    before = config.read_bytes()
    with pytest.raises(ValueError, match=rf"^{config}: run must be of order 'in_turn', not 'together'$"):
        run(task, LOOKUP, options, tmp_path / "stopped", order="in_turn")
    with pytest.raises(ValueError, match=rf"^{config}: run must be of lookups .*'k': 4.*, not .*'k': 8"):
        run(task, Lookup(k=4, v=4), options, tmp_path / "stopped")
    assert config.read_bytes() == before
    config.write_text("{")
    with pytest.raises(ValueError, match=f"^{config}: run must be a JSON object: "):
        run(task, LOOKUP, options, tmp_path / "stopped")


def test_runs_start_from_states(task_file, tmp_path):
    task, options = Task.load(task_file), Finetune(epochs=1, batch=20)
    first = run(task, LOOKUP, options, tmp_path / "first")
    student = tmp_path / "first" / "student.safetensors"
    warm = run(task, LOOKUP, options, tmp_path / "warm", dense=tmp_path / "first" / "dense.safetensors", warm=student)
    assert warm.dense == first.dense and set(warm.taken) == set(first.model.state_dict())
    again = run(task, LOOKUP, options, tmp_path / "again", dense=tmp_path / "first" / "dense.safetensors")
    assert same(again.model, first.model) and not same(warm.model, first.model)
    with pytest.raises(ValueError, match=rf"^{student}: state must be that of this model; it misses \['2.weight'\]$"):
        run(task, LOOKUP, options, tmp_path / "wrong", dense=student)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'first'}: run must have a task file to be opened; it was"):
        open_run(tmp_path / "first")
    with pytest.raises(ValueError, match=f"^{tmp_path / 'none' / 'config.json'}: no such file$"):
        open_run(tmp_path / "none")


def test_lookups_are_json():
    learned = Quantizer(Fixed(8), steps="real", symmetric=False, source="learned", method="percentile", percentile=99)
    for lookup in (LOOKUP, Lookup(encoder="tree", table_bits=4), Lookup(activations=learned, tied=True)):
        content = json.loads(json.dumps(to_json(lookup)))
        again = from_json(content)
        assert to_json(again) == to_json(lookup)
        assert repr(again.activation_quantizer()) == repr(lookup.activation_quantizer())
    with pytest.raises(ValueError, match="^Lookup must be as it was written: .*'colour'"):
        from_json({"colour": 1})


TOGETHER = """
import os
from pathlib import Path
import torch
from hwlut.lutnn import run
from hwlut.train import Finetune, Task, save_state
from hwlut.nn import Lookup
torch.set_num_threads(1)
folder = Path({folder!r})
result = run(
    Task.load({file!r}), Lookup(k=8, v=4), Finetune(epochs=2, batch=20, distill=0.5), folder / "run", device="cpu"
)
save_state(folder / f"rank{{os.environ['RANK']}}.safetensors", result.model)
"""


def test_processes_train_together(task_file, tmp_path):
    script = tmp_path / "together.py"
    script.write_text(TOGETHER.format(folder=str(tmp_path), file=str(task_file)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    task = Task.load(task_file)
    alone = run(task, LOOKUP, Finetune(epochs=2, batch=20, distill=0.5), tmp_path / "alone")
    convert(student := task.model(), {"2": LOOKUP})
    first, second = copy.deepcopy(student), copy.deepcopy(student)
    load_state(tmp_path / "rank0.safetensors", first)
    load_state(tmp_path / "rank1.safetensors", second)
    assert same(first, second)
    for (name, ours), theirs in zip(first.state_dict().items(), alone.model.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [4, 8]


@pytest.fixture
def images(tmp_path):
    """Images of two classes that are bright on the left or on the right."""
    image = pytest.importorskip("PIL.Image", reason="needs PIL")
    for part, count in (("train", 24), ("test", 4)):
        for number, name in enumerate(("left", "right")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for each in range(count):
                pixels = torch.zeros(20, 30, 3, dtype=torch.uint8)
                pixels[:, 15 * number : 15 * number + 15] = 100 + each
                image.fromarray(pixels.numpy()).save(folder / f"{each:02}.png")
    return tmp_path / "images"


def test_images_in_folders(images):
    data = ImageFolder(images / "train", 14, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125))
    assert data.classes == ["left", "right"] and len(data) == 48 and data.files[24][0].name == "00.png"
    pixels, label = data[3]
    assert pixels.shape == (3, 14, 14) and pixels.dtype == torch.float32 and label == 0
    # 20 x 30 becomes 16 x 24, whose middle 14 columns are half bright, by hand 103 / 255 in the corner.
    expected = torch.tensor([(103 / 255 - 0.5) / std for std in (0.5, 0.25, 0.125)])
    torch.testing.assert_close(pixels[:, 0, 0], expected)
    torch.testing.assert_close(pixels[:, -1, -1], torch.tensor([-1.0, -2.0, -4.0]))
    moved = ImageFolder(images / "train", 14, moved=True)
    torch.manual_seed(0)
    seen = [moved[3][0] for _ in range(20)]
    assert len({each.sum().item() for each in seen}) > 3
    bright = {bool(each[0, 0, 0] > each[0, 0, -1]) for each in seen}
    assert bright == {True, False}  # mirrored and not


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_bad_image_folders_are_refused(images):
    broken = images / "train" / "left" / "03.png"
    broken.write_bytes(broken.read_bytes()[:60])
    data = ImageFolder(images / "train", 14)
    with pytest.raises(ValueError, match=f"^{broken}: image cannot be read: "):
        data[3]
    task = toy(model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(588, 2)), train=data, test=data)
    with pytest.raises(ValueError, match=f"^{broken}: image cannot be read: .*$") as told:
        finetune(task.model(), task, Finetune(steps=4, batch=12, workers=1))
    assert "\n" not in str(told.value)
    (images / "test" / "middle").mkdir()
    with pytest.raises(ValueError, match=f"^{images / 'test' / 'middle'}: class must have an image"):
        ImageFolder(images / "test", 14)
    with pytest.raises(ValueError, match=f"^{images / 'test' / 'middle'}: class must be one of the 2 of training$"):
        ImageFolder(images / "test", 14, classes=data.classes)
    with pytest.raises(ValueError, match=f"^{images / 'none'}: ImageFolder must be a folder of folders"):
        ImageFolder(images / "none", 14)
    with pytest.raises(ValueError, match="ImageFolder must hold a folder for each class; it holds none$"):
        ImageFolder(images / "train" / "left", 14)


def offline(*arguments):
    raise AssertionError("no connection must be tried")


def test_deit_by_the_recipe(images, tmp_path, monkeypatch, need):
    need("transformers")
    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    from transformers import DeiTConfig, DeiTForImageClassification

    from examples.lut_deit import LOOKUP, OPTIONS, names

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    config = DeiTConfig(**sizes, image_size=16, patch_size=8, num_labels=2)
    folder = tmp_path / "deit"
    config.save_pretrained(folder)
    with pytest.raises(ValueError, match="HWLUT_DEIT_MODEL must name a folder, not 'None'$"):
        Task.load("lut_deit")
    monkeypatch.setenv("HWLUT_DEIT_MODEL", str(folder))
    monkeypatch.setenv("HWLUT_DEIT_IMAGES", str(images))
    task = Task.load("lut_deit")
    assert task.dense is not None
    two = dataclasses.replace(OPTIONS, epochs=None, steps=2, batch=12)
    task = dataclasses.replace(task, dense=Finetune(steps=2, batch=12))
    chosen = {"include": names(task.model()), "keep_ends": False, "last_blocks": 2}
    result = run(task, LOOKUP, two, tmp_path / "run", samples=24, **chosen)
    blocks = {name.rpartition(".attention" if "attention" in name else ".mlp")[0][-1] for name in result.layers}
    assert blocks == {"1", "2"} and len(result.layers) in (4, 8)  # queries, keys and values are one layer or three
    for name in result.layers:
        layer = result.model.get_submodule(name)
        assert (layer.v, layer.lookup.k, layer.outputs) == (32, 16, 64 if "attention" not in name else layer.outputs)
    DeiTForImageClassification(config).save_pretrained(folder)
    trained = Task.load("lut_deit")
    assert trained.dense is None and same(trained.model(), trained.model())
    pixels, _ = trained.test[0]
    assert trained.logits(trained.model()(pixels[None])).shape == (1, 2)
