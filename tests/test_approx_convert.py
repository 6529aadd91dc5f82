"""Models converted to approximate layers and back."""

import copy

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.nn import ApproxConv2d, Approximate, ApproxLinear, convert, restore
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

F = nn.functional
EXACT = Multiplier(family="exact", signed=True, name="exact_8")
DRUM = Multiplier(family="drum", signed=True, k=3, name="drum_8")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, (1, 3), groups=4), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, bias=False)
        )
        self.head = nn.Linear(6 * 9, 5)

    def forward(self, x):
        return self.head(self.body(self.first(x)).flatten(1))


def inputs():
    return torch.randn(3, 1, 8, 9, generator=torch.Generator().manual_seed(1))


def named(report):
    return [entry.name for entry in report.replaced]


def test_a_multiplier_by_itself_replaces_every_layer():
    net = Net().eval()
    before = copy.deepcopy(net)
    report = convert(net, EXACT)
    assert named(report) == ["first", "body.0", "body.2", "head"]
    assert isinstance(net.first, ApproxConv2d) and isinstance(net.head, ApproxLinear)
    assert str(report).splitlines()[0] == (
        "first: Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)) -> "
        "ApproxConv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), exact_8)"
    )
    for new, old in zip(net.parameters(), before.parameters()):
        assert torch.equal(new, old) and new.requires_grad
    assert not any(module.training for module in net.modules())
    close = (net(inputs()) - before(inputs())).abs().max()
    assert 0 < close < 0.05 * before(inputs()).abs().max()
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in before.parameters())


def test_parameters_are_taken_over():
    net = Net()
    weight, bias = net.first.weight, net.first.bias
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    convert(net, EXACT)
    assert net.first.weight is weight and net.first.bias is bias
    before = weight.detach().clone()
    net(inputs()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net.first.weight, before)


def test_which_layers():
    assert named(convert(Net(), EXACT, conv_only=True)) == ["first", "body.0", "body.2"]
    assert named(convert(Net(), EXACT, ignore_first=True)) == ["body.0", "body.2", "head"]
    assert named(convert(Net(), Approximate(EXACT), conv_only=True, ignore_first=True)) == ["body.0", "body.2"]
    assert named(convert(Net(), {(nn.Linear, nn.ReLU): lambda old: nn.Identity()})) == ["body.1", "head"]


def test_a_multiplier_per_layer(tmp_path):
    path = DRUM.save(tmp_path / "drum_8.json")
    net = Net()
    spec = Approximate(DRUM, activations=Quantizer(Fixed(8), method="minmax"), gradient="lre")
    convert(net, {"body.[02]": spec, nn.Conv2d: path, nn.Linear: EXACT}, [inputs()])
    assert [layer.multiplier.name for layer in (net.first, net.body[0], net.body[2], net.head)] == [
        "drum_8", "drum_8", "drum_8", "exact_8",
    ]  # fmt: skip
    assert net.body[0].activation_quantizer.calibrated and net.first.activation_quantizer.source == "dynamic"
    assert net.body[0].activation_quantizer is not net.body[2].activation_quantizer
    assert (net.body[0].gradient, net.head.gradient) == ("lre", "ste")


def test_different_tables_differ():
    results = []
    for multiplier in (EXACT, DRUM, Multiplier(family="truncate_operands", signed=True, a_drop=1, b_drop=2)):
        torch.manual_seed(3)
        net = Net()
        convert(net, multiplier)
        results.append(net(inputs()))
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2]) and not torch.equal(results[1], results[2])


def test_shared_layers_stay_shared():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 4))
    assert named(convert(net, EXACT, ignore_first=True)) == ["3"]
    assert named(convert(net, {nn.Linear: EXACT})) == ["0", "2", "3"]
    assert net[0] is net[2]
    assert named(restore(net)) == ["0", "2", "3"] and net[0] is net[2]


def test_dtype_device_and_training_are_kept():
    net = Net().to(torch.bfloat16).eval()
    convert(net, DRUM)
    assert net.first.weight.dtype == torch.bfloat16 and not net.first.training
    assert net(inputs().bfloat16()).dtype == torch.bfloat16


def test_convert_again_and_restore():
    net = Net()
    state = copy.deepcopy(net.state_dict())
    convert(net, EXACT)
    assert named(convert(net, DRUM)) == ["first", "body.0", "body.2", "head"]
    assert net.head.multiplier is DRUM
    with torch.no_grad():
        net.head.bias += 1
    report = restore(net)
    assert named(report) == ["first", "body.0", "body.2", "head"]
    assert [type(m) for m in (net.first, net.body[0], net.body[2], net.head)] == [nn.Conv2d] * 3 + [nn.Linear]
    state["head.bias"] += 1
    assert net.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    fresh = Net()
    fresh.load_state_dict(state)
    assert torch.equal(net(inputs()), fresh(inputs()))
    assert repr(net) == repr(fresh)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_refusals():
    def one(model, *arguments, **choices):
        before = dict(model.named_modules())
        with pytest.raises((TypeError, ValueError)) as caught:
            convert(model, *arguments, **choices)
        assert dict(model.named_modules()) == before
        return str(caught.value)

    assert one(Net(), {nn.Conv2d: EXACT}, conv_only=True) == (
        "convert conv_only and ignore_first must be with a multiplier by itself, not a mapping"
    )
    assert one(nn.Sequential(nn.ReLU()), EXACT) == (
        "convert model must hold a layer that can be replaced (Linear, Conv1d, Conv2d, Conv3d, ConvTranspose1d, "
        "ConvTranspose2d, ConvTranspose3d, MultiheadAttention, ApproxMatmul); it holds none"
    )
    assert one(nn.Sequential(nn.Linear(2, 2)), EXACT, conv_only=True) == (
        "convert model must hold a layer that can be replaced (Conv1d, Conv2d, Conv3d, ConvTranspose1d, "
        "ConvTranspose2d, ConvTranspose3d); it holds none"
    )
    assert one(nn.Sequential(nn.Linear(3, 2)), EXACT, ignore_first=True) == (
        "convert model must hold more than the first layer with ignore_first; it holds one"
    )
    for target in (EXACT, lambda layer: nn.Linear(2, 2)):
        inner = nn.Sequential(nn.MultiheadAttention(4, 2))
        convert(inner, DRUM)
        assert one(inner, {nn.Linear: target}) == (
            "convert key Linear must match a module that no earlier key does; it matches none"
        )
    assert one(nn.Sequential(Scaled(2, 2)), EXACT) == (
        "convert module '0': Scaled must compute as Linear does, not by its own forward"
    )
    assert one(Net(), {nn.ReLU: EXACT}).startswith(
        "convert module 'body.1': an approximate layer must be made of one of"
    )
    assert one(Net(), "gelu_8") == "convert mapping must be a mapping or a multiplier, not Pwl"
    assert one(nn.Sequential(nn.LazyLinear(2)), EXACT) == (
        "convert module '0' must have its parameters: call the lazy model on a batch first"
    )
    hooked = Net()
    hooked.head.register_forward_hook(lambda *arguments: None)
    assert one(hooked, EXACT) == "convert module 'head' must have no hooks or parametrizations: they would be lost"
    with pytest.raises(ValueError, match=r"^restore model must hold an approximate layer; it holds none$"):
        restore(Net())
    with pytest.raises(ValueError, match=r"^restore model must hold what is replaced, not be it: ApproxLinear\("):
        restore(ApproxLinear(2, 2, multiplier=EXACT))
    with pytest.raises(TypeError, match=r"^restore model must be a torch module, not int$"):
        restore(3)


def test_a_failed_calibration_leaves_the_model():
    net = Net()
    before = dict(net.named_modules())
    with pytest.raises(ValueError, match="calibration data must reach every quantizer"):
        convert(net, Approximate(EXACT, activations=Quantizer(Fixed(8))), [])
    assert dict(net.named_modules()) == before
