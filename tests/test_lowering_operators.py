"""Operators as programs, one by one: the simulation equals the definition, and is near the model."""

import pytest
import torch
from lowering import Of, coded, held, kinds, norm_of, refused, rms
from torch import nn
from torch.nn import functional as F

from hwlut import Fixed

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
