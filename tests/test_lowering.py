"""Stages of layers and operators: the simulation is the program's definition, and that is near the model."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwlut import Fixed, fit
from hwlut.lowering import Simulation, export
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
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.quant import Quantizer, calibrate
from hwlut.quant.precision import Precision
from hwlut.search import quantize_uniform
from hwlut.units import Direct, Multiplier
from hwlut.units.operations import Apply
from tests.lowered_families import tensors

S8 = Fixed(8)
PER_TENSOR = Operands({"steps": "real"}, {"steps": "real"})
POWERS = Operands({"granularity": "channel"}, {})
ASYMMETRIC = Operands(
    {"steps": "real", "symmetric": False, "granularity": "channel"}, {"steps": "real", "symmetric": False}
)


class Of(nn.Module):
    """A function as a module, with the tensors and layers that it takes."""

    def __init__(self, function, **own):
        super().__init__()
        self.function = function
        for name, value in own.items():
            if isinstance(value, nn.Module | nn.Parameter):
                setattr(self, name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def coded(model, *sample, precision="8/8", operands=None):
    """The model with quantized products, calibrated by the sample."""
    torch.manual_seed(1)
    quantize_uniform(model, [sample], precision, operands=operands)
    return model.eval()


def held(model, *sample, near=0.0, steps=2):
    """The simulation of a model, whose results are those of its program, and within some steps of the model's."""
    simulation = Simulation(model.eval(), sample)
    program = simulation.program
    more = [torch.cat([each, each[:1]]) for each in sample]
    codes = [encoded(port, each) for port, each in zip(program.inputs, more)]
    values = program.values(*codes)
    fast = Engine(program).values(*codes, keep=[port.name for port in program.outputs])
    with torch.no_grad():
        given, wanted = tensors(simulation(*more)), tensors(model(*more))
    assert len(given) == len(wanted) == len(program.outputs)
    for port, result, real in zip(program.outputs, given, wanted):
        assert torch.equal(values[port.name], fast[port.name].long())
        assert torch.equal(result, decoded(port, values[port.name]))
        assert result.shape == real.shape
        allowed = steps * port.scale + near * float(real.abs().max())
        assert float((result - real).abs().max()) <= allowed, (float((result - real).abs().max()), allowed)
    return simulation


def refused(text, model, *sample):
    with pytest.raises(ValueError, match=f"^{text}"):
        export(model.eval(), sample)


def kinds(simulation):
    return [node.op for node in simulation.program.nodes]


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


MULTIPLIERS = {
    "exact": Multiplier(family="exact", a=S8, b=S8),
    "drum": Multiplier(family="drum", bits=8, signed=True, k=4),
    "mitchell": Multiplier(family="mitchell", bits=8, signed=True),
    "mitchell u8": Multiplier(family="mitchell", bits=8, signed=False),
}


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


FUNCTIONS = {
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "elu": F.elu,
    "square": torch.square,
    "power": lambda x: x**3,
    "exp": torch.exp,
    "abs": torch.abs,
    "gelu of tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "swish": lambda x: x * torch.sigmoid(1.702 * x),
    "log of a sum": lambda x: torch.log(1 + torch.exp(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_truth_tables(name):
    torch.manual_seed(0)
    x = torch.randn(40, 6)
    simulation = held(Of(lambda self, x: FUNCTIONS[name](x)), x, near=2**-9)
    assert len(simulation.lowering.stages) == 1
    assert [type(node.unit).__name__ for node in simulation.program.nodes].count("Direct") == 1


def test_a_value_between_that_is_taken_elsewhere_stays():
    torch.manual_seed(0)
    x = torch.randn(4, 6)

    def two(self, x):
        gate = torch.sigmoid(2 * x)
        return gate * x, gate

    assert len(held(Of(two), x, near=2**-9).lowering.stages) == 2


@pytest.mark.parametrize("name", ["rsqrt", "sqrt", "reciprocal"])
def test_functions_of_many_octaves_are_range_reduced(name):
    torch.manual_seed(0)
    x = torch.rand(40, 6) * 8 + 0.5
    held(Of(lambda self, x: getattr(torch, name)(x)), x, near=2**-8)


def rms(x, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


@pytest.mark.parametrize(
    "function",
    [rms, lambda x: torch.rsqrt((x * x).mean(-1, True) + 0.1) * x, lambda x: F.rms_norm(x, (8,))],
    ids=["as in Llama", "of a product", "of torch"],
)
def test_root_mean_squares_are_one_program(function):
    torch.manual_seed(0)
    x = torch.randn(4, 5, 8)
    weight = nn.Parameter(torch.linspace(-1, 2, 8))
    simulation = held(Of(lambda self, x: self.weight * function(x), weight=weight), x, near=2**-9)
    assert len(simulation.lowering.stages) == 2


def test_a_mean_of_squares_of_another_value_is_none():
    torch.manual_seed(0)
    x = torch.rand(4, 5, 8) + 0.5
    simulation = held(Of(lambda self, x: (x + 1) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)), x, near=0.01)
    assert len(simulation.lowering.stages) == 6


def norm_of(channels, affine=True):
    norm = nn.BatchNorm2d(channels, affine=affine)
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        if affine:
            norm.weight.copy_(torch.linspace(-1, 1.5, channels))
            norm.bias.uniform_(-1, 1)
    return norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("after", [nn.Identity(), nn.ReLU(), nn.MaxPool2d(2), nn.Hardtanh(-0.5, 1.2)])
def test_batch_normalization_is_folded_for_any_sign(affine, after):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 6)
    model = coded(nn.Sequential(nn.Conv2d(4, 6, 3), norm_of(6, affine), after), x)
    assert "multiply" not in kinds(held(model, x, steps=3))


def test_batch_normalization_by_zero_is_a_constant():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 6)
    norm = norm_of(6)
    norm.weight.data[2] = 0
    held(coded(nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU(), nn.Conv2d(6, 3, 1)), x), x, near=0.01)


def test_a_dead_channel_has_coarser_steps():
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    model = nn.Sequential(nn.Linear(6, 4))
    with torch.no_grad():
        model[0].weight[1] *= 1e-12
        model[0].bias[1] = 3.0
    weights = held(coded(model, x), x).program.nodes[0].weights
    assert not weights[1].any() and weights[0].any()


SUMS = {
    "two steps": lambda self, a, b: a + 3 * b,
    "itself": lambda self, a, b: a + a,
    "difference": lambda self, a, b: a - b,
    "with a factor": lambda self, a, b: torch.add(a, b, alpha=-0.3),
    "with a great factor": lambda self, a, b: torch.add(30 * a, a, alpha=-29.5),
    "a number less it": lambda self, a, b: 1.5 - a,
    "a constant a channel": lambda self, a, b: a + self.channel - b,
    "a constant of each place": lambda self, a, b: (a + self.places) * 0.5 + b,
    "a factor a channel": lambda self, a, b: a * self.channel,
    "a factor of each place": lambda self, a, b: a * self.places,
    "a quotient": lambda self, a, b: a / self.channel.abs() + b / 3,
    "a product": lambda self, a, b: a * b,
    "a square": lambda self, a, b: a * a + b,
    "a product that broadcasts": lambda self, a, b: a * b.mean((2, 3), keepdim=True),
    "bounds": lambda self, a, b: a.clamp(-0.7, 0.9) + b.clamp(min=0.1),
    "bounds of six": lambda self, a, b: F.relu6(4 * a + 1),
    "far apart": lambda self, a, b: (a + 1000) - (b + 1000),
    "negative": lambda self, a, b: -a,
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_and_factors(name):
    torch.manual_seed(0)
    a, b = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 2, 5) * 0.3
    own = {"channel": torch.tensor([0.5, -2.0, 1.0, 0.25]).reshape(4, 1, 1), "places": torch.randn(4, 2, 5)}
    held(Of(lambda self, a, b: (SUMS[name](self, a, b), b), **own), a, b, near=2**-12)


def test_sums_of_layers_with_a_step_a_channel():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5)
    model = Of(lambda self, x: self.a(x) + self.b(x).relu(), a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1))
    held(coded(model, x), x, near=2**-12)


POOLS = {
    "max1d": (nn.MaxPool1d(3, 2, 1), 1),
    "max2d": (nn.MaxPool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2)), 2),
    "max3d": (nn.MaxPool3d(2), 3),
    "avg1d": (nn.AvgPool1d(3, 2, 1), 1),
    "avg2d": (nn.AvgPool2d((2, 3), (1, 2), (1, 1)), 2),
    "avg3d": (nn.AvgPool3d(2), 3),
    "avg beyond all": (nn.AvgPool2d(50, ceil_mode=True), 2),
    "divided": (nn.AvgPool2d(2, divisor_override=3), 2),
    "adaptive": (nn.AdaptiveAvgPool2d((2, 3)), 2),
    "adaptive to one": (nn.AdaptiveAvgPool1d(1), 1),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(name):
    torch.manual_seed(0)
    pool, axes = POOLS[name]
    x = torch.randn(2, 3, *(6, 6, 4)[:axes]) - 1.0
    held(nn.Sequential(pool), x)
    convolution = getattr(nn, f"Conv{axes}d")(3, 4, 1)
    held(coded(nn.Sequential(convolution, pool), x), x, steps=3)


@pytest.mark.parametrize("along", [(1,), (2, 3), (1, 3), -1, (0, 2)])
@pytest.mark.parametrize("keep", [True, False])
def test_means(along, keep):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    model = coded(Of(lambda self, x: self.layer(x).mean(along, keep), layer=nn.Conv2d(3, 4, 1)), x)
    if along == (0, 2):
        refused("Of: mean must not be over the batch", model, x)
    else:
        held(model, x)


MOVES = {
    "view": lambda x: x.reshape(-1, 24),
    "several batches": lambda x: x.reshape(-1, 3, 4)[:, :2],
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "transpose": lambda x: x.transpose(1, 3),
    "slice": lambda x: x[:, 1:, ::2],
    "last": lambda x: x[:, -1],
    "narrow": lambda x: x.narrow(2, 1, 2),
    "split": lambda x: torch.cat(x.split([1, 2], 2)[::-1], 2),
    "chunk": lambda x: torch.cat(x.chunk(2, 1), 3),
    "unbind": lambda x: x.unbind(1)[1],
    "unfold": lambda x: x.unfold(3, 2, 2),
    "expand": lambda x: x[:, :, None, :1].expand(-1, 2, 5, 3, 4),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "stack": lambda x: torch.stack([x, x + 1], 2),
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(-1),
    "flip": lambda x: x.flip(1, 3),
    "roll": lambda x: x.roll((1, -1), (1, 3)),
    "index": lambda x: x[:, :, torch.tensor([2, 0, 0, 1])],
    "index_select": lambda x: x.index_select(3, torch.tensor([3, 0])),
    "nearest": lambda x: F.interpolate(x, scale_factor=(2, 3)),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.reshape(-1, 8, 3, 1), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x.transpose(1, 2), 2),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pad and cut": lambda x: F.pad(x, (-1, 2, 1, -1)),
}


@pytest.mark.parametrize("name", MOVES)
def test_movements_are_of_codes(name):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 3, 4)
    simulation = held(Of(lambda self, x: MOVES[name](x)), x)
    assert "unit" not in kinds(simulation) or name == "stack"


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_padding_stands_for_its_number_on_any_grid(value):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 4) + 1
    before, after = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 3)
    model = Of(lambda self, x: self.after(F.pad(self.before(x), (1, 1, 1, 1), value=value)), before=before, after=after)
    held(coded(model, x), x, near=0.01)


def test_concatenation_of_scales():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5)
    own = {"a": nn.Conv2d(4, 2, 1), "b": nn.Conv2d(4, 3, 1), "c": nn.Conv2d(7, 2, 1), "more": torch.randn(1, 2, 5, 5)}
    model = Of(
        lambda self, x: self.c(torch.cat([self.a(x), 5 * self.b(x), self.more.expand(len(x), -1, -1, -1)], 1)), **own
    )
    held(coded(model, x), x, near=0.01)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_along_any_axis(axis):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5) * 3
    held(Of(lambda self, x: x.softmax(axis)), x, near=2**-8)


@pytest.mark.parametrize("fill", [float("-inf"), torch.finfo(torch.float32).min, -1e9, -1e4, -100.0])
@pytest.mark.parametrize("how", ["sum", "where", "masked_fill"])
def test_constant_masks_hide_their_places(fill, how):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 5, 5) * 0.1
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    functions = {
        "sum": lambda self, x: (x + torch.where(self.mask, 0.0, fill)).softmax(-1),
        "where": lambda self, x: torch.where(self.mask, x, fill).softmax(-1),
        "masked_fill": lambda self, x: x.masked_fill(~self.mask, fill).reshape(-1, 5, 5).softmax(-1),
    }
    simulation = held(Of(functions[how], mask=mask), x, near=2**-9)
    assert not simulation(x)[..., ~mask].any()


@pytest.mark.parametrize("kind", [torch.bool, torch.int64])
@pytest.mark.parametrize("how", ["sum", "where", "masked_fill", "compared"])
def test_masks_that_the_model_takes_in(kind, how):
    torch.manual_seed(0)
    x = torch.randn(4, 2, 5, 5) * 0.2
    mask = (torch.rand(4, 5) > 0.4).to(kind)
    mask[:, 0] = 1
    low = torch.finfo(torch.float32).min
    functions = {
        "sum": lambda self, x, m: (x + torch.where(m[:, None, None].bool() & self.causal, 0.0, low)).softmax(-1),
        "where": lambda self, x, m: torch.where(m[:, None, None].bool(), x, low).softmax(-1),
        "masked_fill": lambda self, x, m: x.masked_fill(~m[:, None, None].bool(), low).softmax(-1),
        "compared": lambda self, x, m: x.masked_fill((m == 0)[:, None, None], low).softmax(-1),
    }
    simulation = held(Of(functions[how], causal=torch.ones(5, 5, dtype=torch.bool).tril()), x, mask, near=2**-9)
    assert simulation.program.inputs[1].format == Fixed(1 if kind == torch.bool else 24, signed=False)
    shares = simulation(x, mask)
    assert not shares.movedim(-1, 1)[mask == 0].any() and bool((shares.sum(-1) > 0.99).all())


def test_layer_normalization_with_weights_of_any_sign():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6)
    norm = nn.LayerNorm(6)
    norm.weight.data = torch.tensor([1.0, -0.5, 0.0, 2.0, 1e-9, -1.0])
    norm.bias.data.uniform_(-1, 1)
    held(nn.Sequential(norm), x, near=2**-9)
    held(nn.Sequential(nn.LayerNorm(6, elementwise_affine=False)), x, near=2**-9)
    held(coded(nn.Sequential(norm, nn.Linear(6, 4)), x), x, near=0.01)


@pytest.mark.parametrize("affine", [True, False])
def test_group_normalization_is_of_rows(affine):
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, 5) * 2 + 1
    norm = nn.GroupNorm(2, 6, affine=affine)
    if affine:
        norm.weight.data = torch.tensor([1.0, -0.5, 0.0, 2.0, 0.3, -1.0])
        norm.bias.data.uniform_(-1, 1)
    held(nn.Sequential(norm), x, near=2**-9)


@pytest.mark.parametrize("channels", [1, 4])
def test_slopes_of_negative_numbers(channels):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2, 5)
    slanted = nn.PReLU(channels)
    slanted.weight.data.uniform_(-0.5, 0.5)
    held(nn.Sequential(slanted), x)
    held(coded(nn.Sequential(nn.Conv2d(4, 4, 1), norm_of(4), slanted), x), x, steps=3)


@pytest.mark.parametrize("coding", [True, False])
def test_tables_of_rows(coding):
    torch.manual_seed(0)
    index = torch.randint(0, 7, (3, 5))
    model = Of(
        lambda self, i: self.rows(i) + self.places(self.order),
        rows=nn.Embedding(7, 4),
        places=nn.Embedding(5, 4),
        order=torch.arange(5),
    )
    simulation = held(coded(model, index) if coding else model, index, steps=3)
    assert kinds(simulation).count("gather") == 1  # the other follows from the model alone
    simulation(index).square().sum().backward()
    assert bool(model.rows.weight.grad.any()) and bool(model.places.weight.grad.any())


def test_constants_that_grow_with_the_batch():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4)
    own = {"token": nn.Parameter(torch.randn(1, 1, 4)), "windows": torch.randn(3, 1, 4)}

    def function(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x], 1)[:, :3] + torch.ones(len(x), 1, 1)
        rows = tokens.reshape(-1, 1, 4) + self.windows.repeat(len(x), 1, 1)
        return (rows * self.windows.repeat(len(x), 1, 1)).reshape(len(x), -1)

    held(Of(function, **own), x, near=2**-12)


def test_what_differs_from_sample_to_sample_is_no_constant():
    x = torch.randn(2, 3)
    refused(
        "Of: add must have constants that are the same for every sample",
        Of(lambda s, x: x + torch.arange(len(x))[:, None]),
        x,
    )


def test_several_results_and_an_input_that_is_one():
    torch.manual_seed(0)
    x, y = torch.randn(2, 4), torch.randn(2, 3)
    model = Of(lambda self, x, y: {"a": (self.layer(x), y), "b": x}, layer=nn.Linear(4, 3))
    program = held(coded(model, x, y), x, y).program
    assert len(program.outputs) == 3 and [port.shape for port in program.inputs] == [(4,), (3,)]


@pytest.mark.parametrize("model", ["ResNet", "VisionTransformer"])
def test_training_changes_the_program_and_stays_exact(model):
    from examples import models

    torch.manual_seed(0)
    network = models.ResNet(4) if model == "ResNet" else models.VisionTransformer(16, 1, 2)
    x, labels = torch.randn(6, 1, 28, 28), torch.randint(0, 10, (6,))
    network.train()(x)
    simulation = held(coded(network, x), x, near=0.05)
    optimizer = torch.optim.Adam(simulation.parameters(), 1e-3)
    before, losses = simulation.program, []
    for _ in range(4):
        loss = F.cross_entropy(simulation.train()(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = simulation.program
    assert losses[-1] < losses[0] and before != after
    codes = encoded(after.inputs[0], x)
    assert torch.equal(simulation(x), decoded(after.outputs[0], after(codes)))
    assert simulation.program is after


def test_a_step_that_is_next_to_nothing_saturates():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = coded(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), x)
    with torch.no_grad():
        model[2].input_choice.quantizer(model[2].input_choice.selected).step.fill_(1e-30)
    simulation = Simulation(model, x)
    assert torch.equal(
        simulation(x),
        decoded(simulation.program.outputs[0], simulation.program(encoded(simulation.program.inputs[0], x))),
    )


def test_gradients_are_at_the_numbers_of_the_program():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = Of(lambda self, x: self.weight * torch.exp(x), weight=nn.Parameter(torch.rand(6)))
    simulation = held(model, x, near=2**-9)
    simulation(x).sum().backward()
    nodes = [node for node in simulation.program.nodes if isinstance(node, Apply)]
    [table] = [node.name for node in nodes if isinstance(node.unit, Direct)]
    number = next(each for each in simulation.lowering.lowered().numbers.values() if each.name == table)
    values = simulation.program.values(encoded(simulation.program.inputs[0], x))[table]
    assert torch.allclose(model.weight.grad, number.real(values).sum(0), rtol=1e-6)
    assert not torch.allclose(model.weight.grad, torch.exp(x).sum(0), rtol=1e-6)


REFUSALS = {
    "0: linear has no form in integers; let hwlut.nn.quantized.quantize": nn.Sequential(nn.Linear(4, 4)),
    "Of: cumsum has no form in integers; convert it": Of(lambda self, x: x.cumsum(1)),
    "Of: matmul has no form in integers; let": Of(lambda self, x: x[:, None] @ x[..., None]),
    "Of: div must be by what follows from the model alone": Of(lambda self, x: x / x.exp()),
    "Of: pad must have mode constant, not circular": Of(lambda self, x: F.pad(x[:, None], (1, 1), mode="circular")),
    "Of: sum must not be over the batch": Of(lambda self, x: x.sum(0)),
    "Of: slice must not cut the batch": Of(lambda self, x: x[1:]),
    "Of: flip must not move the batch": Of(lambda self, x: x.flip(0)),
    "Of: cat must not be along the batch": Of(lambda self, x: torch.cat([x, x])),
    "Of: flatten shape must have the batch in one place, not": Of(lambda self, x: (x[:, None] - x[None]).flatten(1)),
    "output 'own' of the model must follow from its inputs": Of(lambda self, x: (x, self.own), own=torch.ones(3)),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_name_the_module_and_the_operator(text):
    refused(text, REFUSALS[text], torch.randn(2, 4))


def test_inputs_that_a_program_cannot_take():
    x, index = torch.randn(2, 4), torch.tensor([1, 0])
    refused("Of: index must be by indices that follow from the model alone", Of(lambda self, x, i: x[:, i]), x, index)
    refused("input 'inputs_1' of the model must be used", Of(lambda self, x, i: x + 1), x, index)


@pytest.mark.filterwarnings("ignore:Using padding")
def test_layers_that_are_not_ready():
    x, unit = torch.randn(3, 4), MULTIPLIERS["exact"]
    refused(
        "0: add activations must have one step that is kept, not s8",
        nn.Sequential(ApproxLinear(4, 3, multiplier=unit)),
        x,
    )
    model = nn.Sequential(nn.Linear(4, 3))
    quantize(model, {"0": [Precision.parse("8")]})
    refused("0: activations must be calibrated, by hwlut.quant.calibrate", model, x)
    circular = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"))
    refused(
        "0: padding_mode must be zeros, not circular", coded(circular, torch.randn(2, 2, 5, 5)), torch.randn(2, 2, 5, 5)
    )
    even = nn.Sequential(nn.Conv2d(2, 3, 2, padding="same"))
    refused("0: padding must be the same on both sides", coded(even, torch.randn(2, 2, 5, 5)), torch.randn(2, 2, 5, 5))
    wide = coded(nn.Sequential(nn.Linear(64, 3)), torch.randn(3, 64), precision="16/16")
    refused(
        "0: linear accumulator must have at most 32 bits to be rescaled, not 3.; give its", wide, torch.randn(3, 64)
    )
    deeper = coded(nn.Sequential(nn.Linear(64, 3), nn.Linear(3, 2)), torch.randn(3, 64), precision="16/16")
    refused(
        "0: linear accumulator must have at most 32 bits to be rescaled, not 3.; give its", deeper, torch.randn(3, 64)
    )


def test_samples_and_calls_that_do_not_fit():
    simulation = Simulation(coded(nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)), torch.randn(2, 4))
    with pytest.raises(TypeError, match="arguments must have 1 tensors, as the sample has, not 2"):
        simulation(torch.randn(2, 4), torch.randn(2, 4))
    with pytest.raises(TypeError, match="arguments must be those of the sample, not x"):
        simulation(x=torch.randn(2, 4))


def test_modes_copies_and_devices_of_numbers():
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    model = coded(nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 3)), x)
    simulation = held(model, x, near=0.01)
    result, program = simulation(x), simulation.program
    assert torch.equal(simulation.train()(x), result) and simulation.program is program
    other = copy.deepcopy(simulation)
    with torch.no_grad():
        other.model[0].weight.mul_(0.5)
    assert torch.equal(simulation(x), result) and not torch.equal(other(x), result)
    assert simulation.program is program and other.program != program
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(simulation(x), result) and simulation(x).dtype == torch.float32
    with pytest.raises(TypeError, match="Simulation cannot be pickled; keep its model's state_dict"):
        pickle.dumps(simulation)


@pytest.mark.cuda
def test_simulation_on_a_gpu():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 6)
    model = coded(nn.Sequential(nn.Conv2d(4, 6, 3), norm_of(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)), x)
    expected = Simulation(model, x)(x)
    simulation = Simulation(model.cuda(), x.cuda())
    assert torch.equal(simulation(x.cuda()).cpu(), expected)
    simulation(x.cuda()).square().sum().backward()


class Beside(nn.Module):
    """Operators that write in place."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3, padding=1), norm_of(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = F.relu_(self.norm(self.first(x)))
        z = self.second(y)
        z += y
        return F.relu(z, inplace=True).mean((2, 3))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(F.relu(self.layer(x)))


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_of_torch(first):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first)
    held(coded(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), x), x, near=0.01)


@pytest.mark.parametrize("kind", [Beside, Twice])
def test_models_that_write_in_place_or_call_a_layer_twice(kind):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6) if kind is Beside else torch.randn(4, 8)
    held(coded(kind(), x), x, near=0.005)


OTHERWISE = {
    "the size of the batch": lambda self, x: x * x.size(0),
    "casts": lambda self, x: (x * 3).to(torch.int32).float(),
    "random numbers": lambda self, x: x + torch.rand(4),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_the_trace_changes_is_refused(name):
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    refused("output '.*' must be what the model computes for the sample", Of(OTHERWISE[name]), x)
    model = coded(nn.Sequential(Of(OTHERWISE[name]), nn.Linear(4, 2)), x)
    refused("1 input must be what the model computes for the sample", model, x)


@pytest.mark.parametrize("function", [lambda self, x: (x * 2, x.relu(), x), lambda self, x: (x + 1,) * 2])
def test_results_that_are_one_value_have_names_of_their_own(function):
    torch.manual_seed(0)
    program = held(Of(function), torch.randn(3, 4)).program
    assert len({port.name for port in (*program.inputs, *program.outputs)}) == 1 + len(program.outputs)


def test_a_model_that_returns_its_input_is_a_program():
    held(nn.Identity(), torch.randn(3, 4))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8])
@pytest.mark.parametrize("function", [lambda x: (x / 255 - 0.5) / 0.2, lambda x: x.float() * 3 - 100])
def test_images_of_bytes(kind, function):
    torch.manual_seed(0)
    ends = torch.iinfo(kind)
    x = torch.randint(ends.min, ends.max + 1, (3, 1, 4, 4), dtype=kind)
    model = coded(Of(lambda self, x: self.layer(function(x)), layer=nn.Conv2d(1, 2, 3)), x)
    assert held(model, x).program.inputs[0].format == Fixed(8, signed=kind == torch.int8)


def test_samples_beyond_their_formats():
    half = Of(lambda self, x: x / 2)
    refused("input 'inputs_0' must be from 0 to 16777215, not from -1 to 3", half, torch.tensor([[-1, 3]]))
    refused("input 'inputs_0' must be from 0 to 16777215, not from 0 to", half, torch.tensor([[0, 1 << 24]]))
    refused("sample must give finite numbers at input 'inputs_0'", half, torch.full((2, 3), torch.nan))
    inner = Of(lambda self, x: self.inner(x), inner=Of(lambda self, x: torch.log(x)))
    refused("sample must give finite numbers at inner", inner, torch.full((2, 3), -1.0))


BOUNDS = {
    "above all": lambda x: x.clamp(min=20),
    "below all": lambda x: F.hardtanh(x, -30, -20),
    "far below all": lambda x: x.clamp(max=-1e6),
    "below what is bounded": lambda x: x.relu().clamp(-3, -2),
    "infinite": lambda x: x.clamp(-torch.inf, 0.5),
    "infinite above": lambda x: x.clamp(-0.5, torch.inf),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_beyond_what_there_is_are_the_results(name):
    torch.manual_seed(0)
    held(Of(lambda self, x: BOUNDS[name](x)), torch.randn(3, 4))


GREAT = {
    "sum": lambda x: x * 1e5 + x,
    "function": lambda x: torch.tanh(x * 1e5) * 1e5,
    "layer norm": lambda x: F.layer_norm(x * 1e6, (4,), eps=1e11),
    "mean of squares": lambda x: rms(x * 1e6, 1e11),
}


@pytest.mark.parametrize("name", GREAT)
def test_great_numbers_have_steps_above_one(name):
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    simulation = held(Of(lambda self, x: GREAT[name](x)), x, near=2**-9)
    with torch.no_grad():  # twice the range is held
        assert torch.allclose(simulation(1.9 * x), simulation.model(1.9 * x), rtol=0.01, atol=0.01 * float(x.max()))


@pytest.mark.parametrize("function", [lambda x: (x * 1e5).softmax(-1), lambda x: torch.sqrt(x.abs() * 1e6)])
def test_great_arguments_of_programs_are_refused(function):
    refused("Of: numbers must have steps from 2.-62 to 1, not", Of(lambda self, x: function(x)), torch.randn(3, 4))


def test_operands_of_a_sum_hold_twice_what_was_seen():
    for reach in (31.0, 33.0, 63.0, 2000.0):
        for signed in (1, -1):
            x = torch.tensor([[reach, 1.0]]) * signed
            simulation = held(Of(lambda self, x: torch.add(30 * x, x, alpha=-29.99)), x, near=2**-9)
            with torch.no_grad():
                assert torch.allclose(simulation(1.9 * x), simulation.model(1.9 * x), rtol=0.02, atol=1e-3 * reach)


def test_too_wide_sums_are_named_behind_what_moves_them():
    torch.manual_seed(0)
    x = torch.randn(3, 64)
    model = coded(nn.Sequential(nn.Linear(64, 4), nn.Unflatten(1, (2, 2)), nn.ReLU()), x, precision="16/16")
    refused("0: linear accumulator must have at most 32 bits", model, x)


@pytest.mark.parametrize("size", [97, 194, 97 * 101])
def test_sizes_that_look_like_a_batch(size):
    torch.manual_seed(0)
    x = torch.randn(2, size, 2)
    held(Of(lambda self, x: x.transpose(1, 2).reshape(-1, 2 * size)[:, :5] * 2), x)
    wide = coded(nn.Sequential(nn.Linear(2, 97), nn.ReLU(), nn.Unflatten(-1, (1, 97))), x[:, :3])
    held(wide, x[:, :3])


def test_rows_of_scores_far_below_those_seen_have_shares():
    x, y = torch.tensor([[8.0] * 4, [0.1] * 4]), torch.tensor([[0.1, 0.2, 0.3, 0.1], [8.0] * 4])
    simulation = held(Of(lambda self, x, y: (x * y).softmax(-1)), x, y, near=2**-8)
    with torch.no_grad():
        far = torch.full((1, 4), -8.0), torch.tensor([[7.0, 7.1, 7.2, 7.3]])
        assert torch.allclose(simulation(*far), simulation.model(*far), atol=2**-8)


def test_other_formats_and_modules_make_another_program():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    quantize(model, {"0": [Precision.parse("8"), Precision.parse("4")], "2": [Precision.parse("8")]})
    calibrate(model, [x])
    simulation = Simulation(model.eval(), x)
    programs = [simulation.program]
    choice = model[0].weight_choice
    choice.select(choice.formats[1])
    programs.append(simulation.program)
    lowering = simulation.lowering
    choice.settle()
    assert simulation.program == programs[-1] and simulation.lowering is lowering
    model[1] = nn.Tanh()
    programs.append(simulation.program)
    assert programs[0] != programs[1] != programs[2] == export(model, x)
    with torch.no_grad():
        assert (simulation(x) - model(x)).abs().max() < 0.02 * model(x).abs().max()


def test_truths_that_are_added_as_numbers_are_no_truths():
    x, order = torch.randn(3, 4), torch.arange(4)
    held(Of(lambda self, x: x + ((self.order > 0).long() + (self.order > 1).long()), order=order), x)
