"""Gradients of approximate layers against sums over whole derivative tables, pair by pair."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.nn import (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConv3d,
    ApproxConvTranspose1d,
    ApproxConvTranspose2d,
    ApproxConvTranspose3d,
    Approximate,
    ApproxLinear,
    Date,
    convert,
)
from hwlut.nn.approx.gradients import gradient_of
from hwlut.quant import Quantizer, calibrate
from hwlut.units import Multiplier

S8, U8, S4, U6 = Fixed(8), Fixed(8, signed=False), Fixed(4), Fixed(6, signed=False)


def random_table(a, b, seed=0):
    products = np.random.default_rng(seed).integers(-(1 << 12), 1 << 12, (1 << a.bits, 1 << b.bits))
    return Multiplier(family="table", a=a, b=b, products=products)


MULTIPLIERS = {
    "drum s8": lambda: Multiplier(family="drum", signed=True, k=4),
    "truncated u8": lambda: Multiplier(family="truncate_columns", columns=6),
    "table u8 s8": lambda: random_table(U8, S8),
    "table s4 u6": lambda: random_table(S4, U6),
}
GRADIENTS = {"ste": "ste", "lre": "lre", "date": "date", "date 3": Date(3), "given": "given"}


def steps(format):
    """Codes of a format as float64."""
    return np.arange(format.min, format.max + 1, dtype=np.float64)


def regression(products):
    """Slope of each column's least-squares line, by numpy."""
    return np.polyfit(np.arange(len(products)), products, 1)[0]


def smoothed_difference(values, half, place):
    """The derivative along the first axis as Meng et al. describe it, at one place."""
    last = len(values) - 1
    if not half < place < last - half:
        return (values[-1] - values[0]) / last
    after, before = values[place + 1 - half : place + 2 + half], values[place - 1 - half : place + half]
    return (after.mean(0) - before.mean(0)) / 2


def tables(gradient, multiplier):
    """Derivatives by a and by b at every pair, by brute force; "given" are random ones."""
    products = multiplier.products().numpy().astype(np.float64)
    a, b = steps(multiplier.a), steps(multiplier.b)
    if gradient == "ste":
        return np.broadcast_to(b, products.shape), np.broadcast_to(a[:, None], products.shape)
    if gradient == "lre":
        by_a, by_b = regression(products), regression(products.T)
        return np.broadcast_to(by_a, products.shape), np.broadcast_to(by_b[:, None], products.shape)
    if gradient == "given":
        return tuple(np.random.default_rng(7).normal(size=(2, *products.shape)))
    halves = (len(a) // 8, len(b) // 8) if gradient == "date" else (3, 3)
    by_a = np.stack([smoothed_difference(products, halves[0], place) for place in range(len(a))])
    return by_a, np.stack([smoothed_difference(products.T, halves[1], place) for place in range(len(b))], 1)


@pytest.mark.parametrize("label", MULTIPLIERS)
@pytest.mark.parametrize("name", GRADIENTS)
def test_tables_come_back_from_their_terms(name, label):
    multiplier = MULTIPLIERS[label]()
    want = tables(name, multiplier)
    got = gradient_of(want if name == "given" else GRADIENTS[name], multiplier)
    a, b = torch.from_numpy(steps(multiplier.a)).long(), torch.from_numpy(steps(multiplier.b)).long()
    for terms, table in zip(got, want):
        total = torch.zeros(len(a), len(b))
        for term in terms:
            total += (1 if term.a is None else term.a(a)[:, None]) * (1 if term.b is None else term.b(b))
        assert terms and np.abs(total.numpy() - table).max() <= 4e-6 * np.abs(table).max()


def test_few_terms_for_regular_multipliers():
    drum = Multiplier(family="drum", signed=True, k=4)
    assert [len(terms) for terms in gradient_of("date", drum)] == [1, 1]
    truncated = gradient_of("date", Multiplier(family="truncate_columns", columns=6))
    assert max(len(terms) for terms in truncated) <= 8


@pytest.mark.parametrize("label", MULTIPLIERS)
@pytest.mark.parametrize("name", GRADIENTS)
def test_linear_gradients_are_sums_over_tables(name, label):
    torch.manual_seed(0)
    multiplier = MULTIPLIERS[label]()
    by_a, by_b = tables(name, multiplier)
    layer = ApproxLinear(4, 3, multiplier=multiplier, gradient=(by_a, by_b) if name == "given" else GRADIENTS[name])
    x = torch.randn(5, 4, requires_grad=True)
    g = torch.randn(5, 3)
    (layer(x) * g).sum().backward()
    (cx, sx, zx), (cw, sw, zw) = layer.activation_quantizer.quantize(x), layer.weight_quantizer.quantize(layer.weight)
    zw = zw.expand(3, 1)
    of_x, of_w = torch.zeros(5, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    for m, n, k in itertools.product(range(5), range(3), range(4)):
        i, j = int(cx[m, k]) - multiplier.a.min, int(cw[n, k]) - multiplier.b.min
        of_x[m, k] += g[m, n] * sw[n, 0] * (by_a[i, j] - int(zw[n, 0]))
        of_w[n, k] += g[m, n] * sx * (by_b[i, j] - int(zx))
    for got, want in ((x.grad, of_x), (layer.weight.grad, of_w), (layer.bias.grad, g.sum(0))):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-4, atol=1e-5 * float(want.abs().max()))


CONVOLUTIONS = {
    "2d": (ApproxConv2d, (2, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, (5, 6)),
    "groups": (ApproxConv2d, (4, 4, 3), {"groups": 2, "padding": 1}, (4, 4)),
    "depthwise": (ApproxConv2d, (3, 6, 3), {"groups": 3, "stride": 2}, (5, 6)),
    "circular": (ApproxConv2d, (2, 2, 3), {"padding": 1, "padding_mode": "circular"}, (4, 3)),
    "same": (ApproxConv1d, (2, 2, 4), {"padding": "same"}, (7,)),
    "3d": (ApproxConv3d, (2, 2, 2), {"padding": 1, "stride": 2}, (3, 3, 2)),
    "transposed 1d": (ApproxConvTranspose1d, (2, 4, 3), {"stride": 2, "output_padding": 1, "groups": 2}, (4,)),
    "transposed 2d": (ApproxConvTranspose2d, (2, 3, (3, 2)), {"stride": (2, 1), "padding": 1, "dilation": 2}, (4, 5)),
    "transposed 3d": (ApproxConvTranspose3d, (2, 2, 2), {"stride": 2, "groups": 2}, (2, 2, 3)),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("name", ["ste", "given"])
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_convolution_gradients_are_sums_over_tables(shape, name):
    """Torch's own layer, in float64, says by a one-hot weight and input which pairs meet; tables say the rest."""
    torch.manual_seed(0)
    kind, arguments, options, sizes = CONVOLUTIONS[shape]
    multiplier = random_table(U6, S4)
    by_a, by_b = tables(name, multiplier)
    layer = kind(
        *arguments, multiplier=multiplier, gradient=(by_a, by_b) if name == "given" else GRADIENTS[name], **options
    )
    x = torch.randn(1, arguments[0], *sizes, requires_grad=True)
    y = layer(x)
    g = torch.randn_like(y)
    (y * g).sum().backward()
    pairs = incidence(layer, x)  # [results, places of x with the padding's last, places of w]
    (cx, sx, zx), (cw, sw, zw) = (
        quantized.quantize(values)
        for quantized, values in ((layer.activation_quantizer, x), (layer.weight_quantizer, layer._weights()))
    )
    assert zx != 0 and not zw.any()
    rows = torch.cat([cx.flatten(), zx.view(1)]).long() - multiplier.a.min
    columns = cw.flatten().long() - multiplier.b.min
    spread = sw.expand(cw.shape).flatten().double()
    per_pair = torch.einsum("r,rij->ij", g.flatten().double(), pairs)
    a_table, b_table = torch.from_numpy(by_a.copy())[rows][:, columns], torch.from_numpy(by_b.copy())[rows][:, columns]
    of_x = (per_pair * spread * a_table).sum(1)[:-1].view(x.shape)
    of_w = (per_pair * sx.double() * (b_table - int(zx))).sum(0).view(cw.shape)
    if isinstance(layer, (ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d)):
        groups, per_group = layer.groups, layer.out_channels // layer.groups
        of_w = of_w.unflatten(0, (groups, per_group)).transpose(1, 2).flatten(0, 1)
    for got, want in (
        (x.grad, of_x),
        (layer.weight.grad, of_w),
        (layer.bias.grad, g.transpose(0, 1).flatten(1).sum(1)),
    ):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-4, atol=1e-5 * float(want.abs().max()))


def incidence(layer, x):
    """How often each place of x (the last: padding) meets each of the weights, as [out, in, ...], in each result."""
    plain = copy.deepcopy(layer.restored()).double()
    del plain.bias
    plain.register_parameter("bias", None)
    shape, inputs = plain.weight.shape, x.numel()
    transposed = "Transpose" in type(plain).__name__
    order = torch.arange(plain.weight.numel()).view(shape)
    if transposed:
        order = order.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    result = []
    every = torch.eye(inputs, dtype=torch.float64).view(inputs, *x.shape[1:])
    with torch.no_grad():
        for place in order.flatten():
            plain.weight.zero_().view(-1)[place] = 1
            met = plain(every).flatten(1).t()  # [results, places of x]
            padding = 0 * met[:, :1] if transposed else _all(plain, x) - met.sum(1, keepdim=True)
            result.append(torch.cat([met, padding], 1))
    return torch.stack(result, 2)


def _all(plain, x):
    """How many inputs, padded ones too, meet the one weight that is not zero: one in each result of its channel."""
    channels = plain.weight.flatten(1).sum(1)
    return channels.view(-1, 1).expand(-1, plain(x.double())[0, 0].numel()).reshape(-1, 1)


def test_saturated_values_get_no_gradient():
    layer = ApproxLinear(3, 2, multiplier=MULTIPLIERS["drum s8"](), activations=Quantizer(Fixed(8, 5)))
    x = torch.tensor([[0.5, 7.0, -9.0]], requires_grad=True)  # 16, 224 and -288
    layer(x).sum().backward()
    assert x.grad[0, 0] != 0 and x.grad[0, 1:].tolist() == [0, 0]


def test_a_first_layer_trains_and_so_does_every_bias():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4))
    convert(net, Approximate(MULTIPLIERS["drum s8"](), gradient="lre"))
    x, goal = torch.randn(16, 1, 5, 5), torch.randint(4, (16,))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), goal)
        loss.backward()
        assert all(parameter.grad.any() for parameter in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_learned_steps_get_gradients():
    torch.manual_seed(0)
    multiplier = MULTIPLIERS["drum s8"]()
    learned = {
        "activations": Quantizer(Fixed(8), steps="real", source="learned"),
        "weights": Quantizer(Fixed(8), steps="real", source="learned", granularity="channel"),
    }
    layer, x = ApproxLinear(6, 3, multiplier=multiplier, **learned), torch.randn(20, 6)
    calibrate(layer, [x])
    layer(x).square().sum().backward()
    assert layer.activation_quantizer.step.grad.abs() > 0 and layer.weight_quantizer.step.grad.all()
    layer.eval()(x).square().sum().backward()
    assert layer.weight.grad.any()


def test_wide_multipliers_have_gradients_without_tables():
    for multiplier in (
        Multiplier(family="drum", bits=12, signed=True, k=6),
        Multiplier(family="truncate_operands", bits=16, a_drop=3, b_drop=2),
    ):
        a = torch.randint(multiplier.a.min, multiplier.a.max + 1, (50,))
        b = torch.randint(multiplier.b.min, multiplier.b.max + 1, (50,))
        for name in ("ste", "lre", "date"):
            got = gradient_of(name, multiplier)
            by_a, by_b = (sum((t.a(a) if t.a else 1) * (t.b(b) if t.b else 1) for t in terms) for terms in got)
            half = {"date": 1 << multiplier.a.bits >> 3}.get(name)
            for i in range(0, 50, 17):
                columns = multiplier(torch.arange(multiplier.a.min, multiplier.a.max + 1), b[i]).double().numpy()
                rows = multiplier(a[i], torch.arange(multiplier.b.min, multiplier.b.max + 1)).double().numpy()
                if name == "ste":
                    want = float(b[i]), float(a[i])
                elif name == "lre":
                    want = regression(columns), regression(rows)
                else:
                    want = (
                        smoothed_difference(columns, half, a[i] - multiplier.a.min),
                        smoothed_difference(rows, half, b[i] - multiplier.b.min),
                    )
                assert (float(by_a[i]), float(by_b[i])) == pytest.approx(want, rel=1e-3, abs=1)


@pytest.mark.parametrize(
    "given",
    [
        lambda array: torch.from_numpy(array).requires_grad_(),
        lambda array: 2 * torch.from_numpy(array / 2).requires_grad_(),
        lambda array: torch.from_numpy(array).bfloat16(),
        lambda array: array.astype(int).tolist(),
        pytest.param(lambda array: torch.from_numpy(array).cuda(), marks=pytest.mark.cuda),
    ],
    ids=["parameter", "with a gradient", "bfloat16", "list", "cuda"],
)
def test_tables_are_given_as_arrays_of_every_kind(given):
    multiplier = MULTIPLIERS["drum s8"]()
    tables = [np.add.outer(np.arange(256) % 3, np.arange(256) % 5).astype(float) for _ in range(2)]
    layers = [
        ApproxLinear(3, 2, multiplier=multiplier, gradient=gradient)
        for gradient in (tuple(tables), tuple(given(table.copy()) for table in tables))
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1] = copy.deepcopy(layers[1])
    tables[0][:] = 0  # the layers have their own
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    a, b = (torch.autograd.grad(layer(x).sum(), layer.weight)[0] for layer in layers)
    assert torch.equal(a, b) and a.any()
    assert all(np.array_equal(*pair) for pair in zip(*(layer.gradient for layer in layers)))
    assert layers[0].gradient[0].any()


def test_bad_gradients_are_refused():
    multiplier = MULTIPLIERS["drum s8"]()

    def refused(gradient):
        with pytest.raises((TypeError, ValueError)) as caught:
            Approximate(multiplier, gradient=gradient)
        return str(caught.value)

    ones = np.ones((256, 256))
    assert refused("est") == "Approximate gradient must be one of ste, lre, date, a Date or two arrays, not 'est'"
    assert refused((ones,)).startswith("Approximate gradient must be one of ste, lre, date, a Date or two arrays, not")
    assert refused((ones[:255], ones)) == "Approximate gradient by a must be of shape (256, 256), not (255, 256)"
    assert refused((ones, ones * np.nan)) == "Approximate gradient by b must be finite"
    assert refused((ones, "x")) == "Approximate gradient by b must be an array of numbers, not 'x'"
    with pytest.raises(ValueError, match=r"^Date half_window must be at least 0, not -1$"):
        Date(-1)
    with pytest.raises(TypeError, match=r"^Date half_window must be an integer, not 1.5$"):
        Date(1.5)
    wide = random_table(Fixed(9), Fixed(9))
    noise = np.random.default_rng(0).normal(size=(512, 512))
    with pytest.raises(ValueError, match=r"^Approximate gradient must have at most rank 256 in float32, not 512$"):
        gradient_of((noise, noise), wide)
