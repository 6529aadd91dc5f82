"""Ports: real numbers to codes and back, against exact fractions; and what an engine refuses of its inputs."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwlut import Fixed, Multiplier, Program
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.units import Port
from hwlut.units.products import MatrixProduct
from hwlut.units.reductions import Sum


def code_of(port, x):
    """The code of a number by exact arithmetic."""
    if math.isnan(x):
        return port.zero_point
    if math.isinf(x):
        return port.format.max if x > 0 else port.format.min
    step = Fraction(port.step[0]) / Fraction(2) ** port.step[1]
    return min(max(round(Fraction(x) / step) + port.zero_point, port.format.min), port.format.max)


@given(
    st.integers(2, 32),
    st.booleans(),
    st.integers(1, (1 << 31) - 1),
    st.integers(0, 60),
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_numbers_in_float64_get_the_nearest_code(bits, signed, multiplier, shift, numbers, zero):
    format = Fixed(bits, signed=signed)
    port = Port("x", format, step=(multiplier, shift), zero_point=format.min + round(zero * (format.max - format.min)))
    x = torch.tensor(numbers, dtype=torch.float64)
    for got, number in zip(encoded(port, x).tolist(), numbers):
        wanted = code_of(port, number)
        step = multiplier * 2.0**-shift
        tie = abs(abs(number / step % 1) - 0.5) < 1e-9 if math.isfinite(number) else False
        assert got == wanted or (tie and abs(got - wanted) == 1)


def test_ends_infinities_and_no_number():
    numbers = torch.tensor([math.inf, -math.inf, math.nan, 1e30, -1e30, 0.0])
    for bits, signed, zero in ((8, True, 3), (8, False, 9), (26, True, 0), (32, True, -5), (32, False, 7)):
        port = Port("x", Fixed(bits, signed=signed), step=(1, 4), zero_point=zero)
        low, high = port.format.min, port.format.max
        assert encoded(port, numbers).tolist() == [high, low, zero, high, low, zero]


def test_halves_go_to_the_even_code():
    port = Port("x", Fixed(8, 1))
    assert encoded(port, torch.tensor([0.25, 0.75, -0.25, -0.75])).tolist() == [0, 2, 0, -2]


def test_narrow_codes_do_not_wrap():
    port = Port("x", Fixed(8), step=(3, 1), zero_point=100)
    codes = torch.tensor([-128, 127], dtype=torch.int8)
    assert decoded(port, codes).tolist() == [-228 * 1.5, 27 * 1.5]


def test_integers_stay_and_are_not_real():
    port = Port("x", Fixed(8, signed=False))
    x = torch.tensor([3, 5])
    assert encoded(port, x) is x and decoded(port, x).tolist() == [3.0, 5.0]
    with pytest.raises(TypeError, match=r"^Program input 'x' must be integers, not torch.float32$"):
        encoded(port, x.float())


def test_an_engine_refuses_other_shapes_and_longer_rows():
    format = Fixed(22)
    rows = Program.of(input=format, nodes=(Sum("y", "q", 4),), output=Fixed(24))
    with pytest.raises(ValueError, match="^Program node 'y' rows must have at most 4 places, not 5$"):
        Engine(rows)(torch.zeros(2, 5, dtype=torch.int32))
    with pytest.raises(ValueError, match="^Program node 'y' must take rows, not one number$"):
        rows(torch.tensor(3))
    multiplier = Multiplier(family="exact", bits=8, signed=True)
    product = MatrixProduct("y", "a", "b", multiplier=multiplier, a_zero=0, b_zero=0, most=3)
    ports = (Port("a", Fixed(8), (2, 4)), Port("b", Fixed(8), (4, 2)))
    program = Program(name="net", inputs=ports, nodes=(product,), outputs=(Port("y", Fixed(32)),))
    a, b = torch.zeros(1, 2, 4, dtype=torch.int8), torch.zeros(1, 4, 2, dtype=torch.int8)
    with pytest.raises(ValueError, match="^Program node 'y' must have sums of at most 3 products, not 4$"):
        Engine(program)(a, b)
    with pytest.raises(ValueError, match=r"^Program a codes must have the shape \[..., 2, 4\], not \[1, 4, 2\]$"):
        Engine(program)(b, b)
    with pytest.raises(TypeError, match="^Program codes must be 2 tensors, one an input, not 1$"):
        Engine(program)(a)
