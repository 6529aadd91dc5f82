"""Piecewise-linear units against their definition in exact fractions, code by code."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwlut import Fixed, Pwl
from hwlut.fixed import signed_bits

SYMMETRIES = ("none", "identity", "odd", "even", "complement")
ROUNDINGS = {
    "half_up": lambda real: math.floor(real + Fraction(1, 2)),
    "half_even": round,  # of a Fraction: exact, ties to even
    "floor": math.floor,
}


def power(exponent):
    return Fraction(2) ** exponent


def value(table, s, q):
    """The real value of the line under code q at scale s, before any rounding: everything in fractions."""
    symmetry = table.get("symmetry", "none")
    x = abs(q) if symmetry != "none" else q
    segment = sum(round(p * power(s - table["breakpoint_frac"])) <= x for p in table["breakpoints"])
    slope = table["slopes"][segment] * power(-table["slope"]["frac"])
    intercept = table["intercepts"][segment] * power(-table["intercept"]["frac"])
    y = slope * x * power(-s) + intercept
    if q >= 0:
        return y
    return {"none": y, "even": y, "odd": -y, "identity": y - x * power(-s), "complement": 1 - y}[symmetry]


def accumulator(table, s, q):
    acc = value(table, s, q) * power(max(table["slope"]["frac"] + s, table["intercept"]["frac"]))
    assert acc.denominator == 1
    return acc.numerator


def result(table, s, q):
    """What the unit must return for code q at scale s."""
    output = table.get("output")
    if output is None:
        return accumulator(table, s, q)
    frac = s if output["frac"] == "input" else output["frac"]
    rounded = ROUNDINGS[table.get("rounding", "half_up")](value(table, s, q) * power(frac))
    lowest = -(2 ** (output["bits"] - 1)) if output["signed"] else 0
    highest = 2 ** (output["bits"] - output["signed"]) - 1
    return sorted((lowest, rounded, highest))[1]


def every_code(table):
    bits = table["input"]["bits"]
    return range(-(1 << (bits - 1)), 1 << (bits - 1)) if table["input"]["signed"] else range(1 << bits)


def table(**changes):
    """Three segments of an 8-bit input, at one scale."""
    return {
        "input": {"bits": 8, "signed": True},
        "scales": [4],
        "breakpoint_frac": 4,
        "breakpoints": [-20, 30],
        "slope": {"bits": 8, "frac": 6},
        "slopes": [-7, 64, 100],
        "intercept": {"bits": 16, "frac": 10},
        "intercepts": [-900, 12, 2000],
        **changes,
    }


@st.composite
def tables(draw, symmetry=None):
    """Tables of few input bits with breakpoints in, around and far outside the codes, often equal."""
    if symmetry is None:
        symmetry = draw(st.sampled_from(SYMMETRIES))
    bits = draw(st.integers(2, 6))
    signed = symmetry != "none" or draw(st.booleans())
    scales = sorted(draw(st.sets(st.integers(0, 7), min_size=1, max_size=3)))
    breakpoint_frac = draw(st.integers(scales[-1], scales[-1] + 3))
    segments = draw(st.integers(1, 6))
    reach = 3 << (bits + breakpoint_frac - scales[0])
    points = st.integers(-reach, reach) | st.sampled_from([-(1 << 60), -1, 0, 0, 1, 1 << 60])
    slope_bits, intercept_bits = draw(st.integers(1, 9)), draw(st.integers(1, 14))

    def codes(width):
        return draw(
            st.lists(st.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1), min_size=segments, max_size=segments)
        )

    output = None
    if draw(st.booleans()):
        frac = draw(st.integers(0, 14) | st.just("input"))
        output = {"bits": draw(st.integers(1, 12)), "signed": draw(st.booleans()), "frac": frac}
    return {
        "input": {"bits": bits, "signed": signed},
        "scales": scales,
        "breakpoint_frac": breakpoint_frac,
        "breakpoints": sorted(draw(st.lists(points, min_size=segments - 1, max_size=segments - 1))),
        "slope": {"bits": slope_bits, "frac": draw(st.integers(0, 8))},
        "slopes": codes(slope_bits),
        "intercept": {"bits": intercept_bits, "frac": draw(st.integers(0, 14))},
        "intercepts": codes(intercept_bits),
        "symmetry": symmetry,
        "output": output,
        "rounding": draw(st.sampled_from(list(ROUNDINGS))),
    }


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_code_of_random_tables(symmetry, data):
    table = data.draw(tables(symmetry))
    unit = Pwl(**table)
    codes = every_code(table)
    for s in table["scales"]:
        got = unit(torch.tensor(codes), scale=s)
        assert got.dtype == torch.int32
        assert got.tolist() == [result(table, s, q) for q in codes]


@settings(max_examples=150, deadline=None)
@given(table=tables())
def test_the_accumulator_is_the_smallest_that_holds_every_result(table):
    results = {accumulator(table, s, q) for s in table["scales"] for q in every_code(table)}
    bits = 1
    while not all(-(1 << (bits - 1)) <= acc < 1 << (bits - 1) for acc in results):
        bits += 1
    unit = Pwl(**table)
    assert unit.accumulator_bits == bits
    exact = unit.replace(output=None)
    for s in table["scales"]:
        point = max(table["slope"]["frac"] + s, table["intercept"]["frac"])
        assert exact.output_format(s) == Fixed(bits, point)


def test_by_hand():
    # x = q/16: below code -20 the line -7/64 x - 900/1024, to 29 it is x + 12/1024, from 30 on 100/64 x + 2000/1024.
    unit = Pwl(**table())
    assert unit(torch.tensor([-128, -21, -20, 0, 29, 30, 127])).tolist() == [
        7 * 128 - 900,
        7 * 21 - 900,
        64 * -20 + 12,
        12,
        64 * 29 + 12,
        100 * 30 + 2000,
        100 * 127 + 2000,
    ]
    assert unit.output_format(4) == Fixed(15, 10)  # 14,700 needs 15 bits
    # 14,700 / 1024 = 14.36 in 3 fraction bits is 114.8, and -1,268 / 1024 is -9.9.
    for rounding, low, high in (("half_up", -10, 115), ("half_even", -10, 115), ("floor", -10, 114)):
        rounded = unit.replace(output=Fixed(8, 3), rounding=rounding)
        assert rounded(torch.tensor([-20, 127])).tolist() == [low, high]
    assert unit.replace(output=Fixed(6, 3))(torch.tensor([-20, 127])).tolist() == [-10, 31]
    assert unit.replace(output=Fixed(6, 3, False))(torch.tensor([-20, 127])).tolist() == [0, 63]


def test_roundings_differ_at_ties():
    # y = x / 4, read as integers.
    lines = table(
        scales=[0],
        breakpoints=[],
        slope={"bits": 2, "frac": 2},
        slopes=[1],
        intercept={"bits": 1, "frac": 0},
        intercepts=[0],
        output={"bits": 8, "signed": True, "frac": 0},
    )
    codes = torch.tensor([-10, -6, -2, 2, 6, 10])
    assert Pwl(**lines)(codes).tolist() == [-2, -1, 0, 1, 2, 3]
    assert Pwl(**lines, rounding="half_even")(codes).tolist() == [-2, -2, 0, 0, 2, 2]
    assert Pwl(**lines, rounding="floor")(codes).tolist() == [-3, -2, -1, 0, 1, 2]


def test_symmetries_by_hand():
    # y = 3/2 |x| + 1/4 on |q| up to 4 at scale 1: A = 2, acc = 3 |q| + 1, x = 2 |q| and 1 = 4 in units of acc.
    lines = table(
        input={"bits": 3, "signed": True},
        scales=[1],
        breakpoints=[],
        slope={"bits": 3, "frac": 1},
        slopes=[3],
        intercept={"bits": 2, "frac": 2},
        intercepts=[1],
    )
    codes = torch.tensor([-4, -3, -2, -1, 0, 1, 2, 3])
    want = {
        "none": [-11, -8, -5, -2, 1, 4, 7, 10],
        "identity": [5, 4, 3, 2, 1, 4, 7, 10],
        "odd": [-13, -10, -7, -4, 1, 4, 7, 10],
        "even": [13, 10, 7, 4, 1, 4, 7, 10],
        "complement": [-9, -6, -3, 0, 1, 4, 7, 10],
    }
    for symmetry in SYMMETRIES:
        assert Pwl(**lines, symmetry=symmetry)(codes).tolist() == want[symmetry]


@pytest.mark.parametrize(
    ("symmetry", "bits", "intercept", "width"),
    [
        ("identity", 8, 0, 8),  # f(127) = 127, although f(-128) = 128 - 128
        ("complement", 2, -8, 5),  # f(0) = -8 and 1 - f(1) = 8
        ("odd", 8, 0, 8),  # -128
        ("even", 8, 0, 9),  # 128
    ],
)
def test_accumulators_whose_extreme_is_beside_the_end_of_the_table(symmetry, bits, intercept, width):
    unit = Pwl(
        **table(
            input={"bits": bits, "signed": True},
            scales=[0],
            breakpoints=[],
            slope={"bits": 2, "frac": 0},
            slopes=[1],
            intercept={"bits": 8, "frac": 0},
            intercepts=[intercept],
            symmetry=symmetry,
        )
    )
    assert unit.accumulator_bits == width


@pytest.mark.parametrize(
    ("p", "s", "code"),
    [
        (5, 0, 1),  # 5/4
        (6, 0, 2),  # 1.5, a tie, to even
        (10, 0, 2),  # 2.5, a tie, to even
        (-6, 0, -2),
        (-10, 0, -2),
        (10, 1, 5),
        (10, 2, 10),
        (4000, 0, 1000),  # beyond the codes: kept
    ],
)
def test_breakpoint_codes(p, s, code):
    unit = Pwl(
        **table(
            scales=[0, 1, 2],
            breakpoint_frac=2,
            breakpoints=[p],
            slopes=[0, 0],
            intercepts=[0, 1],
        )
    )
    assert unit.breakpoint_codes(s) == (code,)
    assert unit.replace(intercept=Fixed(16, 0))(torch.tensor([-128, 127]), scale=s).sign().tolist() == [
        int(code <= -128),
        int(code <= 127),
    ]


def counting(table):
    """The table with segment i's line replaced by the constant i."""
    segments = len(table["slopes"])
    return {
        **table,
        "slope": {"bits": 1, "frac": 0},
        "slopes": [0] * segments,
        "intercept": {"bits": 8, "frac": 0},
        "intercepts": list(range(segments)),
        "output": {"bits": 8, "signed": False, "frac": 0},
        "symmetry": "even" if table["symmetry"] != "none" else "none",
    }


@settings(max_examples=200, deadline=None)
@given(table=tables())
@example(table=table(symmetry="none", scales=[0, 3], breakpoint_frac=3, breakpoints=[-1028, 1020]))
def test_one_shifter_and_saturated_breakpoints_find_the_same_segment(table):
    """What the hardware compares: each breakpoint held in `comparator_bits`, against the shifted code."""
    unit = Pwl(**counting(table))
    lowest, highest = unit.comparator_range
    single = len(table["scales"]) == 1
    bits = 1
    while not -(1 << (bits - 1)) <= lowest <= highest + 1 < 1 << (bits - 1):
        bits += 1
    assert unit.comparator_bits == bits
    for s in table["scales"]:
        d = table["breakpoint_frac"] - s
        points = [round(p * power(-d)) for p in table["breakpoints"]] if single else table["breakpoints"]
        held = [min(max(p, lowest), highest + 1) for p in points]
        for q, segment in zip(every_code(table), unit(torch.tensor(every_code(table)), scale=s).tolist()):
            x = abs(q) if table["symmetry"] != "none" else q
            reach = x if single or d == 0 else (x << d) + (1 << (d - 1)) - (x & 1)
            assert lowest <= reach <= highest
            assert sum(p <= reach for p in held) == segment


def test_the_comparison_that_replaces_rounding():
    for d in range(6):
        for p in range(-100, 101):
            unit = Pwl(
                **table(
                    input={"bits": 4, "signed": True},
                    scales=[5 - d],
                    breakpoint_frac=5,
                    breakpoints=[p],
                    slopes=[0, 0],
                    intercepts=[0, 1],
                )
            )
            for q, above in zip(range(-8, 8), unit(torch.arange(-8, 8)).sign().tolist()):
                assert above == (p <= ((q << d) + (1 << (d - 1)) - (q & 1) if d else q))


def test_dead_segments_and_far_breakpoints():
    codes = torch.arange(-128, 128)
    dead = Pwl(**table(breakpoints=[7, 7, 7], slopes=[1, 50, -50, 2], intercepts=[3, 9, 9, 4]))
    live = Pwl(**table(breakpoints=[7], slopes=[1, 2], intercepts=[3, 4]))
    assert torch.equal(dead(codes), live(codes)) and dead.accumulator_bits == live.accumulator_bits
    for far, slope in ((128, 5), (1 << 62, 5), (-128, 9), (-(1 << 62), 9)):
        unit = Pwl(**table(breakpoints=[far], slopes=[5, 9], intercepts=[0, 0]))
        assert unit(codes).tolist() == [slope * q for q in range(-128, 128)]


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("symmetry", SYMMETRIES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_wide_inputs(bits, symmetry, data):
    signed = symmetry != "none" or data.draw(st.booleans())
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    points = sorted(data.draw(st.lists(st.integers(low << 4, high << 4), min_size=3, max_size=3)))
    wide = table(
        input={"bits": bits, "signed": signed},
        scales=[0, 10],
        breakpoint_frac=10,
        breakpoints=points,
        slope={"bits": 12, "frac": 6},
        slopes=data.draw(st.lists(st.integers(-2048, 2047), min_size=4, max_size=4)),
        intercepts=data.draw(st.lists(st.integers(-32768, 32767), min_size=4, max_size=4)),
        symmetry=symmetry,
        output=data.draw(st.sampled_from([None, {"bits": 32, "signed": True, "frac": "input"}])),
    )
    unit = Pwl(**wide)
    for s in (0, 10):
        near = {c + step for c in unit.breakpoint_codes(s) for step in (-1, 0, 1)}
        codes = [q for q in {low, low + 1, -1, 0, 1, high - 1, high} | near | {-q for q in near} if low <= q <= high]
        codes += data.draw(st.lists(st.integers(low, high), min_size=5, max_size=20))
        assert unit(torch.tensor(codes), scale=s).tolist() == [result(wide, s, q) for q in codes]


def widest(intercept, symmetry="none", **changes):
    """32-bit codes under a 32-bit slope: the product takes 2^62 - 2^31 - 2^31 of the 2^62 allowed."""
    return table(
        input={"bits": 32, "signed": True},
        scales=[0],
        breakpoint_frac=0,
        breakpoints=[0],
        slope={"bits": 32, "frac": 0},
        slopes=[(1 << 31) - 2, 2 - (1 << 31)],
        intercept={"bits": 34, "frac": 0},
        intercepts=[-intercept, intercept],
        symmetry=symmetry,
        **changes,
    )


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_the_largest_tables_stay_in_int64(symmetry, rounding):
    # The correction under symmetry adds up to |x| = 2^31.
    room = (1 << 32) - 1 - (0 if symmetry == "none" else 1 << 31)
    codes = [-(1 << 31), 1 - (1 << 31), -1, 0, 1, (1 << 31) - 1]
    for intercept in (room, -room):
        for output in (None, {"bits": 63, "signed": True, "frac": 0}, {"bits": 62, "signed": False, "frac": 0}):
            lines = widest(intercept, symmetry, output=output, rounding=rounding)
            assert Pwl(**lines)(torch.tensor(codes)).tolist() == [result(lines, 0, q) for q in codes]
        with pytest.raises(ValueError, match="^Pwl accumulator must stay below 63 bits; at scale 0 it does not$"):
            Pwl(**widest(intercept + (1 if intercept > 0 else -1), symmetry))


def test_outputs_that_would_leave_int64_are_refused():
    lines = table(scales=[0], breakpoint_frac=0, breakpoints=[], slopes=[1], intercepts=[0])
    lines["intercept"] = {"bits": 16, "frac": 6}
    # |acc| is up to 128 = 2^7, with 6 fraction bits; 60 of them make it 2^61, 61 make it 2^62.
    fits = {**lines, "output": {"bits": 63, "signed": True, "frac": 60}}
    assert Pwl(**fits)(torch.tensor([-128, 127])).tolist() == [-(1 << 61), 127 << 54]
    unsigned = {**lines, "output": {"bits": 63, "signed": False, "frac": 60}}
    assert Pwl(**unsigned)(torch.tensor([-128, 127])).tolist() == [0, 127 << 54]
    with pytest.raises(ValueError, match="^Pwl accumulator must stay below 63 bits; at scale 0 it does not$"):
        Pwl(**{**lines, "output": {"bits": 63, "signed": True, "frac": 61}})


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_longest_shift_to_an_output(rounding):
    lines = table(
        input={"bits": 32, "signed": True},
        scales=[10],
        breakpoint_frac=10,
        breakpoints=[],
        slope={"bits": 31, "frac": 52},
        slopes=[(1 << 30) - 1],
        intercept={"bits": 62, "frac": 62},
        intercepts=[(1 << 61) - 1],
        output={"bits": 2, "signed": True, "frac": 0},
        rounding=rounding,
    )
    codes = [-(1 << 31), -(1 << 31) + 1, 0, 1, (1 << 31) - 1]
    assert Pwl(**lines)(torch.tensor(codes)).tolist() == [result(lines, 10, q) for q in codes]


def test_results_are_int32_where_that_is_enough():
    codes = torch.arange(-128, 128)
    for bits, signed, dtype in (
        (31, False, torch.int32),
        (32, True, torch.int32),
        (32, False, torch.int64),
        (33, True, torch.int64),
    ):
        unit = Pwl(**table(output={"bits": bits, "signed": signed, "frac": 6}))
        assert unit(codes).dtype == dtype
    # slope 2^23 * 128 makes 2^30, 2^24 * 128 makes 2^31 and its negative fits 32 bits.
    for slope, width, dtype in (
        ((1 << 24) - 1, 32, torch.int32),
        (1 << 24, 32, torch.int32),
        (1 << 25, 33, torch.int64),
    ):
        unit = Pwl(**table(breakpoints=[], slope={"bits": 27, "frac": 6}, slopes=[slope], intercepts=[0]))
        assert unit.accumulator_bits == width
        got = unit(torch.tensor([-128, 127]))
        assert got.dtype == dtype and got.tolist() == [-128 * slope, 127 * slope]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8], ids=str)
def test_any_integer_type_and_shape(dtype):
    unit = Pwl(**table())
    codes = torch.arange(0, 24).to(dtype)
    want = [64 * q + 12 for q in range(24)]
    assert unit(codes).tolist() == want
    assert unit(codes.reshape(2, 3, 4)).tolist() == torch.tensor(want).reshape(2, 3, 4).tolist()
    assert unit(codes.reshape(4, 6).T).tolist() == torch.tensor(want).reshape(4, 6).T.tolist()
    assert unit(codes[5]).shape == () and unit(codes[5]).item() == want[5]
    assert unit(codes[:0].reshape(3, 0)).shape == (3, 0)


@pytest.mark.parametrize(
    ("bits", "signed", "code"),
    [(8, True, 128), (8, True, -129), (8, False, -1), (8, False, 256), (6, True, 32), (8, True, -(1 << 63))],
)
def test_codes_outside_the_format(bits, signed, code):
    unit = Pwl(**table(input={"bits": bits, "signed": signed}))
    low, high = unit.input.min, unit.input.max
    assert unit(torch.tensor([low, high])).shape == (2,)
    with pytest.raises(ValueError) as caught:
        unit(torch.tensor([[0, code], [0, 0]]))
    assert str(caught.value) == f"Pwl codes must be from {low} to {high}, not {code}"


def test_codes_of_another_kind():
    unit = Pwl(**table())
    for codes, text in (
        (torch.zeros(2), "uint8, int8, int16, int32 or int64, not torch.float32"),
        (torch.zeros(2, dtype=torch.bool), "uint8, int8, int16, int32 or int64, not torch.bool"),
        (torch.zeros(2, dtype=torch.complex64), "uint8, int8, int16, int32 or int64, not torch.complex64"),
        (torch.zeros(2, dtype=torch.uint64), "uint8, int8, int16, int32 or int64, not torch.uint64"),
        (np.zeros(2, dtype=np.int8), "a tensor, not ndarray"),
        (3, "a tensor, not int"),
    ):
        with pytest.raises(TypeError) as caught:
            unit(codes)
        assert str(caught.value) == f"Pwl codes must be {text}"


def test_scales():
    unit = Pwl(**table(scales=[2, 4], name="both"))
    codes = torch.arange(-128, 128)
    assert not torch.equal(unit(codes, scale=2), unit(codes, scale=4))
    only = unit.at_scale(2)
    assert only.scales == (2,) and only.name == "both"
    assert torch.equal(only(codes), unit(codes, scale=2)) and torch.equal(only(codes, 2), unit(codes, 2))
    for call, error, message in (
        (lambda: unit(codes), ValueError, "Pwl 'both' has scales (2, 4): one must be given"),
        (lambda: unit(codes, scale=3), ValueError, "Pwl scale must be one of (2, 4), not 3"),
        (lambda: only(codes, scale=4), ValueError, "Pwl scale must be one of (2,), not 4"),
        (lambda: unit(codes, scale=2.0), TypeError, "Pwl scale must be an integer, not 2.0"),
        (lambda: unit(codes, scale=True), TypeError, "Pwl scale must be an integer, not True"),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"breakpoints": [3, 2]}, ValueError, "Pwl breakpoints must be non-decreasing, not (3, 2)"),
        ({"breakpoints": [3]}, ValueError, "Pwl breakpoints must be 2, one fewer than slopes, not 1"),
        ({"breakpoints": [0.5, 1]}, TypeError, "Pwl breakpoints[0] must be an integer, not 0.5"),
        ({"breakpoints": 3}, TypeError, "Pwl breakpoints must be a sequence of integers, not 3"),
        (
            {"breakpoints": [0, 1 << 63]},
            ValueError,
            "Pwl breakpoints[1] must be from -4611686018427387904 to 4611686018427387904, not 9223372036854775808",
        ),
        ({"slopes": [], "intercepts": [], "breakpoints": []}, ValueError, "Pwl slopes must be at least one, not ()"),
        ({"slopes": [0, 128, 0]}, ValueError, "Pwl slopes must fit in 8 bits, not 128"),
        ({"slopes": [0, True, 0]}, TypeError, "Pwl slopes[1] must be an integer, not True"),
        ({"intercepts": [0, 0]}, ValueError, "Pwl intercepts must be 3, one a slope, not 2"),
        ({"intercepts": [0, 0, -32769]}, ValueError, "Pwl intercepts must fit in 16 bits, not -32769"),
        ({"intercepts": [0] * 4097}, ValueError, "Pwl intercepts must be at most 4096 integers, not 4097"),
        ({"scales": []}, ValueError, "Pwl scales must be ascending and at least one, not ()"),
        ({"scales": [2, 2]}, ValueError, "Pwl scales must be ascending and at least one, not (2, 2)"),
        ({"scales": [-1]}, ValueError, "Pwl scales[0] must be from 0 to 62, not -1"),
        ({"scales": [4, 5]}, ValueError, "Pwl scales must not exceed breakpoint_frac 4, not 5"),
        ({"breakpoint_frac": -1}, ValueError, "Pwl breakpoint_frac must be from 0 to 62, not -1"),
        ({"input": {"bits": 33, "signed": True}}, ValueError, "Pwl input bits must be from 2 to 32, not 33"),
        ({"input": {"bits": 1, "signed": True}}, ValueError, "Pwl input bits must be from 2 to 32, not 1"),
        ({"input": Fixed(8, 4)}, ValueError, "Pwl input must have no frac, not 4"),
        ({"input": {"bits": 8}}, ValueError, "Pwl input must be an object of bits, signed, not {'bits': 8}"),
        ({"input": 8}, TypeError, "Pwl input must be an object of bits, signed, not 8"),
        ({"input": {"bits": 8, "signed": 1}}, TypeError, "Pwl input signed must be true or false, not 1"),
        ({"slope": {"bits": 8.0, "frac": 6}}, TypeError, "Pwl slope bits must be an integer, not 8.0"),
        ({"slope": {"bits": 8, "frac": -1}}, ValueError, "Pwl slope frac must be from 0 to 62, not -1"),
        ({"slope": Fixed(8)}, TypeError, "Pwl slope frac must be an integer, not None"),
        ({"slope": Fixed(8, 6, False)}, ValueError, "Pwl slope must be signed"),
        ({"slope": {"bits": 8, "frac": 59}}, ValueError, "Pwl slope frac plus scale must be at most 62, not 63"),
        (
            {"symmetry": "mirror"},
            ValueError,
            "Pwl symmetry must be one of none, identity, odd, even, complement, not 'mirror'",
        ),
        ({"symmetry": None}, TypeError, "Pwl symmetry must be one of none, identity, odd, even, complement, not None"),
        (
            {"symmetry": "odd", "input": {"bits": 8, "signed": False}},
            ValueError,
            "Pwl symmetry 'odd' needs a signed input",
        ),
        ({"rounding": "up"}, ValueError, "Pwl rounding must be one of half_up, half_even, floor, not 'up'"),
        (
            {"output": {"bits": 8, "signed": True}},
            ValueError,
            "Pwl output must be an object of bits, signed, frac or null, not {'bits': 8, 'signed': True}",
        ),
        (
            {"output": {"bits": 64, "signed": True, "frac": 0}},
            ValueError,
            "Pwl output bits must be from 1 to 63, not 64",
        ),
        (
            {"output": {"bits": 8, "signed": True, "frac": None}},
            TypeError,
            "Pwl output frac must be an integer or 'input', not None",
        ),
        (
            {"output": {"bits": 8, "signed": True, "frac": "auto"}},
            TypeError,
            "Pwl output frac must be an integer or 'input', not 'auto'",
        ),
    ],
)
def test_impossible_tables(changes, error, message):
    with pytest.raises(error) as caught:
        Pwl(**table(**changes))
    assert str(caught.value) == message


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError) as caught:
        Pwl(**table(breakpoints=[1111] * 3000 + [1110], slopes=[0] * 3002, intercepts=[0] * 3002))
    shown = "(1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111,...1111, 1111, 1110)"
    assert str(caught.value) == f"Pwl breakpoints must be non-decreasing, not {shown}"


def test_formats_and_numpy_numbers_are_taken_too():
    plain = Pwl(**table(output={"bits": 8, "signed": True, "frac": "input"}))
    same = Pwl(
        input=Fixed(8),
        scales=np.array([4]),
        breakpoint_frac=np.int64(4),
        breakpoints=(-20, np.int32(30)),
        slope=Fixed(8, 6),
        slopes=np.array([-7, 64, 100], dtype=np.int8),
        intercept=Fixed(16, 10),
        intercepts=[-900, 12, 2000],
        output=Fixed(8, None),
    )
    assert same == plain and same.digest == plain.digest
    assert type(same.breakpoint_frac) is int and all(type(p) is int for p in (*same.breakpoints, *same.slopes))


def test_cost_by_hand():
    cost = Pwl(**table()).cost()
    # Codes -128..127 compared with breakpoints saturated to 128: 9 bits each; acc spans -4 .. 14,700 and -1,268.
    assert cost.storage_bits == 3 * (8 + 16) + 2 * 9
    assert cost.multiplier_bits == 8 * 8
    assert cost.adder_bits == 2 * 9 + 15
    assert cost.latency == 3
    assert signed_bits(-1268, 14700) == 15
