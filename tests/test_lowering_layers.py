"""Layers that multiply as programs: quantized, approximate, looked up; the simulation against the definition."""

import copy

import pytest
import torch
from lowering import MULTIPLIERS, Of, coded, held, kinds, refused
from torch import nn

from hwlut import fit
from hwlut.nn import (
    ApproxConv2d,
    ApproxConvTranspose2d,
    ApproxLinear,
    ApproxMatmul,
    ApproxMultiheadAttention,
    Lookup,
    PwlActivation,
    convert,
)
from hwlut.nn.quantized import Operands, fix_ranges, quantize
from hwlut.quant import Quantizer, calibrate
from hwlut.quant.precision import Precision
from hwlut.units.operations import Apply

PER_TENSOR = Operands({"steps": "real"}, {"steps": "real"})


POWERS = Operands({"granularity": "channel"}, {})


ASYMMETRIC = Operands(
    {"steps": "real", "symmetric": False, "granularity": "channel"}, {"steps": "real", "symmetric": False}
)


LAYERS = {
    "linear": (nn.Linear(6, 5), (4, 6)),
    "linear without bias": (nn.Linear(6, 5, bias=False), (2, 3, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, 2, 1), (2, 4, 9)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), (1, 2), (2, 0), (1, 2)), (2, 4, 6, 8)),
    "conv2d in groups": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "conv2d same": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), (2, 3, 7, 7)),
    "conv2d valid": (nn.Conv2d(3, 4, 3, padding="valid"), (2, 3, 5, 5)),
    "conv3d": (nn.Conv3d(2, 3, 2, padding=1), (2, 2, 3, 4, 3)),
}


@pytest.mark.parametrize(
    "operands", [None, PER_TENSOR, POWERS, ASYMMETRIC], ids=["default", "tensor", "powers", "zeros"]
)
@pytest.mark.parametrize("name", LAYERS)
def test_quantized_layers_are_products(name, operands):
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    x = torch.randn(shape) + 0.3
    simulation = held(coded(nn.Sequential(copy.deepcopy(layer)), x, operands=operands), x)
    assert kinds(simulation)[0] == ("linear" if name.startswith("linear") else "convolve")
    assert len(kinds(simulation)) == 2  # constants and zero points are folded, then one rescale


@pytest.mark.parametrize("precision", ["4/8", "s3/u5", "2/2"])
def test_any_integers_will_do(precision):
    torch.manual_seed(0)
    x = torch.randn(5, 6).abs()
    held(coded(nn.Sequential(nn.Linear(6, 4)), x, precision=precision), x)


def test_ranges_with_a_fixed_number_of_bits():
    torch.manual_seed(0)
    x = torch.randn(5, 6)
    model = nn.Sequential(nn.Linear(6, 4))
    quantize(model, {"0": [Precision.parse("8")]}, Operands({"source": "ranged"}, {"source": "ranged"}))
    calibrate(model, [x])
    refused("0: linear activations must have a fixed number of bits", model, x)
    fix_ranges(model)
    held(model, x)


def real_steps(multiplier):
    return Quantizer(multiplier.a, steps="real", symmetric=multiplier.a.signed)


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_approximate_layers_are_products_by_their_multiplier(name):
    torch.manual_seed(0)
    multiplier = MULTIPLIERS[name]
    options = {"multiplier": multiplier, "activations": real_steps(multiplier)}
    linear = ApproxLinear(6, 5, **options), torch.randn(4, 6)
    grouped = ApproxConv2d(4, 6, 3, 2, 1, groups=2, **options), torch.randn(2, 4, 7, 7)
    for layer, x in (linear, grouped):
        model = nn.Sequential(layer)
        calibrate(model, [x])
        simulation = held(model, x)
        assert simulation.program.nodes[0].multiplier.family == multiplier.family


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_products_of_activations_are_by_the_multiplier(name):
    torch.manual_seed(0)
    multiplier = MULTIPLIERS[name]
    product = ApproxMatmul(multiplier=multiplier, activations=real_steps(multiplier))
    model = Of(lambda self, a, b: self.product(a, b.transpose(1, 2)), product=product)
    a, b = torch.randn(2, 5, 4) + 0.2, torch.randn(2, 3, 4)
    calibrate(model, [(a, b)])
    assert kinds(held(model, a, b))[-2] == "matrix_product"


def test_a_product_of_a_value_with_itself():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 4)
    held(coded(Of(lambda self, x: x @ x), x), x)


TRANSPOSED = {
    "side by side": {"kernel_size": 2, "stride": 2},
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "in groups": {"kernel_size": 3, "stride": (1, 3), "padding": 2, "dilation": 2, "groups": 2},
    "with gaps": {"kernel_size": 1, "stride": 2},
    "cut": {"kernel_size": 2, "stride": 2, "padding": 2},
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("multiplier", ["exact", "drum"])
def test_transposed_convolutions_see_zeros_between_inputs(name, multiplier):
    torch.manual_seed(0)
    x, unit = torch.randn(2, 4, 5, 3), MULTIPLIERS[multiplier]
    options = {"multiplier": unit, "activations": real_steps(unit)}
    model = nn.Sequential(ApproxConvTranspose2d(4, 6, **TRANSPOSED[name], **options))
    calibrate(model, [x])
    held(model, x)


def test_a_transposed_convolution_whose_zeros_count():
    torch.manual_seed(0)
    x, unit = torch.randn(2, 4, 5, 3), MULTIPLIERS["mitchell u8"]
    model = nn.Sequential(ApproxConvTranspose2d(4, 6, 2, 2, multiplier=unit, activations=real_steps(unit)))
    calibrate(model, [x])
    refused("0: products of zero must be none", model, x)


def test_multi_head_attention_by_a_multiplier():
    torch.manual_seed(0)
    unit = MULTIPLIERS["drum"]
    layer = ApproxMultiheadAttention(8, 2, batch_first=True, multiplier=unit, activations=real_steps(unit))
    model = Of(lambda self, x: self.layer(x, x, x, need_weights=False)[0], layer=layer)
    x = torch.randn(2, 5, 8)
    calibrate(model, [x])
    held(model, x, near=0.01)


@pytest.mark.parametrize("encoder", ["l1", "tree"])
@pytest.mark.parametrize("layer", [nn.Linear(8, 6), nn.Conv2d(4, 6, 3, 2, 1)], ids=["linear", "conv2d"])
def test_layers_of_look_ups(encoder, layer):
    torch.manual_seed(0)
    model = nn.Sequential(copy.deepcopy(layer))
    x = torch.randn(32, 8) if isinstance(layer, nn.Linear) else torch.randn(8, 4, 6, 6)
    convert(model, {"0": Lookup(4, 8, encoder=encoder)}, [x])
    assert "look_up" in kinds(held(model, x))


def test_a_piecewise_linear_unit():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = nn.Sequential(nn.Linear(6, 5), PwlActivation(fit("gelu", 8)))
    calibrate(model, [x])
    model = coded(model, x)
    simulation = held(model, x)
    assert [type(node.unit).__name__ for node in simulation.program.nodes if isinstance(node, Apply)].count("Pwl") == 1
