"""Requantization against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut import Fixed, Requantize

ROUNDINGS = {
    "half_up": lambda real: math.floor(real + Fraction(1, 2)),
    "half_even": round,  # of a Fraction: exact, ties to even
    "floor": math.floor,
}


def result(acc, m, shift, zero_point, output, rounding):
    """saturate(round(acc m 2^-shift) + zero_point)."""
    bits, signed = output
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = 2 ** (bits - signed) - 1
    return sorted((lowest, ROUNDINGS[rounding](Fraction(acc * m, 2**shift)) + zero_point, highest))[1]


def unit(**changes):
    """acc * 3/8 + 5 as int8."""
    fields = {
        "input": {"bits": 16, "signed": True},
        "multipliers": (3,),
        "shifts": (3,),
        "zero_point": 5,
        "output": {"bits": 8, "signed": True},
    }
    return Requantize(**{**fields, **changes})


@pytest.mark.parametrize(
    ("rounding", "want"),
    [  # -7.5, -1.875, -1.5, 0, 0.375, 1.5, 4.5
        ("half_up", [-2, 3, 4, 5, 5, 7, 10]),
        ("half_even", [-3, 3, 3, 5, 5, 7, 9]),
        ("floor", [-3, 3, 3, 5, 5, 6, 9]),
    ],
)
def test_by_hand(rounding, want):
    assert unit(rounding=rounding)(torch.tensor([-20, -5, -4, 0, 1, 4, 12])).tolist() == want


def test_saturation_is_after_the_zero_point():
    codes = torch.tensor([-32768, -400, 320, 328, 32767])  # -12288, -150, 120, 123, 12287.6
    assert unit()(codes).tolist() == [-128, -128, 125, 127, 127]
    assert unit(zero_point=-5)(codes).tolist() == [-128, -128, 115, 118, 127]
    assert unit(zero_point=128, output=Fixed(8, signed=False))(codes).tolist() == [0, 0, 248, 251, 255]


WIDTHS = [(bits, signed) for bits in (2, 8, 17, 31, 32) for signed in (False, True)]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("bits", "signed"), WIDTHS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_ratio_and_width(bits, signed, rounding, data):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    m = data.draw(st.integers(0, (1 << 31) - 1) | st.sampled_from([0, 1, 1 << 30, (1 << 31) - 1]))
    shift = data.draw(st.integers(0, 62))
    output = data.draw(st.integers(1, 32)), data.draw(st.booleans())
    ends = Fixed(output[0], signed=output[1])
    zero_point = data.draw(st.sampled_from([0, ends.min, ends.max]) | st.integers(ends.min, ends.max))
    codes = [low, low + 1, high - 1, high] + data.draw(st.lists(st.integers(low, high), max_size=20))
    requantize = Requantize(
        input=Fixed(bits, signed=signed),
        multipliers=(m,),
        shifts=(shift,),
        zero_point=zero_point,
        output=ends,
        rounding=rounding,
    )
    got = requantize(torch.tensor(codes))
    assert got.dtype == (torch.int64 if output == (32, False) else torch.int32)
    assert got.tolist() == [result(acc, m, shift, zero_point, output, rounding) for acc in codes]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shift", [0, 1, 31, 32, 33, 34, 61, 62])
def test_extremes(rounding, signed, shift):
    codes = [-(1 << 31), 1 - (1 << 31), -1, 0, 1, (1 << 31) - 1] if signed else [0, 1, 1 << 31, (1 << 32) - 1]
    m = (1 << 31) - 1
    for zero_point, output in (((1 << 31) - 1, (32, True)), (-(1 << 31), (32, True)), ((1 << 32) - 1, (32, False))):
        requantize = Requantize(
            input=Fixed(32, signed=signed),
            multipliers=(m,),
            shifts=(shift,),
            zero_point=zero_point,
            output=Fixed(output[0], signed=output[1]),
            rounding=rounding,
        )
        want = [result(acc, m, shift, zero_point, output, rounding) for acc in codes]
        assert requantize(torch.tensor(codes)).tolist() == want


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_channels(axis, rounding):
    pairs = [(3, 2), ((1 << 31) - 1, 33), (0, 0), (1, 5)]
    requantize = unit(
        multipliers=[m for m, _ in pairs], shifts=[shift for _, shift in pairs], zero_point=-3, rounding=rounding
    )
    assert requantize.channels == 4
    shape = [3, 5, 2]
    shape[axis] = 4
    codes = torch.randint(-400, 400, shape, generator=torch.Generator().manual_seed(0))
    got = requantize(codes, axis=axis)
    assert got.shape == codes.shape and got.dtype == torch.int32
    want = np.empty(shape, dtype=np.int64)
    for index in np.ndindex(*shape):
        want[index] = result(int(codes[index]), *pairs[index[axis]], -3, (8, True), rounding)
    assert got.tolist() == want.tolist()


def test_one_channel_needs_no_axis():
    codes = torch.arange(-12, 12)
    assert unit()(codes.reshape(2, 3, 4)).tolist() == unit()(codes).reshape(2, 3, 4).tolist()
    assert unit()(torch.tensor(4)).shape == () and unit()(torch.tensor(4)).item() == 7
    assert unit()(torch.zeros(0, 3, dtype=torch.int16)).shape == (0, 3)
    assert unit(multipliers=[3, 1], shifts=[3, 0])(torch.zeros(0, 2, dtype=torch.int16)).shape == (0, 2)


def test_axes_of_another_size():
    two = unit(multipliers=(1, 2), shifts=(0, 0))
    for codes, axis, shape in (
        (torch.zeros(2, 3, dtype=torch.int32), -1, "(2, 3)"),
        (torch.zeros(2, 3, dtype=torch.int32), 2, "(2, 3)"),
        (torch.zeros(2, 3, dtype=torch.int32), -3, "(2, 3)"),
        (torch.zeros((), dtype=torch.int32), 0, "()"),
    ):
        with pytest.raises(ValueError) as caught:
            two(codes, axis=axis)
        assert str(caught.value) == f"Requantize axis {axis} must have 2 channels, not shape {shape}"


def test_codes_are_checked():
    with pytest.raises(ValueError, match="^Requantize codes must be from -32768 to 32767, not 32768$"):
        unit()(torch.tensor([0, 32768]))
    with pytest.raises(
        TypeError, match="^Requantize codes must be uint8, int8, int16, int32 or int64, not torch.float32$"
    ):
        unit()(torch.tensor([0.5]))


ratios = st.floats(2.0**-32, 2.0**31 - 1, exclude_max=True)


@settings(max_examples=500)
@given(ratio=ratios | st.integers(-32, 29).map(lambda power: math.nextafter(2.0 ** (power + 1), 0)))
def test_ratios_are_held_to_31_bits(ratio):
    made = Requantize.from_ratios(ratio, input=Fixed(32), output=Fixed(8))
    (m,), (shift,) = made.multipliers, made.shifts
    error = abs(Fraction(m, 2**shift) - Fraction(ratio))
    assert error <= Fraction(ratio) / 2**31
    # No m of 31 bits with any shift is nearer.
    for other in range(max(0, shift - 1), min(62, shift + 1) + 1):
        scaled = Fraction(ratio) * 2**other
        for candidate in (math.floor(scaled), math.ceil(scaled)):
            if candidate < 1 << 31:
                assert error <= abs(Fraction(candidate, 2**other) - Fraction(ratio))


@given(ratio=st.floats(2.0**-80, 2.0**-32))
def test_small_ratios_are_held_to_62_fraction_bits(ratio):
    made = Requantize.from_ratios(ratio, input=Fixed(32), output=Fixed(8))
    assert abs(Fraction(made.multipliers[0], 2 ** made.shifts[0]) - Fraction(ratio)) <= Fraction(1, 2**63)


@pytest.mark.parametrize(
    ("ratio", "m", "shift"),
    [
        (1, 1 << 30, 30),
        (0.5, 1 << 30, 31),
        (0.75, 3 << 29, 31),
        (2.0**30, 1 << 30, 0),
        (2.0**31 - 1.25, (1 << 31) - 1, 0),
        (1 - 2.0**-40, 1 << 30, 30),  # rounds up to a power of two
        (2.0**-32, 1 << 30, 62),
        (2.0**-40, 1 << 22, 62),
    ],
)
def test_ratios_by_hand(ratio, m, shift):
    made = Requantize.from_ratios(ratio, input=Fixed(32), output=Fixed(8))
    assert (made.multipliers, made.shifts) == ((m,), (shift,))


@given(ratio=st.floats(2.0**-40, 2.0**30), bits=st.integers(8, 31))
def test_ratios_are_held_to_fewer_bits(ratio, bits):
    made = Requantize.from_ratios(ratio, bits, input=Fixed(32), output=Fixed(8))
    (m,), (shift,) = made.multipliers, made.shifts
    assert m // (m & -m) < 1 << bits and (shift == 0 or m < 1 << bits)
    assert shift == 62 or abs(Fraction(m, 2**shift) - Fraction(ratio)) <= Fraction(ratio) / 2**bits


def test_ratios_of_channels():
    made = Requantize.from_ratios(np.array([0.5, 0.25]), input=Fixed(16), output=Fixed(8), zero_point=1)
    assert made.multipliers == (1 << 30, 1 << 30) and made.shifts == (31, 32) and made.zero_point == 1
    assert made(torch.tensor([[3, 3]])).tolist() == [[3, 2]]  # 1.5 + 1 rounds up, 0.75 + 1


@pytest.mark.parametrize("ratio", [0, -0.5, math.inf, math.nan, 2.0**31 - 1])
def test_impossible_ratios(ratio):
    with pytest.raises(ValueError) as caught:
        Requantize.from_ratios(ratio, input=Fixed(16), output=Fixed(8))
    assert str(caught.value) == f"Requantize ratio must be above 0 and below 2^31 - 1, not {ratio}"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": Fixed(33)}, ValueError, "Requantize input bits must be from 2 to 32, not 33"),
        ({"output": Fixed(33)}, ValueError, "Requantize output bits must be from 1 to 32, not 33"),
        ({"multipliers": (), "shifts": ()}, ValueError, "Requantize multipliers must be at least one, not ()"),
        (
            {"multipliers": (1 << 31,)},
            ValueError,
            "Requantize multipliers[0] must be from 0 to 2147483647, not 2147483648",
        ),
        ({"multipliers": (-1,)}, ValueError, "Requantize multipliers[0] must be from 0 to 2147483647, not -1"),
        ({"shifts": (63,)}, ValueError, "Requantize shifts[0] must be from 0 to 62, not 63"),
        ({"shifts": (1, 2)}, ValueError, "Requantize shifts must be 1, one a multiplier, not 2"),
        ({"zero_point": 128}, ValueError, "Requantize zero_point must be from -128 to 127, not 128"),
        (
            {"zero_point": -1, "output": Fixed(8, signed=False)},
            ValueError,
            "Requantize zero_point must be from 0 to 255, not -1",
        ),
        ({"zero_point": 0.5}, TypeError, "Requantize zero_point must be an integer, not 0.5"),
        ({"rounding": 1}, TypeError, "Requantize rounding must be one of half_up, half_even, floor, not 1"),
    ],
)
def test_impossible_units(changes, error, message):
    with pytest.raises(error) as caught:
        unit(**changes)
    assert str(caught.value) == message


def test_cost_by_hand():
    cost = unit(multipliers=(1, 2, 3), shifts=(0, 1, 2)).cost()
    assert cost.storage_bits == 3 * (31 + 6) + 8
    assert cost.multiplier_bits == 16 * 31
    assert cost.latency == 2
