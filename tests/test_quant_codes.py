"""Codes of every kind of quantizer: against numpy, against PyTorch's own quantization, and by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from hwlut import Fixed
from hwlut.quant import Quantized, Quantizer

S8, U8, S4 = Fixed(8), Fixed(8, signed=False), Fixed(4)
GROUPS = [
    (granularity, source)
    for granularity in ("tensor", "channel", "token")
    for source in ("static", "dynamic", "learned")
    if granularity != "token" or source == "dynamic"
]
KINDS = {
    "-".join((granularity, source, steps, "symmetric" if symmetric else "affine")): {
        "granularity": granularity,
        "source": source,
        "steps": steps,
        "symmetric": symmetric,
    }
    for (granularity, source), steps, symmetric in itertools.product(GROUPS, ("real", "power_of_two"), (True, False))
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, format=S8, x=None, **arguments):
    quantizer = Quantizer(format, **{"method": "minmax", "axis": 1, **KINDS[kind], **arguments})
    if x is not None:
        quantizer.observe(x)
    return quantizer


def reals(*shape, seed=0, scale=3.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale + 0.5


def numpy_ranges(x, granularity):
    """Least and greatest of each group and zero, kept in x's dimensions."""
    x = x.numpy()
    axes = {"tensor": None, "channel": tuple(d for d in range(x.ndim) if d != 1), "token": -1}[granularity]
    return np.minimum(x.min(axes, keepdims=True), 0), np.maximum(x.max(axes, keepdims=True), 0)


@each_kind
@pytest.mark.parametrize("format", [S8, U8, S4, Fixed(16)], ids=str)
def test_codes_are_those_of_numpy(kind, format):
    x = reals(3, 5, 4)
    options = KINDS[kind]
    quantizer = made(kind, format, x)
    low, high = numpy_ranges(x, options["granularity"])
    if options["symmetric"]:
        wanted = np.maximum(high / format.max, low / format.min if format.signed else 0)
    else:
        wanted = (high - low) / (format.max - format.min)
    wanted = np.where(wanted > 0, wanted, 1 if options["steps"] == "real" else 2.0**-30)
    codes, step, zero = (part.numpy() for part in quantizer.quantize(x))
    assert (codes.dtype, step.dtype, zero.dtype) == (np.int32, np.float32, np.int32)
    assert np.broadcast_shapes(step.shape, zero.shape, x.shape) == x.shape
    if options["steps"] == "real":
        np.testing.assert_allclose(np.broadcast_to(step, wanted.shape), wanted, rtol=1e-6)
    else:
        assert np.all(np.frexp(step)[0] == 0.5)
        assert np.all((step >= wanted * 0.99) & (step < wanted * 2.1))
    if options["symmetric"]:
        assert not zero.any()
    assert np.all((zero >= format.min) & (zero <= format.max))
    expected = np.clip(np.rint(x.numpy() / step) + zero, format.min, format.max)
    np.testing.assert_array_equal(codes, expected)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_forward_codes_and_values_are_one(kind, dtype):
    x = reals(7, 5, 9).to(dtype)
    quantizer = made(kind, x=x)
    for given in (x, x * 1.7, x.transpose(0, 2), x[:, :, ::2]):
        quantized = quantizer.quantize(given)
        assert torch.equal(quantizer.codes(given), quantized.codes)
        assert quantizer(given).dtype == dtype
        values = (quantized.codes - quantized.zero_point).to(torch.promote_types(dtype, torch.float32)) * quantized.step
        assert torch.equal(quantizer(given), values.to(dtype))
        with_gradient = quantizer(given.clone().requires_grad_()).detach()
        assert torch.equal(with_gradient.signbit(), values.signbit()) and torch.equal(with_gradient, values.to(dtype))
        assert torch.equal(quantizer(given).signbit(), values.signbit())  # no negative zeros either
        assert quantized.values().dtype == torch.float32
        if quantizer.source != "dynamic":
            assert torch.equal(quantizer.values(quantized.codes), quantized.values())


@each_kind
def test_zero_is_a_code(kind):
    for x in (reals(4, 5, 6), reals(4, 5, 6).abs() + 1, -reals(4, 5, 6).abs() - 1):
        quantizer = made(kind, x=x)
        x[0, :, :] = 0
        quantized = quantizer.quantize(x)
        assert (quantized.values()[0] == 0).all() and (quantizer(x)[0] == 0).all()


@each_kind
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, -1e-40, 3e38, 1e-30])
def test_constant_tensors(kind, value):
    x = torch.full((2, 3, 4), value)
    quantized = made(kind, x=x).quantize(x)
    assert (quantized.step.isfinite() & (quantized.step > 0)).all()
    if value == 0:
        assert (quantized.step == (1.0 if KINDS[kind]["steps"] == "real" else 2.0**-30)).all()
    if abs(value) == 3.0:
        assert (quantized.values() - x).abs().max() <= quantized.step.max() / 2
    if 1e-30 <= abs(value) < 1e38 and KINDS[kind]["steps"] == "real":
        torch.testing.assert_close(quantized.values(), x, rtol=5e-3, atol=0)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "affine"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_the_largest_floats(symmetric, signed):
    largest = torch.finfo(torch.float32).max
    for bits in range(2, 25):
        quantizer = Quantizer(Fixed(bits, signed=signed), steps="real", symmetric=symmetric, source="dynamic")
        for low, high in ((-1, 1), (-1, 0), (0, 1), (-1, 0.9), (-1, 0.77), (-0.77, 1), (-0.999999, 1)):
            x = torch.tensor([low * largest, 0.0, high * largest])
            quantized, y = quantizer.quantize(x), quantizer(x)
            assert quantized.step.isfinite() and quantized.values().isfinite().all() and y.isfinite().all()
            if not symmetric:
                lost = float((y.double() - x.double()).abs().max())
                assert lost <= float(quantized.step) + largest * 2.0**-19, (bits, low, high)


@each_kind
def test_empty_tensors(kind):
    quantizer = made(kind, x=reals(2, 5, 3))
    for shape in ((0, 5, 3), (2, 5, 0)):
        quantized = quantizer.quantize(torch.empty(shape))
        assert quantized.codes.shape == shape and quantized.codes.dtype == torch.int32
        assert quantizer(torch.empty(shape)).shape == shape
        quantizer(torch.empty(shape, requires_grad=True)).sum().backward()


@each_kind
def test_what_is_not_finite(kind):
    x = reals(3, 5, 6)
    quantizer = made(kind, x=x)
    plain = quantizer.quantize(x)
    x[0, 0, 0], x[1, 1, 1], x[2, 2, 2] = math.nan, math.inf, -math.inf
    codes, step, zero = quantizer.quantize(x)
    assert codes[0, 0, 0] == zero.broadcast_to(x.shape)[0, 0, 0]
    assert codes[1, 1, 1] == 127 and codes[2, 2, 2] == -128
    assert step.isfinite().all() and (step > 0).all()
    if quantizer.source != "dynamic":
        assert torch.equal(step, plain.step)
    y = quantizer(x)
    assert y[0, 0, 0].isnan() and int(y.isfinite().sum()) == x.numel() - 1


def test_asymmetric_codes_by_hand():
    quantizer = Quantizer(U8, steps="real", symmetric=False, method="minmax")
    quantizer.observe(torch.tensor([-1.0, 4.1]))  # 255 steps of 0.02 from -50 to 205
    codes, step, zero = quantizer.quantize(torch.tensor([-1.0, -9.0, 0.0, 0.021, 0.05, 4.1, 9.0]))
    assert step.item() == pytest.approx(0.02) and zero.item() == 50
    assert codes.tolist() == [0, 0, 50, 51, 52, 255, 255]
    assert Quantizer(S8, symmetric=False, scales=range(9)).calibrated is False
    powers = Quantizer(S4, symmetric=False, source="dynamic")  # 15 steps of 1/4 hold -1 to 2.75
    codes, step, zero = powers.quantize(torch.tensor([-1.0, 2.75, 0.3]))
    assert (codes.tolist(), step.item(), zero.item()) == ([-8, 7, -3], 0.25, -4)
    narrow = powers.quantize(torch.tensor([-1.0, 1.0]))  # 17 codes of 1/8, so 9 of 1/4, the lowest first
    assert (narrow.codes.tolist(), narrow.step.item(), narrow.zero_point.item()) == ([-8, 0], 0.25, -4)
    assert powers.quantize(torch.tensor([-1.0, 2.9])).step.item() == 0.5  # 2.9 / 0.25 rounds to 12: a 17th code


def test_symmetric_steps_use_the_whole_code_range():
    for values, step in (([-1.28, 1.0], 0.01), ([1.27, -1.0], 0.01), ([0.0, -2.56], 0.02), ([2.54], 0.02)):
        quantizer = Quantizer(S8, steps="real", source="dynamic")
        assert quantizer.quantize(torch.tensor(values)).step.item() == pytest.approx(step, rel=1e-6)
    unsigned = Quantizer(U8, steps="real", source="dynamic").quantize(torch.tensor([5.1, -9.0]))
    assert unsigned.step.item() == pytest.approx(0.02) and unsigned.codes.tolist() == [255, 0]


def test_ties_go_to_the_even_code_before_the_zero_point():
    quantizer = Quantizer(S8, steps="real", symmetric=False, method="minmax")
    quantizer.load_state_dict({"step": torch.tensor(0.5), "zero_point": torch.tensor(3)})
    x = torch.tensor([0.25, 0.75, 1.25, -0.25, -0.75, -1.25])
    assert quantizer.codes(x).tolist() == [3, 5, 5, 3, 1, 1]


def test_the_division_is_rounded_once_to_float32():
    """Codes next to a tie, against exact rational arithmetic on the float32 quotient."""
    step = np.float32(0.1)
    x = (np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)) * step
    quantizer = Quantizer(Fixed(12), steps="real")
    quantizer.load_state_dict({"step": torch.tensor(0.1)})
    codes = quantizer.codes(torch.from_numpy(x))
    for value, code in zip(x, codes.tolist()):
        exact = Fraction(float(value)) / Fraction(float(step))
        nearest = np.float32(exact.numerator / exact.denominator)  # float64 first: 53 > 2 * 24 + 1 bits, so once
        assert code == round(Fraction(float(nearest)))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_pytorch_quantizes_alike(signed):
    low, high, dtype = (-128, 127, torch.qint8) if signed else (0, 255, torch.quint8)
    x = reals(16, 8, 5)
    quantizer = Quantizer(Fixed(8, signed=signed), steps="real", symmetric=False, granularity="channel", axis=1)
    steps, zeros = torch.tensor([2.0**-k for k in range(8)]) / 4, torch.arange(low, low + 160, 20, dtype=torch.int32)
    quantizer.load_state_dict({"step": steps, "zero_point": zeros})
    theirs = torch.fake_quantize_per_channel_affine(x, steps, zeros, 1, low, high)
    assert torch.equal(quantizer(x), theirs)
    one = Quantizer(Fixed(8, signed=signed), steps="real", symmetric=False)
    one.load_state_dict({"step": steps[3], "zero_point": zeros[3]})
    assert torch.equal(one(x), torch.fake_quantize_per_tensor_affine(x, steps[3], zeros[3], low, high))


def test_pytorch_takes_the_same_gradient():
    x = reals(1000).requires_grad_()
    other = x.detach().clone().requires_grad_()
    quantizer = Quantizer(S8, steps="real", symmetric=False)
    quantizer.load_state_dict({"step": torch.tensor(2.0**-6), "zero_point": torch.tensor(-20)})
    weights = torch.randn(1000)
    (quantizer(x) * weights).sum().backward()
    (torch.fake_quantize_per_tensor_affine(other, 2.0**-6, -20, -128, 127) * weights).sum().backward()
    assert torch.equal(x.grad, other.grad) and 0 < int((x.grad == 0).sum()) < 1000


@each_kind
def test_gradient_is_one_inside_the_range_and_zero_outside(kind):
    x = reals(4, 5, 40, scale=1.0)
    quantizer = made(kind, x=x * 0.3)
    x.requires_grad_()
    weights = torch.rand(x.shape) + 0.5
    (quantizer(x) * weights).sum().backward()
    codes, step, zero = quantizer.quantize(x)
    rounded = torch.round(x.detach() / step) + zero
    inside = (rounded >= -128) & (rounded <= 127)
    assert torch.equal(x.grad, torch.where(inside, weights, 0.0))
    assert KINDS[kind]["source"] == "dynamic" or not inside.all()


def test_channels_are_counted_along_their_axis():
    x = reals(4, 3, 6, 6) * torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1)
    for axis in (1, -3):
        quantizer = Quantizer(S8, steps="real", granularity="channel", axis=axis, method="minmax")
        quantizer.observe(x)
        for channel in range(3):
            alone = Quantizer(S8, steps="real", method="minmax")
            alone.observe(x[:, channel])
            assert quantizer.step[channel] == alone.step
            assert torch.equal(quantizer.codes(x)[:, channel], alone.codes(x[:, channel]))
    weight = Quantizer(S8, steps="real", granularity="channel", method="minmax")
    weight.observe(torch.tensor([1.27, 2.54]))
    assert weight.codes(torch.tensor([1.27, 1.27])).tolist() == [127, 64]


def test_tokens_stand_alone():
    x = reals(2, 3, 8)
    quantizer = Quantizer(S8, steps="real", granularity="token", source="dynamic", symmetric=False)
    codes, step, zero = quantizer.quantize(x)
    assert step.shape == zero.shape == (2, 3, 1)
    for place in itertools.product(range(2), range(3)):
        alone = Quantizer(S8, steps="real", source="dynamic", symmetric=False).quantize(x[place])
        assert torch.equal(codes[place], alone.codes) and step[place].item() == alone.step.item()


def test_dynamic_ranges_follow_every_input():
    quantizer = Quantizer(S8, steps="real", source="dynamic")
    assert quantizer.calibrated and not quantizer.state_dict()
    for mode in (True, False):
        quantizer.train(mode)
        for top in (1.27, 254.0):
            assert quantizer.quantize(torch.tensor([top])).step.item() == pytest.approx(top / 127)


def test_quantized_is_three_tensors():
    quantized = Quantized(torch.tensor([3, 5]), torch.tensor(0.5), torch.tensor(4))
    assert quantized.values().tolist() == [-0.5, 0.5]
    quantizer = Quantizer(S8, steps="real", method="minmax")
    quantizer.observe(torch.tensor([1.0]))
    before = quantizer.quantize(torch.tensor([1.0]))
    quantizer.observe(torch.tensor([9.0]))
    assert before.step.item() == pytest.approx(1 / 127)  # not a view of the state


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_under_autocast(dtype):
    layer = torch.nn.Linear(6, 6)
    net = torch.nn.Sequential(layer, Quantizer(S8, steps="real", source="dynamic"))
    x = reals(4, 6)
    with torch.autocast("cpu", dtype=dtype):
        y = net(x)
        hidden = layer(x)
        assert y.dtype == hidden.dtype == dtype
        assert torch.equal(y, net[1].quantize(hidden).values().to(dtype))
