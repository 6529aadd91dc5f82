"""Small floating point: against torch.float8 bit for bit, against an enumeration in fractions, and by hand."""

import math
from bisect import bisect_left
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut import Fixed
from hwlut.quant import Minifloat, Quantizer, parse_format

FLOAT8 = [(Minifloat(4, 3), torch.float8_e4m3fn, 448.0), (Minifloat(5, 2), torch.float8_e5m2, 57344.0)]
FORMATS = [Minifloat(e, m) for e, m in [(1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3), (4, 3)]]
FORMATS += [Minifloat(4, 10), Minifloat(5, 0), Minifloat(5, 2), Minifloat(5, 10)]
each_format = pytest.mark.parametrize("format", FORMATS, ids=str)


def enumerated(format):
    """Every value that is not negative, ascending, pattern by pattern; what E4M3 and E5M2 reserve left out."""
    e, m = format.exponent, format.mantissa
    bias = 2 ** (e - 1) - 1
    values = []
    for pattern in range(2 ** (e + m)):
        field, fraction = divmod(pattern, 2**m)
        if (e, m) == (5, 2) and field == 31 or (e, m) == (4, 3) and pattern == 127:
            continue
        lead, power = (1, field - bias) if field else (0, 1 - bias)
        values.append((lead + Fraction(fraction, 2**m)) * Fraction(2) ** power)
    return values


def nearest(x, values, mantissa):
    """The place of the value nearest to x >= 0; a tie goes to the even mantissa, or, without one, upwards."""
    place = min(bisect_left(values, x), len(values) - 1)
    if place == 0 or x >= values[place]:
        return place
    below, above = x - values[place - 1], values[place] - x
    down = place == 1 or mantissa and place % 2
    return place - 1 if below < above or below == above and down else place


def inputs(format, step):
    """Each value, what lies halfway to the next, their float32 neighbours, and every float32 exponent, both signs."""
    values = torch.tensor([float(v) for v in enumerated(format)], dtype=torch.float64) * step * 2.0**-format.smallest
    middles = (values[1:] + values[:-1]) / 2
    points = torch.cat([values, middles, values[-1:] * 1.01, values[-1:] * 2])[-4000:].float()
    around = [points.nextafter(torch.tensor(end)) for end in (-math.inf, math.inf)]
    powers = torch.tensor([2.0**e * f for e in range(-149, 128) for f in (1, 1.25, 1.5, 1.75, 1.9999999)]).float()
    x = torch.cat([points, *around, powers, torch.tensor([math.inf])])
    return torch.cat([x, -x])


@pytest.mark.parametrize("format, dtype, top", FLOAT8, ids=["e4m3", "e5m2"])
def test_is_the_cast_to_float8(format, dtype, top):
    quantizer = Quantizer(format, (-format.smallest,))
    bits = torch.arange(-(1 << 31), 1 << 31, 997, dtype=torch.int64)  # of a prime stride: every exponent
    x = torch.cat([inputs(format, 2.0**format.smallest), bits.int().view(torch.float32)])
    every = torch.arange(256, dtype=torch.uint8).view(dtype).float()
    x = torch.cat([x, every[every.isfinite()]])
    wanted = x.clamp(-top, top).to(dtype).float() + 0.0  # zero has one sign
    assert torch.equal(quantizer(x).nan_to_num(-1.0), wanted.nan_to_num(-1.0))
    assert not quantizer(x)[wanted == 0].signbit().any()
    assert format.max * 2.0**format.smallest == top
    finite = every[every.isfinite()]
    assert set((finite * 2.0**-format.smallest).tolist()) >= {1.0, float(format.max), float(format.min)}


@each_format
@pytest.mark.parametrize("step", [None, 2.0**-3, 0.3, 1e-30])
def test_is_the_nearest_of_all_values(format, step):
    size = np.float32(2.0**format.smallest if step is None else step)
    quantizer = Quantizer(format, steps="real")
    quantizer.load_state_dict({"step": torch.tensor(size)})
    x = inputs(format, float(size))
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:1500]]
    values = [v / Fraction(2) ** format.smallest for v in enumerated(format)]
    assert values[1] == 1 and values[-1] == format.max and all(v.denominator == 1 for v in values)
    with np.errstate(over="ignore"):
        scaled = (x.numpy() / size).tolist()
    codes = []
    for v in scaled:
        code = int(values[nearest(Fraction(min(abs(v), 2.0**60)), values, format.mantissa)])
        codes.append(code if v >= 0 else -code)
    wanted = np.array(codes, dtype=np.float32) * size + np.float32(0)
    np.testing.assert_array_equal(quantizer(x).numpy(), wanted)
    if format != Minifloat(5, 10) and format != Minifloat(5, 2):
        assert quantizer.codes(x).tolist() == codes


@each_format
def test_float64_is_rounded_in_float64(format):
    quantizer = Quantizer(format, (0,))
    top = (1 << format.significant) + 1  # a tie of the binade above
    just = torch.tensor([top + 2.0**-40, top - 2.0**-40], dtype=torch.float64)
    if top < format.max:
        assert quantizer(just).tolist() == [top + 1, top - 1]


def test_values_by_hand():
    codes = torch.arange(-20.0, 21.0)
    kept = {
        Minifloat(2, 1): {0, 1, 2, 3, 4, 6, 8, 12},
        Minifloat(1, 2): {0, 1, 2, 3, 4, 5, 6, 7},
        Minifloat(2, 0): {0, 1, 2, 4},
        Minifloat(3, 0): {0, 1, 2, 4, 8, 16, 32, 64},
        Minifloat(2, 2): {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28},
    }
    for format, values in kept.items():
        assert format.max == max(values) and format.min == -format.max
        found = set(Quantizer(format, (0,)).codes(codes).abs().tolist())
        assert found == {value for value in values if value <= 20}
    e2m1 = Quantizer(Minifloat(2, 1), (1,))  # the values of the OCP specification
    assert e2m1(torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.1, 99])).tolist() == [0, 1, 1, 2, 2, 4, 4, 6, 6]


@given(st.sampled_from(FORMATS), st.floats(width=32, allow_nan=False), st.integers(-20, 20))
@settings(max_examples=200, deadline=None)
def test_properties(format, value, scale):
    """Odd, of few significant bits, and at most half of the last of them away."""
    quantizer = Quantizer(format, (scale,))
    x = torch.tensor([value, -value])
    y = quantizer(x)
    assert torch.equal(y[0], -y[1] + 0.0)
    assert torch.equal(quantizer(y), y)
    code = abs(Fraction(y[0].item()) * Fraction(2) ** scale)
    assert code.denominator == 1 and code <= format.max
    quantum = 1 << max(int(code).bit_length() - format.significant, 0)
    assert code % quantum == 0
    if math.isfinite(value) and abs(Fraction(value)) * Fraction(2) ** scale < format.max:
        assert abs(code - abs(Fraction(value)) * Fraction(2) ** scale) <= Fraction(quantum, 2)


def test_integers_hold_the_codes():
    assert Minifloat(2, 1).integers() == Fixed(5) and Minifloat(1, 2).integers() == Fixed(4)
    assert Minifloat(4, 3).integers() == Fixed(19)
    for format in FORMATS:
        if format.max < 1 << 31:
            integers = format.integers()
            assert integers.max >= format.max > Fixed(integers.bits - 1).max
    with pytest.raises(ValueError) as caught:
        Minifloat(5, 2).integers()
    assert str(caught.value) == "Minifloat e5m2 must have integers of at most 32 bits, not 33"


def test_e5m2_has_values_but_no_codes():
    quantizer = Quantizer(Minifloat(5, 2), (16,))
    assert quantizer(torch.tensor([1e9])).tolist() == [57344]
    for ask in (quantizer.codes, quantizer.quantize):
        with pytest.raises(ValueError, match="^Minifloat e5m2 must have integers"):
            ask(torch.ones(3))


def test_gradients():
    quantizer = Quantizer(Minifloat(2, 1), (0,))
    x = torch.tensor([-15.0, -13.9, 0.2, 13.9, 14.1, math.inf], requires_grad=True)  # 14 would round to 16
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0, 0]
    quantizer = Quantizer(Minifloat(2, 1), steps="real", source="learned")
    quantizer.load_state_dict({"step": torch.tensor(0.5)})
    x = torch.tensor([0.3, 2.6, 9.0])  # 0.6, 5.2 and 18 steps: codes 1, 6 and 12
    quantizer(x).sum().backward()
    wanted = ((1 - 0.6) + (6 - 5.2) + 12) / math.sqrt(3 * 12)
    assert quantizer.step.grad.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("method", ["minmax", "mse", "percentile", "ema"])
@pytest.mark.parametrize("steps", ["real", "power_of_two"])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_calibrates(method, steps, granularity):
    x = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)).float()
    quantizer = Quantizer(Minifloat(3, 2), steps=steps, method=method, granularity=granularity, percentile=100)
    quantizer.start()
    quantizer(x)
    quantizer.freeze()
    error = float((quantizer(x) - x).square().mean())
    assert 0 < error < 0.01
    codes, step, _ = quantizer.quantize(x)
    assert int(codes.abs().max()) <= 448 and torch.equal(codes * step, quantizer(x))
    if method == "minmax" and steps == "real":
        assert (codes.abs().amax() == 448) and torch.allclose(step.max() * 448, x.abs().max())


@pytest.mark.parametrize("granularity", ["tensor", "channel", "token"])
def test_dynamic(granularity):
    x = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    codes, step, _ = Quantizer(Minifloat(2, 1), steps="real", source="dynamic", granularity=granularity).quantize(x)
    assert int(codes.abs().max()) == 12 and set(codes.abs().unique().tolist()) <= {0, 1, 2, 3, 4, 6, 8, 12}
    assert step.numel() == (1 if granularity == "tensor" else 5)


def test_names():
    for format in [*FORMATS, Fixed(4), Fixed(16, signed=False), Fixed(8, 3), Fixed(2, 0, signed=False)]:
        assert parse_format(str(format)) == format
    names = {"int4": Fixed(4), "4": Fixed(4), "uint8": Fixed(8, signed=False), "INT16": Fixed(16), "s8.3": Fixed(8, 3)}
    names |= {"e2m1": Minifloat(2, 1), " E4M3 ": Minifloat(4, 3), "u3": Fixed(3, signed=False)}
    for name, format in names.items():
        assert parse_format(name) == format


@pytest.mark.parametrize("name", ["", "int", "int1", "int17", "e0m3", "e6m1", "e5m11", "fp8", "m3", "-4", "int4.99"])
def test_unknown_names(name):
    with pytest.raises(ValueError) as caught:
        parse_format(name)
    assert str(caught.value) == (
        "format must be int2 to int16, uint2 to uint16 (s8.3 with 3 fraction bits), or e1m0 to e5m10 such as e2m1,"
        f" e4m3 and e5m2, not {name!r}"
    )


def test_refusals():
    e2m1 = Minifloat(2, 1)
    for error, make, message in (
        (TypeError, lambda: parse_format(4), "format must be a string, not 4"),
        (TypeError, lambda: Minifloat(2.0, 1), "Minifloat exponent must be an integer, not 2.0"),
        (TypeError, lambda: Minifloat(2, True), "Minifloat mantissa must be an integer, not True"),
        (ValueError, lambda: Minifloat(6, 1), "Minifloat exponent must be from 1 to 5, not 6"),
        (ValueError, lambda: Minifloat(2, 11), "Minifloat mantissa must be from 0 to 10, not 11"),
        (
            ValueError,
            lambda: Quantizer(e2m1, symmetric=False),
            "Quantizer symmetric must be true for a Minifloat, such as e2m1, not false",
        ),
    ):
        with pytest.raises(error) as caught:
            make()
        assert str(caught.value) == message
    assert Quantizer(e2m1, (1,)).extra_repr() == "e2m1, scale 1"
