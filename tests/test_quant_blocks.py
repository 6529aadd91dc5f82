"""Steps of blocks, the scales of OCP Microscaling, and steps of a multiplier and a shift: against plain Python."""

import math
from bisect import bisect_left
from fractions import Fraction

import pytest
import torch

from hwlut import Fixed, Requantize
from hwlut.lutnn import lookups
from hwlut.nn import Lookup
from hwlut.quant import Minifloat, Quantizer, calibrate, multiplier_and_shift

S8, S4 = Fixed(8), Fixed(4)


def reals(*shape, seed=0, scale=3.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def blocks_of(x, axis, block):
    """Every block of `x`: its places in the flattened tensor, in plain Python."""
    places = torch.arange(x.numel()).view(x.shape).movedim(axis, -1).unsqueeze(0).flatten(0, -2).tolist()
    return [row[start : start + block] for row in places for start in range(0, len(row), block)]


@pytest.mark.parametrize("shape, axis", [((3, 70), -1), ((64, 5), 0), ((2, 33, 3), 1), ((7,), 0), ((2, 0), -1)])
@pytest.mark.parametrize("steps", ["real", "power_of_two", "multiplier"])
@pytest.mark.parametrize("options", [{}, {"symmetric": False}], ids=["symmetric", "affine"])
def test_each_block_is_a_tensor_of_its_own(shape, axis, steps, options):
    x = reals(*shape)
    quantizer = Quantizer(S8, granularity="block", axis=axis, block=32, steps=steps, source="dynamic", **options)
    alone = Quantizer(S8, steps=steps, source="dynamic", **options)
    codes, step, zero = quantizer.quantize(x)
    y = quantizer(x)
    assert codes.shape == step.shape == y.shape == x.shape and zero.expand(x.shape).shape == x.shape
    seen = 0
    for places in blocks_of(x, axis, 32):
        wanted, size, zero_point = alone.quantize(x.flatten()[places])
        assert torch.equal(codes.flatten()[places], wanted)
        assert (step.flatten()[places] == size).all() and (zero.expand(x.shape).flatten()[places] == zero_point).all()
        assert torch.equal(y.flatten()[places], alone(x.flatten()[places]))
        seen += len(places)
    assert seen == x.numel()


def test_the_default_is_32_along_the_last_axis():
    quantizer = Quantizer(S8, granularity="block", steps="real", source="dynamic")
    assert quantizer.granularity.block == 32 and quantizer.granularity.axis == -1
    assert quantizer.quantize(reals(2, 64)).step.unique().numel() == 4
    assert quantizer.extra_repr() == "s8, per block of 32 of axis -1, real steps, dynamic"


def microscaled(values, format):
    """OCP Microscaling 1.0, 6.3, in fractions: the scale 2^k of a block and the values it stands for."""
    top = max((abs(Fraction(v)) for v in values), default=Fraction(0))
    if isinstance(format, Fixed):
        unit = Fraction(1, 2 ** (format.bits - 2))  # MXINT8: 2^-6
        greatest = Fraction(0)  # emax
        elements = [unit * code for code in range(format.min, format.max + 1)]
    else:
        greatest = {"e2m1": 2, "e2m3": 2, "e3m2": 4, "e4m3": 8}[format.name]
        codes = [c for c in range(format.max + 1) if c % (1 << max(c.bit_length() - format.significant, 0)) == 0]
        unit = Fraction(2) ** {"e2m1": -1, "e2m3": -3, "e3m2": -4, "e4m3": -9}[format.name]
        elements = sorted({sign * unit * code for code in codes for sign in (1, -1)})
    power = -math.inf if top == 0 else math.frexp(float(top))[1] - 1
    exponent = max(power - greatest, -126 - round(math.log2(unit)))  # no step is below 2^-126
    scale = Fraction(2) ** int(exponent)
    found = []
    for v in values:
        ratio = Fraction(v) / scale
        place = bisect_left(elements, ratio)
        around = elements[max(place - 1, 0) : place + 1]
        nearest = [e for e in around if abs(e - ratio) == min(abs(other - ratio) for other in around)]
        even = [e for e in nearest if len(nearest) == 1 or is_even(e / unit, format)]
        found.append(float(even[0] * scale))
    return float(scale * unit), found


def is_even(code, format):
    """Whether the last mantissa bit of the element is 0."""
    significant = 64 if isinstance(format, Fixed) else format.significant
    return int(abs(code)) >> max(int(abs(code)).bit_length() - significant, 0) & 1 == 0


MX = [S8, Minifloat(2, 1), Minifloat(2, 3), Minifloat(3, 2), S4]


@pytest.mark.parametrize("format", MX, ids=str)
def test_scales_of_microscaling(format):
    quantizer = Quantizer(format, granularity="block", method="mx", source="dynamic")
    x = torch.cat([reals(1, 64), reals(1, 64) * 1e-30, reals(1, 64) * 1e36, torch.zeros(1, 64)])
    x[0, 3] = 7.9999  # of its binade the last: it saturates
    x[0, 32:] = torch.arange(-16.0, 16.0) / 4  # ties
    x[1, :32] *= 1e-9  # subnormal
    x[3, 5], x[3, 40] = 2.0**-149, -4.0
    y = quantizer(x)
    steps = quantizer.quantize(x).step
    for places in blocks_of(x, -1, 32):
        step, values = microscaled(x.flatten()[places].tolist(), format)
        assert (steps.flatten()[places] == step).all()
        assert y.flatten()[places].tolist() == values
    assert "power-of-two steps of mx" in quantizer.extra_repr()


def test_microscaling_by_hand():
    x = torch.tensor([[1.0, -3.0, 7.0, 0.3]])
    e2m1 = Quantizer(Minifloat(2, 1), granularity="block", block=4, method="mx", source="dynamic")
    assert e2m1(x).tolist() == [[1.0, -3.0, 6.0, 0.5]]  # 2^(2 - 2) times 0, 0.5, 1, 1.5, 2, 3, 4, 6
    int8 = Quantizer(S8, granularity="block", block=4, method="mx", source="dynamic")
    assert int8.quantize(x).step.unique().tolist() == [2.0**-4]  # 2^2 times 2^-6
    assert int8(torch.tensor([[7.99, 0, 0, 0]])).tolist() == [[7.9375, 0, 0, 0]]
    e4m3 = Quantizer(Minifloat(4, 3), granularity="token", method="mx", source="dynamic")
    assert e4m3(torch.tensor([[500.0, 1.0]])).tolist() == [[448.0, 1.0]]


@pytest.mark.parametrize("granularity", ["tensor", "token", "channel"])
def test_microscaling_of_other_groups(granularity):
    quantizer = Quantizer(S8, granularity=granularity, method="mx", source="dynamic")
    x = reals(4, 5)
    top = {"tensor": x.abs().max(), "token": x.abs().amax(1, True), "channel": x.abs().amax(1, True)}[granularity]
    assert torch.equal(quantizer.quantize(x).step, 2.0 ** (top.log2().floor() - 6))


@pytest.mark.parametrize("options", [{}, {"method": "mx"}], ids=["minmax", "mx"])
def test_gradient_and_compiled_blocks(options):
    quantizer = Quantizer(S4, granularity="block", source="dynamic", **options)
    x = reals(3, 40).requires_grad_()
    y = quantizer(x)
    weights = reals(3, 40, seed=1)
    (y * weights).sum().backward()
    outside = (x - y).abs() > quantizer.quantize(x).step / 2
    assert torch.equal(x.grad, torch.where(outside, 0.0, weights))
    assert outside.any() == (options != {})
    torch.compiler.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), y)
    program = torch.export.export(quantizer, (x.detach(),))
    assert torch.equal(program.module()(x.detach()), y)


def rounded(step, bits):
    """The nearest m * 2^-k, half to even, in fractions."""
    scale = Fraction(2) ** (bits - 1 - (math.frexp(step)[1] - 1))
    return float(round(Fraction(step) * scale) / scale)


@pytest.mark.parametrize("bits", [1, 2, 8, 16, 23])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "affine"])
def test_steps_are_a_multiplier_and_a_shift(bits, granularity, symmetric):
    options = {"granularity": granularity, "symmetric": symmetric, "steps": "multiplier", "multiplier_bits": bits}
    x = reals(6, 50, scale=1.7)
    for more in ({"method": "minmax"}, {"method": "mse"}, {"source": "dynamic"}, {"source": "learned"}):
        quantizer = Quantizer(S8, **options, **more)
        quantizer.observe(x)
        quantized = quantizer.quantize(x)
        multipliers, shifts = multiplier_and_shift(quantized.step)
        assert len(multipliers) == len(shifts) == (6 if granularity == "channel" else 1)
        for m, shift, step in zip(multipliers, shifts, quantized.step.flatten().tolist()):
            assert m < 1 << bits and Fraction(m, 1 << shift) == Fraction(step)
        real = Quantizer(S8, granularity=granularity, symmetric=symmetric, steps="real", source="dynamic")
        ratio = quantized.step / real.quantize(x).step
        if more == {"method": "minmax"} or more == {"source": "dynamic"}:  # the finest that holds all
            assert (ratio >= 1).all() and (ratio <= 1 + 2.0 ** (1 - bits)).all()
            assert (quantizer(x) - x).abs().max() <= quantized.step.max() * 0.5001 * (1 if symmetric else 2)


def test_a_learned_step_is_rounded_straight_through():
    plain, quantizer = (Quantizer(S4, steps=steps, source="learned") for steps in ("real", "multiplier"))
    x = reals(300)
    for value in (0.3, 0.7771, 1e-3, 1.9999, 3.0e38, 1e-39):
        quantizer.load_state_dict({"step": torch.tensor(value)})
        wanted = rounded(min(max(quantizer.step.item(), 2.0**-126), 255 * 2.0**120), 8)
        assert quantizer.quantize(x).step.item() == wanted
        plain.load_state_dict({"step": torch.tensor(wanted)})
        assert torch.equal(quantizer(x), plain(x))
        for one in (plain, quantizer):
            one.zero_grad()
            one(x).sum().backward()
        if value > 1e-20:
            assert plain.step.grad == quantizer.step.grad != 0


def test_the_extremes_of_multiplier_steps():
    quantizer = Quantizer(S8, steps="multiplier", multiplier_bits=2, source="dynamic")
    for top in (3.4e38, 1e38, 1e37, 1e-37, 1e-45, 0.0):
        y = quantizer(torch.tensor([top, -top]))
        assert y.isfinite().all()
        assert (y.abs() - top).abs().max() <= max(top * 0.5, 2.0**-127)


def test_multiplier_and_shift_meet_requantize():
    steps = torch.tensor([0.75, 3.0, 2.0**-30, 160.0])
    assert multiplier_and_shift(steps) == ((3, 3, 1, 160), (2, 0, 30, 0))
    multipliers, shifts = multiplier_and_shift(steps[:1])
    unit = Requantize(input=Fixed(16), multipliers=multipliers, shifts=shifts, output=S8, rounding="half_even")
    assert unit(torch.tensor([10, 11, 12])).tolist() == [8, 8, 9]  # 7.5, 8.25, 9
    for step in (0.0, -1.0, math.inf, 2.0**-63, 2.0**31):
        with pytest.raises(ValueError, match="^step must be m \\* 2\\^-shift with m from 1 to 2\\^31 - 1 and shift"):
            multiplier_and_shift(torch.tensor(step))


def test_a_kept_multiplier_step():
    quantizer = Quantizer(S8, steps="multiplier", multiplier_bits=4)
    calibrate(quantizer, [reals(50)])
    other = Quantizer(S8, steps="multiplier", multiplier_bits=4)
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other(reals(50)), quantizer(reals(50)))
    assert quantizer.extra_repr() == "s8, steps of 4 bits"
    with pytest.raises(RuntimeError, match=r"step must be m \* 2\^-k with m below 2\^4, not 0.265625"):
        other.load_state_dict({"step": torch.tensor(17 / 64)})


def test_look_ups_keep_the_bits_of_a_multiplier():
    activations = Quantizer(S8, steps="multiplier", multiplier_bits=6)
    found = lookups.from_json(lookups.to_json(Lookup(activations=activations))).activations
    assert found.steps == activations.steps and found.steps.bits == 6


REFUSALS = [
    (
        {"granularity": "block"},
        ValueError,
        "Quantizer source must be dynamic where each block has its step, not static",
    ),
    ({"block": 16}, ValueError, "Quantizer block must be left out where the granularity is tensor, not 16"),
    (
        {"granularity": "block", "source": "dynamic", "block": 0},
        ValueError,
        "Quantizer block must be at least 1, not 0",
    ),
    (
        {"granularity": "block", "source": "dynamic", "block": 1.5},
        TypeError,
        "Quantizer block must be an integer, not 1.5",
    ),
    ({"method": "mx"}, ValueError, "Quantizer source must be dynamic where the method is mx, not static"),
    (
        {"method": "mx", "source": "dynamic", "steps": "real"},
        ValueError,
        "Quantizer steps must be power_of_two where the method is mx, not real",
    ),
    (
        {"method": "mx", "source": "dynamic", "scales": (1, 2)},
        ValueError,
        "Quantizer scales must be left out where the method is mx, not (1, 2)",
    ),
    (
        {"method": "mx", "source": "dynamic", "symmetric": False},
        ValueError,
        "Quantizer format must be signed and symmetric where the method is mx",
    ),
    (
        {"multiplier_bits": 8},
        ValueError,
        "Quantizer multiplier_bits must be left out where steps are power_of_two, not 8",
    ),
    (
        {"steps": "multiplier", "multiplier_bits": 24},
        ValueError,
        "Quantizer multiplier_bits must be from 1 to 23, not 24",
    ),
    (
        {"steps": "multiplier", "multiplier_bits": 8.0},
        TypeError,
        "Quantizer multiplier_bits must be an integer, not 8.0",
    ),
    (
        {"steps": "multiplier", "scales": (1,)},
        ValueError,
        "Quantizer scales must be left out where steps are multiplier, not (1,)",
    ),
]


@pytest.mark.parametrize("options, error, message", REFUSALS, ids=[str(place) for place in range(len(REFUSALS))])
def test_options_that_make_no_sense(options, error, message):
    with pytest.raises(error) as caught:
        Quantizer(S8, **options)
    assert str(caught.value) == message


def test_inputs_without_the_axis():
    quantizer = Quantizer(S8, granularity="block", axis=1, source="dynamic")
    with pytest.raises(ValueError, match=r"^Quantizer input must have the axis 1, not shape \(4,\)$"):
        quantizer(torch.ones(4))
