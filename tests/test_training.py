"""Training beside a plain loop: parts of a batch, optimizers, what is logged and kept, controls, learned steps."""

import copy
import json
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from hwlut import Fixed
from hwlut.nn.quantized import quantize
from hwlut.quant import Quantizer, calibrate
from hwlut.quant.precision import Precision
from hwlut.train import Control, Finetune, Task, finetune
from hwlut.train.optimizers import optimizer_of


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def points(count, seed):
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > x[:, 1]).long()


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def task(**changes):
    fields = {
        "name": "points",
        "model": plain,
        "train": TensorDataset(*points(48, 0)),
        "test": TensorDataset(*points(20, 1)),
    }
    return Task(**fields | changes)


def options(steps=6, **changes):
    return Finetune(**{"steps": steps, "batch": 12, "ema": 0.0, "clip": None, "warmup": 0.0} | changes)


def trained(control=None, folder=None, model=None, on=None, **changes):
    model = model or plain()
    finetune(model, on or task(), options(**changes), control=control, folder=folder, device="cpu")
    return model


def parameters(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


class Batches(Control):
    """Keeps the gradients that the optimizer is about to take, and every loss."""

    def __init__(self):
        self.losses, self.gradients = [], []

    def loss(self, loss):
        self.losses.append(float(loss.detach()))
        return loss


# ---------------------------------------------------------------- parts of a batch


@pytest.mark.parametrize("count", [2, 3, 12])
def test_parts_of_a_batch_are_as_good_as_the_whole(count):
    whole, parts = Batches(), Batches()
    one = trained(whole, optimizer="sgd", learning_rate=0.1)
    other = trained(parts, optimizer="sgd", learning_rate=0.1, accumulate=count)
    for ours, theirs in zip(parameters(one), parameters(other)):
        torch.testing.assert_close(ours, theirs)
    assert len(whole.losses) == 6 and len(parts.losses) == 6 * count
    for place, loss in enumerate(whole.losses):
        assert sum(parts.losses[count * place : count * (place + 1)]) / count == pytest.approx(loss, rel=1e-5)
    assert not torch.equal(parameters(one)[0], parameters(plain())[0])


def test_parts_of_tuples_and_dicts():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)
            self.sizes = []

        def forward(self, x, more):
            if self.training:
                self.sizes.append((len(x), len(more)))
            return self.layer(x + more)

    def samples(kind):
        for place, (x, y) in enumerate(zip(*points(48, 0))):
            more = torch.full((5,), place / 48)
            yield ((x, more) if kind is tuple else {"more": more, "x": x}), y

    found = []
    for kind in (tuple, dict):
        for count in (1, 3):
            torch.manual_seed(0)
            model, data = Both(), list(samples(kind))
            trained(model=model, on=task(train=data, test=data), optimizer="sgd", learning_rate=0.1, accumulate=count)
            assert set(model.sizes) == {(12 // count,) * 2}
            found.append(parameters(model))
    for each in found[1:]:
        for ours, theirs in zip(found[0], each):
            torch.testing.assert_close(ours, theirs)


def test_a_batch_must_have_equal_parts():
    with pytest.raises(ValueError, match="^Finetune batch must be a multiple of accumulate, 5, not 12$"):
        options(accumulate=5)
    with pytest.raises(TypeError, match="^Finetune accumulate must be an integer, not 2.0$"):
        options(accumulate=2.0)


# ---------------------------------------------------------------- optimizers


def by_hand(kind, steps, rate, decay):
    """The weights after so many steps of one batch, the whole data, at a rate that falls along a cosine."""
    model, (x, y) = plain(), points(48, 0)
    memory = [[torch.zeros_like(each), torch.zeros_like(each)] for each in model.parameters()]
    for step in range(steps):
        now = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient, kept in zip(model.parameters(), gradients, memory):
                own = decay if parameter.dim() >= 2 else 0.0
                if kind == "adamw":
                    parameter.mul_(1 - now * own)
                else:
                    gradient = gradient + own * parameter
                if kind == "sgd":
                    kept[0] = gradient if step == 0 else 0.9 * kept[0] + gradient
                    parameter -= now * kept[0]
                    continue
                kept[0] = 0.9 * kept[0] + 0.1 * gradient
                kept[1] = 0.999 * kept[1] + 0.001 * gradient**2
                mean, square = kept[0] / (1 - 0.9 ** (step + 1)), kept[1] / (1 - 0.999 ** (step + 1))
                parameter -= now * mean / (square.sqrt() + 1e-8)
    return model


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_optimizers_are_those_of_their_names(kind):
    changes = {"optimizer": kind, "learning_rate": 0.05, "weight_decay": 0.1, "batch": 48}
    for ours, theirs in zip(parameters(trained(**changes)), parameters(by_hand(kind, 6, 0.05, 0.1))):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="^Finetune optimizer must be one of adamw, adam, sgd, not 'lion'$"):
        options(optimizer="lion")


def quantized(**activations):
    model = plain()
    chosen = [Precision.parse("s4")]
    quantize(model, {"0": chosen, "2": chosen})
    calibrate(model, [points(48, 0)[0]])
    return model


def steps_of(model):
    return {
        name: module.step for name, module in model.named_modules() if isinstance(module, Quantizer) and module.learned
    }


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_steps_are_learned_by_their_logarithms(kind):
    model = quantized()
    before = {name: step.detach().clone() for name, step in steps_of(model).items()}
    assert len(before) == 4 and {each.dim() for each in before.values()} == {0, 1}
    optimizer = optimizer_of(model, options(optimizer=kind, step_rate=0.01, weight_decay=0.5))
    logs = {name: nn.Parameter(step.double().log()) for name, step in before.items()}
    hand = torch.optim.Adam(logs.values(), lr=0.01) if kind == "adamw" else torch.optim.SGD(logs.values(), 0.01, 0.9)
    drawn = torch.Generator().manual_seed(0)
    for _ in range(5):
        for name, step in steps_of(model).items():
            step.grad = torch.randn(step.shape, generator=drawn) / step.detach()
            logs[name].grad = step.grad.double() * logs[name].detach().exp()  # d/d log s = s d/ds
        optimizer.step()
        hand.step()
        for name, step in steps_of(model).items():
            torch.testing.assert_close(step.detach().double(), logs[name].detach().exp(), rtol=1e-5, atol=0.0)
    assert all(not torch.equal(step, before[name]) for name, step in steps_of(model).items())
    assert {group["weight_decay"] for group in optimizer.param_groups if group["lr"] == 0.01} == {0.0}


@pytest.mark.parametrize("slope", [1e3, -1e3])
def test_steps_stay_positive_and_those_without_a_gradient_stay(slope):
    model = quantized()
    steps = steps_of(model)
    first, *others = steps.values()
    optimizer = optimizer_of(model, options(optimizer="sgd", step_rate=1.0))
    kept = [step.detach().clone() for step in others]
    for _ in range(30):
        first.grad = (slope / first.detach()).clamp(-1e30, 1e30)
        optimizer.step()
        assert (first > 0).all() and first.isfinite().all()
    assert (first < 1e-30).all() if slope > 0 else (first > 1e30).all()
    assert all(map(torch.equal, others, kept))


def test_a_trained_model_has_positive_steps_and_learns_by_them():
    model = quantized()
    before = {name: step.detach().clone() for name, step in steps_of(model).items()}
    trained(model=model, steps=20, step_rate=0.05, learning_rate=0.01)
    for name, step in steps_of(model).items():
        assert (step > 0).all() and not torch.equal(step, before[name])
    still = quantized()
    trained(model=still, steps=3, step_rate=0.0)
    for name, step in steps_of(still).items():
        torch.testing.assert_close(step.detach(), before[name], rtol=1e-5, atol=0.0)
    powers = nn.Sequential(Quantizer(Fixed(4), source="learned"), nn.Linear(5, 2))
    calibrate(powers, [points(48, 0)[0]])
    exponent = powers[0].exponent.detach().clone()
    trained(model=powers, steps=3, step_rate=0.1)  # exponents are logarithms already
    moved = powers[0].exponent.detach() - exponent
    assert moved and moved.abs() < 1


# ---------------------------------------------------------------- what is logged and kept


@pytest.mark.parametrize(
    "changes, logged, evaluated",
    [
        ({}, [4, 8, 10], [4, 8, 10]),  # an epoch is four steps
        ({"log_every": 3}, [3, 6, 9, 10], [4, 8, 10]),
        ({"log_every": 1, "evaluate_every": 5}, list(range(1, 11)), [5, 10]),
        ({"log_every": 100}, [10], [4, 8, 10]),
    ],
)
def test_lines_of_the_log(changes, logged, evaluated, tmp_path):
    losses = Batches()
    model = plain()
    done = finetune(model, task(), options(10, **changes), control=losses, folder=tmp_path, device="cpu")
    assert [entry.step for entry in done.evaluations] == evaluated
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == logged
    metrics = {entry.step: entry.metric for entry in done.evaluations}
    for line in lines:
        assert line.get("metric") == metrics.get(line["step"])
        start = max([step for step in evaluated if step < line["step"]], default=0)
        mean = sum(losses.losses[start : line["step"]]) / (line["step"] - start)
        assert line["loss"] == pytest.approx(mean, rel=1e-5)  # since the last evaluation


class Stop(Exception):
    pass


def stop_at(at):
    def progress(done, steps, text):
        if done == at:
            raise Stop

    return progress


@pytest.mark.parametrize("every, kept", [(None, 4), (1, 7), (3, 6), (0, None), (100, None)])
def test_checkpoints_are_written_when_they_are_due(every, kept, tmp_path):
    model, path = plain(), tmp_path / "checkpoint.safetensors"
    changes = {"save_every": every, "log_every": 1, "optimizer": "adam"}
    with pytest.raises(Stop):
        finetune(model, task(), options(10, **changes), folder=tmp_path, device="cpu", progress=stop_at(7))
    assert path.exists() == (kept is not None)
    again = plain()
    done = finetune(again, task(), options(10, **changes), folder=tmp_path, device="cpu")
    assert done.resumed == (kept or 0)
    assert all(map(torch.equal, parameters(again), parameters(trained(steps=10, optimizer="adam"))))
    lines = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 11))
    assert path.exists() == (every != 0)  # else there is one at the end


def test_how_often_decides_no_result(tmp_path):
    def stopped(at, **changes):
        with pytest.raises(Stop):
            finetune(plain(), task(), options(10, **changes), folder=tmp_path, device="cpu", progress=stop_at(at))

    stopped(4, save_every=2)
    model = plain()
    done = finetune(model, task(), options(10, save_every=5, log_every=2), folder=tmp_path, device="cpu")
    assert done.resumed == 4
    assert all(map(torch.equal, parameters(model), parameters(trained(steps=10))))
    for name, low in (("log_every", 1), ("save_every", 0), ("accumulate", 1)):
        with pytest.raises(ValueError, match=f"^Finetune {name} must be from {low} to "):
            options(**{name: low - 1})
    assert "log_every" not in options().settings and "accumulate" in options().settings


# ---------------------------------------------------------------- controls


class Told(Control):
    """Writes down what it is asked, and counts steps in its state."""

    def __init__(self):
        self.calls, self.count = [], torch.zeros((), dtype=torch.int64)

    def start(self, steps, group):
        self.calls.append(("start", steps, group.size))

    def before(self, step):
        self.calls.append(("before", step))

    def loss(self, loss):
        self.calls.append("loss")
        return 2 * loss

    def after(self, step):
        self.count += 1
        self.calls.append(("after", step))

    def measured(self, model):
        self.calls.append(("measured", model.training))

    def told(self):
        return {"count": int(self.count)}

    def state(self):
        return {"count": self.count}

    def resume(self, state):
        if set(state) != {"count"}:
            raise ValueError("it has no count")
        self.calls.append("resume")
        self.count = state["count"].clone()


def test_a_control_takes_part_in_order(tmp_path):
    control = Told()
    trained(control, tmp_path, steps=3, evaluate_every=2, accumulate=2, log_every=1)
    step = [("before", 0), "loss", "loss", ("after", 0)]
    wanted = [("start", 3, 1), *step, ("before", 1), "loss", "loss", ("after", 1), ("measured", True)]
    wanted += [("before", 2), "loss", "loss", ("after", 2), ("measured", True)]
    assert [call if call[0] != "measured" else ("measured", True) for call in control.calls] == wanted
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["count"] for line in lines] == [1, 2, 3]


def test_a_control_changes_the_loss():
    doubled = trained(Told(), optimizer="sgd", learning_rate=0.05, weight_decay=0.0)
    faster = trained(optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
    for ours, theirs in zip(parameters(doubled), parameters(faster)):
        torch.testing.assert_close(ours, theirs)


def test_what_is_measured_is_the_average():
    class Average(Control):
        def measured(self, model):
            self.model = model

    control, model = Average(), plain()
    finetune(model, task(), options(ema=0.9), control=control, device="cpu")
    assert control.model is not model
    assert all(map(torch.equal, parameters(model), parameters(control.model)))


def test_a_control_goes_on_from_its_state(tmp_path):
    with pytest.raises(Stop):
        finetune(
            plain(), task(), options(10, save_every=3), control=Told(), folder=tmp_path, device="cpu",
            progress=stop_at(6),
        )  # fmt: skip
    path = re.escape(str(tmp_path / "checkpoint.safetensors"))
    with pytest.raises(ValueError, match=f"^{path}: checkpoint must be of this search: it holds the state of a search"):
        trained(folder=tmp_path, steps=10)
    control = Told()
    trained(control, tmp_path, steps=10)
    assert control.calls[:3] == ["resume", ("start", 10, 1), ("before", 6)]
    assert int(control.count) == 10
    trained(folder=tmp_path / "plain", steps=10)
    with pytest.raises(ValueError, match="checkpoint must be of this search: it has no count$"):
        trained(Told(), tmp_path / "plain", steps=10)


def test_a_copy_of_a_quantized_model_is_trained_alike():
    one = quantized()
    other = copy.deepcopy(one)
    for ours, theirs in zip(parameters(trained(model=one)), parameters(trained(model=other))):
        assert torch.equal(ours, theirs)


class Anew(Control):
    """Lets the average of the weights start anew before step 3, and keeps the weights from there on."""

    def __init__(self, model):
        self.model, self.kept = model, []

    def before(self, step):
        if step == 3:
            self.kept = [[each.detach().clone() for each in self.model.parameters()]]
        return step == 3

    def after(self, step):
        if step >= 3:
            self.kept.append([each.detach().clone() for each in self.model.parameters()])


def test_a_control_lets_the_average_start_anew():
    model = plain()
    control = Anew(model)
    trained(control, model=model, steps=5, ema=0.9)
    wanted = control.kept[0]
    for step, weights in zip((4, 5), control.kept[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = [torch.lerp(average, weight, 1 - decay) for average, weight in zip(wanted, weights)]
    assert all(map(torch.allclose, parameters(model), wanted))
    assert not all(map(torch.allclose, parameters(trained(steps=5, ema=0.9)), wanted))
