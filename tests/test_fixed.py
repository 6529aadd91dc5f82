"""Rounding, saturation and formats against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwlut.fixed import Fixed, Rounding, round_shift, saturate, signed_bits

ROUNDED = {
    Rounding.HALF_UP: lambda real: math.floor(real + Fraction(1, 2)),
    Rounding.HALF_EVEN: round,  # of a Fraction: exact, ties to even
    Rounding.FLOOR: math.floor,
}

roundings = pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.value)


@pytest.mark.parametrize(
    ("value", "shift", "half_up", "half_even", "floor"),
    [
        (5, 1, 3, 2, 2),  # 2.5
        (7, 1, 4, 4, 3),  # 3.5
        (-5, 1, -2, -2, -3),  # -2.5
        (-7, 1, -3, -4, -4),  # -3.5
        (-1, 1, 0, 0, -1),  # -0.5
        (11, 2, 3, 3, 2),  # 2.75
        (9, 2, 2, 2, 2),  # 2.25
        (-9, 2, -2, -2, -3),  # -2.25
        (-1, 7, 0, 0, -1),
        (-3, 0, -3, -3, -3),
        (-3, -4, -48, -48, -48),
    ],
)
def test_by_hand(value, shift, half_up, half_even, floor):
    assert round_shift(value, shift) == half_up
    assert [round_shift(value, shift, rounding) for rounding in Rounding] == [half_up, half_even, floor]
    assert [round_shift(value, shift, name) for name in ("half_up", "half_even", "floor")] == [
        half_up,
        half_even,
        floor,
    ]


@roundings
@given(value=st.integers(-(1 << 90), 1 << 90), shift=st.integers(-40, 100))
def test_any_integer(rounding, value, shift):
    assert round_shift(value, shift, rounding) == ROUNDED[rounding](value * Fraction(2) ** -shift)


@roundings
@pytest.mark.parametrize("shift", range(8))
def test_every_byte_in_its_own_type(rounding, shift):
    for dtype in (np.int8, np.uint8):
        codes = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
        want = [ROUNDED[rounding](Fraction(int(code), 1 << shift)) for code in codes]
        for values in (codes, torch.from_numpy(codes)):
            got = round_shift(values, shift, rounding)
            assert got.dtype == values.dtype
            assert got.tolist() == want


@roundings
@given(data=st.data(), bits=st.sampled_from([16, 32, 64]))
def test_arrays_and_tensors_of_wide_types(rounding, data, bits):
    ends = st.sampled_from([-(1 << (bits - 1)), 1 - (1 << (bits - 1)), (1 << (bits - 1)) - 1, (1 << (bits - 1)) - 2])
    values = data.draw(st.lists(st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) | ends, min_size=1))
    shift = data.draw(st.integers(1, bits - 1))
    want = [ROUNDED[rounding](Fraction(value, 1 << shift)) for value in values]
    codes = np.array(values, dtype=f"int{bits}")
    for given_ in (codes, torch.from_numpy(codes)):
        got = round_shift(given_, shift, rounding)
        assert got.dtype == given_.dtype
        assert got.tolist() == want


def test_negative_shifts_multiply_arrays():
    codes = np.array([-3, 0, 5], dtype=np.int32)
    assert round_shift(codes, -6).tolist() == [-192, 0, 320]
    assert round_shift(torch.from_numpy(codes), -6, Rounding.FLOOR).tolist() == [-192, 0, 320]


def test_unknown_rounding():
    with pytest.raises(ValueError, match="^'nearest' is not a valid Rounding$"):
        round_shift(5, 1, "nearest")


def test_signed_bits():
    edges = {0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, (1 << 31) - 1, 1 << 31, (1 << 62) - 1, 1 << 62}
    edges |= {-edge for edge in edges} | {-edge - 1 for edge in edges}
    for low in edges:
        for high in edges:
            if low <= high:
                bits = signed_bits(low, high)
                assert bits >= 1
                assert -(1 << (bits - 1)) <= low and high <= (1 << (bits - 1)) - 1
                narrower = Fraction(1 << (bits - 1), 2)
                assert bits == 1 or low < -narrower or high > narrower - 1


@pytest.mark.parametrize(
    ("format", "low", "high", "text"),
    [
        (Fixed(8, 4), -128, 127, "s8.4"),
        (Fixed(8, 0, False), 0, 255, "u8.0"),
        (Fixed(1), -1, 0, "s1"),
        (Fixed(1, signed=False), 0, 1, "u1"),
        (Fixed(64), -9223372036854775808, 9223372036854775807, "s64"),
        (Fixed(64, 62, False), 0, 18446744073709551615, "u64.62"),
    ],
)
def test_range_of_a_format(format, low, high, text):
    assert (format.min, format.max, str(format)) == (low, high, text)


@pytest.mark.parametrize("format", [Fixed(4), Fixed(4, signed=False), Fixed(1), Fixed(1, signed=False)], ids=str)
def test_saturate(format):
    codes = range(-20, 21)
    want = [format.min if code < format.min else format.max if code > format.max else code for code in codes]
    assert [saturate(code, format) for code in codes] == want
    assert saturate(np.array(codes), format).tolist() == want
    assert saturate(torch.tensor(codes), format).tolist() == want


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "Fixed bits must be from 1 to 64, not 0"),
        ((65,), ValueError, "Fixed bits must be from 1 to 64, not 65"),
        ((8.0,), TypeError, "Fixed bits must be an integer, not 8.0"),
        ((True,), TypeError, "Fixed bits must be an integer, not True"),
        ((None,), TypeError, "Fixed bits must be an integer, not None"),
        ((8, -1), ValueError, "Fixed frac must be from 0 to 62, not -1"),
        ((8, 63), ValueError, "Fixed frac must be from 0 to 62, not 63"),
        ((8, "6"), TypeError, "Fixed frac must be an integer, not '6'"),
        ((8, 0, 1), TypeError, "Fixed signed must be true or false, not 1"),
    ],
)
def test_impossible_formats(arguments, error, message):
    with pytest.raises(error) as caught:
        Fixed(*arguments)
    assert str(caught.value) == message


def test_formats_are_values():
    assert Fixed(8, 4) == Fixed(bits=8, frac=4, signed=True) != Fixed(8, 4, False)
    assert len({Fixed(8), Fixed(8), Fixed(9)}) == 2
    with pytest.raises(AttributeError):
        Fixed(8).bits = 9
