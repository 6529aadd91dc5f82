"""Compression as a whole: what was asked for is what comes out, in files that open again; refusals in one line."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwlut import Fixed
from hwlut.nn.quantized import integers, quantized_operations
from hwlut.prune import Compression, Joint, Sequential, compress, open_compressed, size_of
from hwlut.search import Search, memory
from hwlut.train import Finetune, Task, evaluate, load_state, save_state

TRAINING = Finetune(steps=50, batch=20, ema=0.0, learning_rate=3e-3)
UNIFORM = Search(formats=[Fixed(2), Fixed(4)], method="uniform", target_bits=4, warmup=0.1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.last = nn.Conv2d(8, 6, 3, padding=1), nn.Linear(6 * 16, 2)

    def forward(self, x):
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.last(x.flatten(1))


def task():
    torch.manual_seed(0)
    x = torch.randn(160, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = (x.sum((1, 2, 3)) > 0).long()
    return Task(name="sums", model=Net, train=TensorDataset(x[:120], y[:120]), test=TensorDataset(x[120:], y[120:]))


def joint(**options):
    return Joint(sparsity=0.5, weight_bits=(2, 4), activation_bits=(3, 5), calibration=40, **options)


def test_what_was_asked_for_comes_out(tmp_path):
    found = compress(task(), joint(), TRAINING, tmp_path / "run", device="cpu")
    compression, model = found.compression, found.model
    assert dict(compression.couplings) == {"first": 8, "second": 6} and compression.sparsity == 0.5
    gone = {name: len(places) for name, places in compression.removed.items()}
    assert sum(gone.values()) == 7
    first, second = 8 - gone.get("first", 0), 6 - gone.get("second", 0)
    assert tuple(model.first.weight.shape) == (first, 1, 3, 3) and model.norm.num_features == first
    assert tuple(model.second.weight.shape) == (second, first, 3, 3)
    assert model.last.in_features == 16 * second
    macs = {"first": 16 * first * 9, "second": 16 * second * first * 9, "last": 32 * second}
    assert {name: each.shape.macs for name, each in compression.operations.items()} == macs
    for each in compression.operations.values():
        assert 2 <= each.precision.weight_bits <= 4 and 3 <= each.precision.activation_bits <= 5
    bits = {name: each.precision for name, each in compression.operations.items()}
    spent = sum(macs[name] * bits[name].weight_bits * bits[name].activation_bits for name in macs)
    assert compression.after.bit_operations == compression.cost == spent
    dense = 16 * 8 * 9 + 16 * 6 * 8 * 9 + 32 * 6
    assert (compression.before.macs, compression.before.bit_operations) == (dense, 1024 * dense)
    assert compression.relative == spent / (1024 * dense)
    assert compression.difference < 1e-10 and compression.mismatches < 0.01
    assert set(integers(model)) == set(macs)


def test_a_compression_opens_again(tmp_path):
    found = compress(task(), joint(), TRAINING, tmp_path / "run", device="cpu").compression
    again, _, model = open_compressed(tmp_path / "run", task())
    assert again == Compression.load(tmp_path / "run" / "compression.json") == found
    assert evaluate(model, task(), device="cpu") == found.metric
    assert size_of(model, torch.zeros(1, 1, 4, 4)) == found.after
    with pytest.raises(ValueError, match="compression must be opened with its task; it was started from Python"):
        open_compressed(tmp_path / "run")


def test_a_stopped_compression_goes_on_to_the_same_result(tmp_path):
    whole = compress(task(), joint(), TRAINING, tmp_path / "whole", device="cpu")
    for stop in (5, 13, 33):  # in the projection, the joint stage, the cool-down
        place = tmp_path / str(stop)
        often = replace(TRAINING, save_every=stop)

        def stopping(done, steps, text, stop=stop):
            if done >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compress(task(), joint(), replace(often, log_every=1), place, device="cpu", progress=stopping)
        resumed = compress(task(), joint(), often, place, device="cpu")
        assert resumed.compression == whole.compression
        state = whole.model.state_dict()
        assert all(torch.equal(each, state[name]) for name, each in resumed.model.state_dict().items())
    with pytest.raises(ValueError, match="run must be of sparsity"):
        compress(task(), replace(joint(), sparsity=0.25), TRAINING, tmp_path / "whole", device="cpu")


def test_pruning_alone_and_quantization_alone(tmp_path):
    pruned = compress(task(), Joint(weight_bits=None), TRAINING, tmp_path / "pruned", device="cpu")
    assert not pruned.compression.operations and pruned.compression.sparsity == 0.5
    assert not quantized_operations(pruned.model)
    assert pruned.compression.after.bit_operations == 1024 * pruned.compression.after.macs
    quantized = compress(task(), Joint(sparsity=0.0), TRAINING, tmp_path / "quantized", device="cpu").compression
    assert not quantized.removed and quantized.before.parameters == quantized.after.parameters
    assert {each.precision.activation for each in quantized.operations.values()} == {None}
    for place in ("pruned", "quantized"):
        again, _, model = open_compressed(tmp_path / place, task())
        assert evaluate(model, task(), device="cpu") == again.metric


def test_pruning_at_once_and_then_a_search(tmp_path):
    options = Sequential(sparsity=0.5, search=UNIFORM)
    found = compress(task(), options, TRAINING, tmp_path / "run", device="cpu")
    assert found.compression.sparsity == 0.5 and found.compression.difference < 1e-10
    assert {str(each.precision) for each in found.compression.operations.values()} == {"s4"}
    torch.manual_seed(TRAINING.seed)
    norms = Net()
    load_state(tmp_path / "run" / "pruned.safetensors", found_shape := _shaped(norms, found.compression.removed))
    assert found_shape.first.weight.shape == found.model.first.weight.shape
    again, _, model = open_compressed(tmp_path / "run", task())
    assert evaluate(model, task(), device="cpu") == again.metric == found.compression.metric


def _shaped(net, removed):
    """A net without these channels, by hand."""
    first = [place for place in range(8) if place not in removed.get("first", ())]
    second = [place for place in range(6) if place not in removed.get("second", ())]
    net.first, net.norm = nn.Conv2d(1, len(first), 3, padding=1), nn.BatchNorm2d(len(first))
    net.second, net.last = nn.Conv2d(len(first), len(second), 3, padding=1), nn.Linear(16 * len(second), 2)
    return net


def test_the_smallest_go_at_once(tmp_path):
    weights = tmp_path / "dense.safetensors"
    torch.manual_seed(1)
    net = Net()
    with torch.no_grad():
        for place in (1, 4, 6):
            for tensor in (net.first.weight, net.first.bias, net.norm.weight, net.norm.bias):
                tensor[place] = 1e-6
            net.second.weight[:, place] = 1e-6
    save_state(weights, net)
    options = Sequential(sparsity=3, search=UNIFORM)
    found = compress(task(), options, TRAINING, tmp_path / "run", weights=weights, device="cpu").compression
    assert dict(found.removed) == {"first": [1, 4, 6]}


def test_any_cost_is_told(tmp_path):
    found = compress(task(), joint(), TRAINING, tmp_path / "run", cost=memory, device="cpu").compression
    wanted = sum(each.shape.weights * each.precision.weight_bits for each in found.operations.values())
    assert found.cost == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Joint(sparsity=14), "Joint sparsity must be of at most 12 of the 14 groups, one of each coupling"),
        (Joint(sparsity=0.5, keep=["third"]), "'third' must match"),
        (Joint(sparsity=0.5, exclude=["third"]), "exclude 'third' must match an operation"),
        (Joint(sparsity=0.5, keep=["*"]), "must have channels that can be removed"),
        (Joint(sparsity=0.5, warm_up=30, joint=30), "must leave a step of cool-down"),
        (Sequential(sparsity=4, search=replace(UNIFORM, target_bits=1)), "search target must be at least"),
        (Sequential(sparsity=13, search=UNIFORM), "Sequential sparsity must be of at most 12 of the 14 groups"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compress(task(), options, TRAINING, tmp_path / "run", device="cpu")
    assert not list((tmp_path / "run").glob("*.json"))  # and what is asked for next is another run


def test_kinds_are_checked(tmp_path):
    with pytest.raises(TypeError, match="compress options must be Joint or Sequential, not Finetune"):
        compress(task(), TRAINING, TRAINING, tmp_path)
    with pytest.raises(TypeError, match="compress task must be a Task, not int"):
        compress(1, joint(), TRAINING, tmp_path)
    with pytest.raises(TypeError, match="Sequential search must be a Search, not int"):
        Sequential(search=1)
    with pytest.raises(TypeError, match="Joint keep must be a list of patterns, not 'first'"):
        Joint(keep="first")


def test_a_broken_file_is_told(tmp_path):
    compress(task(), joint(), TRAINING, tmp_path / "run", device="cpu")
    path = tmp_path / "run" / "compression.json"
    content = json.loads(path.read_text())
    for change, message in (
        ({"schema": "hwlut.compression/2"}, "compression must be an object of schema, which is hwlut.compression/1"),
        ({"after": {"macs": 1}}, "after must be an object of parameters, macs, bit_operations, memory, not of "),
        ({"operations": {"first": {}}}, "operations 'first' must be an object of precision, macs, "),
        ({"request": {}}, "request task must be a string, not None"),
        ({"metric": "high"}, "metric must be a number, not 'high'"),
        ({"removed": {"first": "0"}}, "removed 'first' must be a list, not '0'"),
        ({"couplings": {}}, "removed must be of its couplings, not of .'first'."),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=message):
            Compression.load(path)
