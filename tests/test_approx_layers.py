"""Approximate layers: every sum against a naive loop over the multiplier, every result against torch's own."""

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
    ApproxLinear,
)
from hwlut.nn.geometry import pads
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

S8, U8 = Fixed(8), Fixed(8, signed=False)


def random_table(a=S8, b=S8, seed=0):
    """A multiplier like no other: zero times something is not zero."""
    products = np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, (1 << a.bits, 1 << b.bits))
    return Multiplier(family="table", a=a, b=b, products=products, name=f"table_{seed}")


MULTIPLIERS = {
    "exact s8": lambda: Multiplier(family="exact", signed=True),
    "exact u8": lambda: Multiplier(family="exact"),
    "exact u8 s8": lambda: Multiplier(family="exact", a=U8, b=S8),
    "table s8": random_table,
    "table u8": lambda: random_table(U8, U8),
    "table s4 u6": lambda: random_table(Fixed(4), Fixed(6, signed=False)),
    "drum u8": lambda: Multiplier(family="drum", k=4),
    "mitchell s8": lambda: Multiplier(family="mitchell", signed=True),
    "drum s12": lambda: Multiplier(family="drum", bits=12, signed=True, k=5),
    "exact u16 s9": lambda: Multiplier(family="exact", a=Fixed(16, signed=False), b=Fixed(9)),
}
some = pytest.mark.parametrize("label", ["exact s8", "exact u8", "table u8", "table s4 u6"])

CONVOLUTIONS = {
    "plain": (ApproxConv2d, (3, 4, 3), {}, (7, 6)),
    "not square": (ApproxConv2d, (3, 4, (2, 3)), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}, (7, 6)),
    "groups": (ApproxConv2d, (4, 6, (3, 1)), {"groups": 2, "padding": 1, "stride": 2}, (6, 5)),
    "depthwise": (ApproxConv2d, (3, 6, 3), {"groups": 3, "padding": 1, "bias": False}, (5, 5)),
    "same": (ApproxConv2d, (2, 3, (2, 4)), {"padding": "same", "dilation": (3, 1)}, (6, 7)),
    "valid": (ApproxConv2d, (2, 3, 1), {"padding": "valid"}, (3, 4)),
    "reflect": (ApproxConv2d, (2, 3, 3), {"padding": (1, 2), "padding_mode": "reflect"}, (4, 5)),
    "replicate": (ApproxConv2d, (2, 3, 2), {"padding": "same", "padding_mode": "replicate"}, (4, 5)),
    "circular": (ApproxConv2d, (2, 3, 3), {"padding": 2, "padding_mode": "circular", "stride": 2}, (4, 5)),
    "1d": (ApproxConv1d, (4, 4, 3), {"padding": 2, "dilation": 2, "groups": 4, "stride": 3}, (11,)),
    "3d": (ApproxConv3d, (2, 2, (1, 2, 3)), {"padding": (1, 0, 1), "stride": (1, 2, 1), "groups": 2}, (3, 4, 4)),
}


def quantizers(multiplier, **options):
    """One for each operand, of the sharing and symmetry that is asked for."""
    activations = {"steps": "real", "symmetric": multiplier.a.signed, "source": "dynamic"}
    weights = {"steps": "real", "symmetric": multiplier.b.signed, "source": "dynamic", "granularity": "channel"}
    return {
        "activations": Quantizer(multiplier.a, **activations | options.get("activations", {})),
        "weights": Quantizer(multiplier.b, **weights | options.get("weights", {})),
    }


def codes(quantizer, x):
    """int64 codes and zero points of each value, as numpy arrays."""
    quantized = quantizer.quantize(x.detach())
    return quantized.codes.numpy().astype(np.int64), quantized.zero_point.expand(x.shape).numpy().astype(np.int64)


def naive_pairs(layer, x):
    """For every place of the result, the flat places of x (-1: padding) and of the weight that meet there."""
    kernel, sizes = layer.kernel_size, x.shape[2:]
    span = [d * (k - 1) for d, k in zip(layer.dilation, kernel)]
    before = {"same": [s // 2 for s in span], "valid": [0] * len(kernel)}.get(str(layer.padding), layer.padding)
    after = {"same": [s - s // 2 for s in span], "valid": [0] * len(kernel)}.get(str(layer.padding), layer.padding)
    out = [(n + b + a - s - 1) // t + 1 for n, b, a, s, t in zip(sizes, before, after, span, layer.stride)]
    places = np.arange(x.numel()).reshape(x.shape)
    weights = np.arange(layer.weight.numel()).reshape(layer.weight.shape)
    per_group = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    for n, o, *at in itertools.product(range(len(x)), range(layer.out_channels), *map(range, out)):
        pairs = []
        for c, *k in itertools.product(range(per_group[1]), *map(range, kernel)):
            place = [a * s + i * d - b for a, s, i, d, b in zip(at, layer.stride, k, layer.dilation, before)]
            inside = all(0 <= p < size for p, size in zip(place, sizes))
            channel = o // per_group[0] * per_group[1] + c
            pairs.append((places[(n, channel, *place)] if inside else -1, weights[(o, c, *k)]))
        yield pairs


def naive(multiplier, pairs, x, w):
    """Sums of products, plain and of codes less zero points, for (codes, zero points) of each operand."""
    (cx, zx), (cw, zw) = ([values.reshape(-1) for values in side] for side in (x, w))
    i, j = np.moveaxis(np.array(list(pairs)), -1, 0)  # [results, products of each]
    za, zb, b = zx[np.maximum(i, 0)], zw[j], cw[j]
    a = np.where(i >= 0, cx[np.maximum(i, 0)], zx[0])
    products = multiplier(torch.from_numpy(a), torch.from_numpy(b)).numpy().astype(np.int64)
    return products.sum(1).tolist(), (products - zb * a - za * b + za * zb).sum(1)


def scaled(corrected, shape, step_x, step_w, bias):
    """The documented float32 arithmetic, in numpy."""
    total = corrected.astype(np.float32).reshape(shape)
    result = total * (step_x * step_w)
    return result if bias is None else result + bias


@pytest.mark.parametrize("label", MULTIPLIERS)
def test_linear_is_a_loop_over_the_multiplier(label):
    torch.manual_seed(0)
    multiplier = MULTIPLIERS[label]()
    layer, x = ApproxLinear(5, 3, multiplier=multiplier), torch.randn(2, 4, 5) * 3
    pairs = [[(m * 5 + k, n * 5 + k) for k in range(5)] for m in range(8) for n in range(3)]
    sides = codes(layer.activation_quantizer, x), codes(layer.weight_quantizer, layer.weight)
    plain, corrected = naive(multiplier, pairs, *sides)
    assert layer.exact
    assert layer.accumulators(x).flatten().tolist() == plain
    step_x = layer.activation_quantizer.quantize(x).step.numpy()
    step_w = layer.weight_quantizer.quantize(layer.weight).step.flatten().numpy()
    want = scaled(corrected, (2, 4, 3), step_x, step_w, layer.bias.detach().numpy())
    for module in (layer.train(), layer.eval()):
        assert np.array_equal(module(x).detach().numpy(), want)
        with torch.no_grad():
            assert np.array_equal(module(x).numpy(), want)


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("label", ["exact u8", "table s8", "table u8"])
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_convolution_is_a_loop_over_the_multiplier(shape, label):
    torch.manual_seed(0)
    kind, arguments, options, sizes = CONVOLUTIONS[shape]
    multiplier = MULTIPLIERS[label]()
    layer, x = kind(*arguments, multiplier=multiplier, **options), torch.randn(2, arguments[0], *sizes)
    real, twin = x, layer
    if layer.padding_mode != "zeros":  # torch's own padding, of real numbers
        sides = [side for pad in reversed(pads(layer)) for side in pad]
        real, twin = nn.functional.pad(x, sides, layer.padding_mode), copy.copy(layer)
        twin.padding = (0,) * len(sizes)
    sides = codes(layer.activation_quantizer, real), codes(layer.weight_quantizer, layer.weight)
    plain, corrected = naive(multiplier, naive_pairs(twin, real), *sides)
    result = layer(x)
    assert result.shape == layer.restored()(x).shape and result.is_contiguous()
    assert layer.accumulators(x).flatten().tolist() == plain
    steps = layer.activation_quantizer.quantize(real).step.numpy(), layer.weight_quantizer.quantize(layer.weight).step
    ones = (1,) * len(sizes)
    bias = None if layer.bias is None else layer.bias.detach().view(-1, *ones).numpy()
    want = scaled(corrected, result.shape, steps[0], steps[1].view(-1, *ones).numpy(), bias)
    assert np.array_equal(result.detach().numpy(), want)
    assert np.array_equal(layer.eval()(x).detach().numpy(), want)
    assert torch.equal(layer(x[0]), layer(x[:1])[0])  # without a batch


TRANSPOSED = {
    "plain": (ApproxConvTranspose2d, (3, 2, 3), {}, (3, 4)),
    "not square": (ApproxConvTranspose2d, (2, 3, (3, 2)), {"stride": (2, 3), "padding": (1, 0)}, (4, 3)),
    "groups": (ApproxConvTranspose2d, (4, 6, 3), {"groups": 2, "stride": 2, "output_padding": (1, 0)}, (3, 3)),
    "depthwise": (ApproxConvTranspose2d, (3, 3, 2), {"groups": 3, "dilation": 2, "bias": False}, (3, 2)),
    "1d": (ApproxConvTranspose1d, (2, 2, 4), {"stride": 3, "padding": 2, "output_padding": 2}, (5,)),
    "3d": (
        ApproxConvTranspose3d,
        (2, 4, (1, 2, 3)),
        {"stride": (1, 2, 1), "groups": 2, "padding": (0, 1, 0)},
        (2, 3, 2),
    ),
}


@pytest.mark.parametrize("label", ["exact u8", "table s8", "table u8"])
@pytest.mark.parametrize("shape", TRANSPOSED)
def test_transposed_convolution_is_a_loop_over_the_multiplier(shape, label):
    torch.manual_seed(0)
    kind, arguments, options, sizes = TRANSPOSED[shape]
    multiplier = MULTIPLIERS[label]()
    layer, x = kind(*arguments, multiplier=multiplier, **options), torch.randn(2, arguments[0], *sizes)
    result = layer(x)
    assert result.shape == layer.restored()(x).shape and result.is_contiguous()
    cx, zx = codes(layer.activation_quantizer, x)
    groups, inner, outer = layer.groups, layer.in_channels // layer.groups, layer.out_channels // layer.groups
    per_channel = layer.weight.unflatten(0, (groups, inner)).transpose(1, 2).flatten(0, 1)  # [out, in, ...]
    cw, zw = codes(layer.weight_quantizer, per_channel)
    plain, corrected = (np.zeros(result.shape, dtype=np.int64) for _ in range(2))
    for n, o, c, *rest in itertools.product(*map(range, (2, layer.out_channels, inner, *sizes, *layer.kernel_size))):
        at, k = rest[: len(sizes)], rest[len(sizes) :]
        steps = zip(at, k, layer.stride, layer.dilation, layer.padding)
        place = (n, o, *(i * stride + j * dilation - padding for i, j, stride, dilation, padding in steps))
        if min(place) < 0 or any(p >= size for p, size in zip(place, result.shape)):
            continue
        i, j = (n, o // outer * inner + c, *at), (o, c, *k)
        product = int(TABLE[label][cx[i] - multiplier.a.min, cw[j] - multiplier.b.min])
        plain[place] += product
        corrected[place] += product - zw[j] * cx[i] - zx[i] * cw[j] + zx[i] * zw[j]
    assert np.array_equal(layer.accumulators(x).numpy(), plain)
    ones = (1,) * len(sizes)
    step_w = layer.weight_quantizer.quantize(per_channel).step.view(-1, *ones).numpy()
    bias = None if layer.bias is None else layer.bias.detach().view(-1, *ones).numpy()
    want = scaled(corrected, result.shape, layer.activation_quantizer.quantize(x).step.numpy(), step_w, bias)
    assert np.array_equal(result.detach().numpy(), want)
    assert np.array_equal(layer.eval()(x).detach().numpy(), want)
    assert torch.equal(layer(x[0]), layer(x[:1])[0])


TABLE = {label: MULTIPLIERS[label]().products() for label in ("exact u8", "table s8", "table u8")}


def test_transposed_convolution_takes_an_output_size():
    layer = ApproxConvTranspose2d(2, 2, 3, stride=3, multiplier=MULTIPLIERS["exact s8"]())
    x = torch.randn(1, 2, 4, 4)
    assert layer(x, output_size=[14, 13]).shape == (1, 2, 14, 13)
    with pytest.raises(ValueError, match="requested an output size"):
        layer(x, output_size=[15, 13])


@pytest.mark.parametrize("shape", CONVOLUTIONS)
@pytest.mark.parametrize("label", ["exact s8", "exact u8", "exact u8 s8"])
@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
def test_exact_convolution_is_torch_on_quantized_numbers(shape, label):
    torch.manual_seed(0)
    kind, arguments, options, sizes = CONVOLUTIONS[shape]
    layer = kind(*arguments, multiplier=MULTIPLIERS[label](), **options)
    x = torch.randn(2, arguments[0], *sizes, requires_grad=True)
    x_values, x_zero = codes(layer.activation_quantizer, x)
    w_values, w_zero = codes(layer.weight_quantizer, layer.weight)
    plain = copy.deepcopy(layer.restored()).double()
    with torch.no_grad():  # integers, exact in float64
        plain.weight.copy_(torch.from_numpy(w_values - w_zero))
        integers = plain._conv_forward(torch.from_numpy(x_values - x_zero).double(), plain.weight, None)
    step = layer.activation_quantizer.quantize(x).step * layer.weight_quantizer.quantize(layer.weight).step.flatten()
    ones = (1,) * len(sizes)
    want = integers.float() * step.view(-1, *ones)
    if layer.bias is not None:
        want = want + layer.bias.detach().view(-1, *ones)
    assert torch.equal(layer(x), want)


def test_sums_beyond_float32_are_exact():
    def integers(bits, features):
        both = {
            "activations": Quantizer(Fixed(bits, 0, signed=False)),
            "weights": Quantizer(Fixed(bits, 0, signed=False)),
        }
        return ApproxLinear(*features, bias=False, multiplier=Multiplier(family="exact", bits=bits), **both)

    layer = integers(8, (4608, 2))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[255.0] * 4608, [255.0] * 4607 + [254.0]]))
    totals = layer.accumulators(torch.full((1, 4608), 255.0))
    assert totals.tolist() == [[4608 * 255 * 255, 4608 * 255 * 255 - 255]]
    layer = integers(16, (3, 1))
    nn.init.constant_(layer.weight, 65535.0)
    totals = layer.accumulators(torch.full((1, 3), 65535.0))
    assert totals.dtype == torch.int64 and totals.item() == 3 * 65535**2
