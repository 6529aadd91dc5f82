"""Softmax, normalizations and gated products as programs: against float64, and code by code against plain integers."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

import hwlut
from hwlut import Fixed
from hwlut.cli import main
from hwlut.program import gated, layer_norm, rms_norm, softmax
from hwlut.program.row_errors import normalization_errors, softmax_errors
from hwlut.units import Port, Program
from hwlut.units.operations import Add, Apply
from hwlut.units.reductions import Entries

FORMATS = [Fixed(8, 4), Fixed(8, 5), Fixed(12, 8), Fixed(16, 10)]
FINE = Fixed(16, 15, False)


def real(codes, format):
    return codes.double() / 2**format.frac


def rows(format, *shape, spread=2.0, mean=0.0, seed=0):
    """Codes of normal reals, saturated, but never the lowest."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * spread + mean
    return (drawn * 2**format.frac).round().clamp(format.min + 1, format.max).long()


def unit_of(program, name):
    return next(node.unit for node in program.nodes if node.name == name)


def line(unit, q):
    """A core at one code, by the definition of a Pwl: exact, then rounded half up to 16 fraction bits."""
    (scale,) = unit.scales
    place = sum(p <= q for p in unit.breakpoints)
    exact = Fraction(unit.slopes[place] * q, 2 ** (unit.slope.frac + scale))
    exact += Fraction(unit.intercepts[place], 2**unit.intercept.frac)
    return min(max(math.floor(exact * 2**16 + Fraction(1, 2)), 0), 2**17 - 1)


def half_up(value):
    return math.floor(value + Fraction(1, 2))


def held(value, format):
    return min(max(value, format.min), format.max)


def mantissa(value, base, frac):
    """e and the code of m with `frac` fraction bits, of value = m * base^e."""
    exponent = 0
    while base ** (exponent + 1) <= value:
        exponent += 1
    return exponent, math.floor(Fraction(value, base**exponent) * 2**frac)


def softmax_row(program, row, most):
    """One row by plain integers and fractions; the cores are the program's own."""
    input, output = program.input, program.output
    powers = []
    finer = max(0, math.ceil(math.log2(most)) - 8)
    tabled = not any(node.name == "core" for node in program.nodes)
    for q in row:
        if tabled:
            power = half_up(Fraction(math.exp((q - max(row)) / 2**input.frac)) * 2 ** (16 + finer))
            powers.append(0 if q == input.min else power)
            continue
        octaves = half_up(Fraction((max(row) - q) * 23637, 2 ** (14 + input.frac - 12)))
        power = line(unit_of(program, "core"), octaves % 2**12)
        power = half_up(Fraction(power * 2**finer, 2 ** min(octaves // 2**12, 18 + finer)))
        powers.append(0 if q == input.min else power)
    exponent, m = mantissa(sum(powers), 2, 15) if any(powers) else (0, 0)
    reciprocal = line(unit_of(program, "reciprocal"), m)
    scale = Fraction(2**output.frac, 2 ** (16 + exponent))
    return [held(half_up(power * reciprocal * scale), output) for power in powers]


def norm_row(program, row, eps, weight=None, bias=None, centre=True, places=None):
    """The first places of one row by plain integers and fractions; the core is the program's own."""
    input, output = program.input, program.output
    n, length = len(row), (len(row) - 1).bit_length()
    drop, eps = 0, Fraction(eps) * n * 4**input.frac
    if centre:
        drop = max(0, length - 8, math.ceil(input.bits + 1.5 * length - 30))
        total = sum(row)
        row = [(2 * (n * q - total) + 2**drop) // 2 ** (drop + 1) for q in row]
        eps *= Fraction(n**2, 4**drop)
    squares = sum(c * c for c in row)
    guard = 0
    if eps:
        while eps * 4**guard < 256:
            guard += 1
    guard = min(guard, (60 - program.spans["squares"][1].bit_length()) // 2)
    total = squares * 4**guard + round(eps * 4**guard)
    half, m = mantissa(total, 4, 14) if total else (0, 0)
    inverse = line(unit_of(program, "core"), m)
    shift = 0
    while 4 ** (shift + 1) <= n:
        shift += 1
    bound = 2 ** (14 + (length + 1) // 2)
    results = []
    for place, c in enumerate(row[:places]):
        z = half_up(c * inverse * Fraction(2 ** (14 + guard + shift), 2 ** (16 + half)))
        y = Fraction(min(max(z, -bound), bound), 2**14)
        if weight is not None:
            y *= Fraction(
                int(np.rint(weight[place] * 2 ** program.meta["weight_frac"])), 2 ** program.meta["weight_frac"]
            )
        if bias is not None:
            y += Fraction(int(np.rint(bias[place] * 2 ** program.meta["bias_frac"])), 2 ** program.meta["bias_frac"])
        results.append(held(half_up(y * 2**output.frac), output))
    return results


@pytest.mark.parametrize("segments", [None, 4])
@pytest.mark.parametrize("input", FORMATS, ids=str)
def test_softmax_is_within_its_targets(input, segments):
    codes = rows(input, 400, 197)
    exact = real(codes, input).softmax(-1)
    for output in (FINE, Fixed(24, 22), Fixed(16, 11)):
        errors = softmax_errors(
            real(softmax(input=input, output=output, most=1024, segments=segments)(codes), output), exact
        )
        assert errors.largest <= 2e-3
        if output.frac > 11:  # 197 places of half a step are more than a hundredth
            assert errors.row_sum <= 1e-2 and errors.divergence <= 1e-3


def test_softmax_of_more_segments_is_better():
    input, output = Fixed(16, 12), Fixed(32, 30)
    codes = rows(input, 200, 197)
    exact = real(codes, input).softmax(-1)
    largest = []
    for segments in (2, 4, 8):
        program = softmax(input=input, output=output, most=256, segments=segments)
        assert unit_of(program, "core").segments == segments and unit_of(program, "reciprocal").segments == 2 * segments
        largest.append(softmax_errors(real(program(codes), output), exact).largest)
    assert all(2 * finer < coarser for coarser, finer in itertools.pairwise(largest))


@pytest.mark.parametrize("segments", [None, 4])
@pytest.mark.parametrize("most", [13, 300])
@pytest.mark.parametrize(("input", "output"), [*zip(FORMATS, [FINE, Fixed(8, 8, False), Fixed(20, 18), Fixed(32, 31)])])
def test_softmax_is_what_plain_integers_give(input, output, most, segments):
    program = softmax(input=input, output=output, most=most, segments=segments)
    assert program.meta["powers"] == ("truth table" if segments is None and input.bits == 8 else "4 segments")
    for places in (*range(1, 14), most):
        given = torch.cat([rows(input, 2, places, seed=places), rows(input, 1, places, spread=99)])
        given[0, places // 2] = input.min
        results = program(given)
        for row, result in zip(given.tolist(), results.tolist()):
            assert result == softmax_row(program, row, most)
    with pytest.raises(ValueError, match=f"'total' rows must have at most {most} places, not {most + 1}"):
        program(rows(input, 1, most + 1))


@pytest.mark.parametrize("segments", [None, 4])
def test_softmax_over_every_distance(segments):
    input, output = Fixed(10, 5), Fixed(24, 23, False)
    program = softmax(input=input, output=output, most=2, segments=segments)
    pairs = [[low, input.max] for low in range(input.min, input.max + 1)]
    results = program(torch.tensor(pairs)).tolist()
    assert results == [softmax_row(program, pair, 2) for pair in pairs]
    lower = np.array([result[0] for result in results[1:]]) / 2**23
    exact = 1 / (1 + np.exp(np.arange(len(pairs) - 2, -1, -1) / 2**5))
    # Against the least lower power, which is rounded to 2^-16.
    assert np.abs(lower - exact).max() < 2e-3 and results[0] == [0, results[0][1]]


@pytest.mark.parametrize("segments", [None, 4])
@pytest.mark.parametrize("input", [Fixed(8, 4), Fixed(9, 3, False)], ids=str)
def test_softmax_extremes(input, segments):
    program = softmax(input=input, output=FINE, most=4096, segments=segments)

    def of(*row):
        return program(torch.tensor(row)).tolist()

    for code in (input.min + 1, 5, input.max):
        for places in (1, 3, 64, 4096):
            (share,) = set(of(*[code] * places))
            assert abs(share / 2**15 - 1 / places) <= 2e-3 / places + 2**-16
    assert abs(of(*[input.min + 1] * 9, input.max)[-1] / 2**15 - 1) < 3e-3
    # Masks: what is hidden has no part, and a row of nothing else is 0.
    row = rows(input, 30, mean=float(input.signed) - 1 + 9).tolist()
    mixed = list(itertools.chain.from_iterable((code, input.min) for code in row))
    assert of(*mixed) == [*itertools.chain.from_iterable((y, 0) for y in of(*row))]
    assert of(input.min) == [0] and of(*[input.min] * 50) == [0] * 50
    assert of(input.min, input.min + 1) == [0, *of(input.max)]


def test_softmax_depends_on_distances_alone():
    program = softmax(input=Fixed(12, 8), output=FINE, most=64)
    codes = rows(Fixed(12, 8), 20, 64, spread=1)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(program(codes + 300), program(codes))
    assert torch.equal(program(codes[:, order]), program(codes)[:, order])
    assert torch.equal(program(codes.view(4, 5, 64)), program(codes).view(4, 5, 64))


def test_small_powers_of_long_rows_are_not_lost():
    input, output = Fixed(12, 7), Fixed(24, 22)
    program = softmax(input=input, output=output, most=1 << 20)
    # One place, and a million whose powers are 2^-17.3 each: eight times the one.
    codes = torch.full((1, 1 << 20), round(-12 * 2**7))
    codes[0, 0] = 0
    exact = 1 / (1 + (2**20 - 1) * math.exp(-12))
    assert abs(program(codes)[0, 0].item() / 2**22 / exact - 1) < 6e-3


def test_softmax_saturates():
    for output, one in ((Fixed(8, 8, False), 255), (Fixed(8, 7), 127), (Fixed(8, 4), 16)):
        assert softmax(input=Fixed(8, 4), output=output, most=4)(torch.tensor([100, -100])).tolist() == [one, 0]


NORMS = [(layer_norm, functional.layer_norm), (rms_norm, functional.rms_norm)]


def values(size, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(1, 0.3, size), generator.normal(0, 0.5, size)


@pytest.mark.parametrize("input", FORMATS, ids=str)
@pytest.mark.parametrize("size", [7, 192, 768])
def test_normalizations_are_within_their_targets(input, size):
    output, eps = Fixed(16, 11), 1e-5
    weight, bias = values(size)
    scale = torch.arange(1, 41, dtype=torch.float64)[:, None] / 20
    codes = (rows(input, 40, size, spread=1.0) * scale).round().long().clamp(input.min, input.max)
    for program, exact in (
        (
            layer_norm(input=input, output=output, size=size, eps=eps, weight=weight, bias=bias),
            functional.layer_norm(real(codes, input), (size,), torch.tensor(weight), torch.tensor(bias), eps),
        ),
        (
            rms_norm(input=input, output=output, size=size, eps=eps, weight=weight),
            functional.rms_norm(real(codes, input), (size,), torch.tensor(weight), eps),
        ),
    ):
        errors = normalization_errors(real(program(codes), output), exact)
        assert errors.largest <= 4e-3 and errors.rms <= 4e-3


def test_normalization_of_more_segments_is_better():
    input, output = Fixed(16, 12), Fixed(32, 24)
    codes = rows(input, 300, 192, spread=1) * torch.arange(1, 301)[:, None] // 300
    for build, exact in NORMS:
        largest = []
        for segments in (2, 4, 8, 16):
            program = build(input=input, output=output, size=192, eps=1e-6, segments=segments)
            errors = normalization_errors(real(program(codes), output), exact(real(codes, input), (192,), eps=1e-6))
            largest.append(errors.largest)
        assert all(1.5 * finer < coarser for coarser, finer in itertools.pairwise(largest))


@pytest.mark.parametrize("input", [Fixed(4, 0), Fixed(8, 4), Fixed(8, 12, False), Fixed(16, 10)], ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 16, 200, 257, 768])
def test_normalizations_are_what_plain_integers_give(input, size):
    output = Fixed(14, 9)
    weight, bias = values(size, seed=size)
    given = torch.cat([rows(input, 2, size, seed=size), rows(input, 1, size, mean=3, spread=0.3)])
    given = torch.cat([given, torch.full((1, size), input.max)]).clamp(input.min, input.max)
    given[0, 0] = input.max
    for eps in (1e-5, 0, 1e-12, 0.3):
        program = layer_norm(input=input, output=output, size=size, eps=eps, weight=weight, bias=bias)
        plain = rms_norm(input=input, output=output, size=size, eps=eps, weight=weight)
        for row, result, other in zip(given.tolist(), program(given).tolist(), plain(given).tolist()):
            assert result == norm_row(program, row, eps, weight, bias)
            assert other == norm_row(plain, row, eps, weight, centre=False)


@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_long_rows_of_extreme_codes_stay_within_64_bits(size):
    input, output = Fixed(16, 8), Fixed(24, 14)
    program = layer_norm(input=input, output=output, size=size, eps=1e-5)
    plain = rms_norm(input=input, output=output, size=size, eps=1e-5)
    one = [input.min] * size
    one[3] = input.max
    half = [input.min, input.max] * (size // 2)
    for row in (one, half):
        assert program(torch.tensor(row)).tolist()[:5] == norm_row(program, row, 1e-5, places=5)
        assert plain(torch.tensor(row)).tolist()[:5] == norm_row(plain, row, 1e-5, centre=False, places=5)
    # The root of size - 1, to which the bound of 2^-14 sqrt(size) is no bar.
    assert program(torch.tensor(one))[3].item() / 2**14 == pytest.approx(math.sqrt(size - 1), rel=3e-3)
    assert max(high.bit_length() for _, high in program.spans.values()) <= 61


def test_equal_codes_give_the_bias():
    weight, bias = values(33)
    for eps in (0, 1e-5):
        program = layer_norm(input=Fixed(8, 4), output=Fixed(16, 9), size=33, eps=eps, weight=weight, bias=bias)
        expected = np.floor(np.rint(bias * 2 ** program.meta["bias_frac"]) / 2 ** (program.meta["bias_frac"] - 9) + 0.5)
        for code in (-128, 0, 127):
            assert program(torch.full((2, 33), code)).tolist() == [expected.tolist()] * 2
    assert rms_norm(input=Fixed(8, 4), output=Fixed(16, 9), size=4, eps=0)(torch.zeros(4).long()).tolist() == [0] * 4


def test_eps_is_as_near_as_the_width_allows():
    # Where eps is most of the variance, an error of it shows whole.
    codes = torch.tensor([[1, -1, 0, 0] * 12])
    for eps in (0.7, 1e-3, 1e-12):
        for build, exact in NORMS:
            for frac in (0, 7):
                program = build(input=Fixed(8, frac), output=Fixed(32, 24), size=48, eps=eps)
                expected = exact(codes.double() / 2**frac, (48,), eps=eps)
                found = normalization_errors(program(codes).double() / 2**24, expected)
                assert found.largest < 2.5e-3


def test_shifted_rows_are_normalized_alike():
    program = layer_norm(input=Fixed(12, 6), output=Fixed(16, 11), size=600, eps=1e-5)
    codes = rows(Fixed(12, 6), 10, 600, spread=1)
    assert torch.equal(program(codes + 777), program(codes))


def test_parameters_change_entries_alone():
    size, fracs = 20, {"weight_frac": 13, "bias_frac": 12}

    def build(weight, bias):
        given = {"input": Fixed(8, 4), "output": Fixed(16, 9), "size": size, "eps": 1e-5}
        return layer_norm(weight=weight, bias=bias, **given, **fracs)

    first, second = build(*values(size)), build(np.zeros(size), np.full(size, -1e-9))
    assert len(first.nodes) == len(second.nodes) and first.digest != second.digest
    for one, other in zip(first.nodes, second.nodes):
        assert one == other or (isinstance(one, Entries) and one.name == other.name in ("weight", "bias"))


def test_fraction_bits_of_parameters():
    def fracs(weight, bias):
        given = {"input": Fixed(8, 4), "output": Fixed(16, 9), "size": 1, "eps": 1e-5}
        meta = layer_norm(weight=np.array([weight]), bias=np.array([bias]), **given).meta
        return meta["weight_frac"], meta["bias_frac"]

    assert fracs(1.0, 0.9) == (14, 15)
    assert fracs(0.99999, 0.99998) == (14, 15)  # 32767.67 and 32767.34 of 2^-15
    assert fracs(-0.99995, 32767.0) == (15, 0)
    assert fracs(0.0, 1e-9) == (30, 30)


@pytest.mark.parametrize("make", ["pwl", "direct", "program"])
def test_gated_on_every_pair(make):
    gate, value = Fixed(8, 5), Fixed(6, 3)
    activation = hwlut.load("pretrained/silu_8.json")
    if make != "pwl":
        activation = hwlut.Direct.of(activation.replace(output=Fixed(8, 5)), 5)
    if make == "program":
        y = Port("y", activation.output)
        activation = Program(inputs=(Port("q", gate),), nodes=(Apply("y", "q", activation),), outputs=(y,))
    frac = {"pwl": activation.output_format(5).frac}.get(make, 5)
    pairs = torch.cartesian_prod(torch.arange(-128, 128), torch.arange(-32, 32))
    active = (activation(pairs[:, 0], scale=5) if make == "pwl" else activation(pairs[:, 0])).tolist()
    for output in (Fixed(8, 4), Fixed(5, 1, False), Fixed(32, 20)):
        program = gated(activation, gate=gate, value=value, output=output)
        exact = [a * v * Fraction(2**output.frac, 2 ** (frac + 3)) for a, v in zip(active, pairs[:, 1].tolist())]
        assert program(pairs[:, 0], pairs[:, 1]).tolist() == [held(half_up(each), output) for each in exact]
    reals = functional.silu(pairs[:, 0] / 2**5) * pairs[:, 1] / 2**3
    results = gated(activation, gate=gate, value=value, output=Fixed(16, 8))(pairs[:, 0], pairs[:, 1]) / 2**8
    assert (results - reals).abs().max() < 0.2


def programs():
    weight, bias = values(5000)
    norm = {"input": Fixed(8, 4), "output": Fixed(8, 4), "size": 5000, "eps": 1e-5, "weight": weight}
    yield softmax(input=Fixed(8, 4), output=FINE, most=9, name="attention")
    yield layer_norm(bias=bias, **norm)
    yield rms_norm(**norm)
    yield gated(hwlut.load("pretrained/gelu_8.json"), gate=Fixed(8, 5), value=Fixed(8, 4), output=Fixed(8, 3))


@pytest.mark.parametrize("number", range(4))
def test_files(number, tmp_path):
    program = list(programs())[number]
    program.save(tmp_path / f"{program.name}.json")
    again = hwlut.load(tmp_path / f"{program.name}.json")
    assert again == program and again.digest == program.digest
    assert again.meta["method"] == ("softmax", "layer_norm", "rms_norm", "gated")[number]
    codes = [rows(port.format, 2, 5000 if number in (1, 2) else 9) for port in program.inputs]
    assert torch.equal(again(*codes), program(*codes))


def test_row_programs_are_units_of_programs():
    inner = softmax(input=Fixed(8, 4), output=FINE, most=9)
    outer = Program.of(input=Fixed(8, 4), nodes=(Apply("y", "q", inner),), output=FINE)
    codes = rows(Fixed(8, 4), 3, 9)
    assert torch.equal(outer(codes), inner(codes))


def test_errors_of_rows():
    exact = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)
    given = torch.tensor([[0.5, 0.5], [0.0, 0.5]], dtype=torch.float64)
    errors = softmax_errors(given, exact)
    assert (errors.largest, errors.row_sum) == (0.25, 0.5)
    assert errors.divergence == pytest.approx(math.log(4 / 3))
    with pytest.raises(ValueError, match="softmax rows must have sums above 0"):
        softmax_errors(given * 0, exact)
    errors = normalization_errors(torch.tensor([[3.0, -3.0], [1.0, 1.0]]), torch.tensor([[3.0, -4.0], [1.0, 1.0]]))
    assert errors.largest == 0.25 and errors.rms == pytest.approx(0.2)


CODES = {"input": Fixed(8, 4), "output": FINE}
NORM = {"input": Fixed(8, 4), "output": Fixed(8, 4), "size": 2, "eps": 1e-5}
GELU = hwlut.load("pretrained/gelu_8.json")
GATED = {"gate": Fixed(8, 5), "value": Fixed(8, 4), "output": Fixed(8, 3)}


@pytest.mark.parametrize(
    ("build", "arguments", "error", "text"),
    [
        (softmax, CODES | {"most": 0}, ValueError, "softmax most must be from 1 to 1048576, not 0"),
        (softmax, CODES | {"most": 2.0}, TypeError, "softmax most must be an integer, not 2.0"),
        (
            softmax,
            CODES | {"most": 2, "input": Fixed(8)},
            TypeError,
            "softmax input must be a Fixed with a frac, not Fixed(bits=8, frac=None, signed=True)",
        ),
        (
            softmax,
            CODES | {"most": 2, "input": Fixed(17, 2)},
            ValueError,
            "softmax input bits must be from 4 to 16, not 17",
        ),
        (
            softmax,
            CODES | {"most": 2, "output": Fixed(33, 2)},
            ValueError,
            "softmax output bits must be from 2 to 32, not 33",
        ),
        (
            softmax,
            CODES | {"most": 2, "output": Fixed(8, 62)},
            ValueError,
            "softmax from s8.4 to s8.62 cannot be built: Program node 'share_raised' must stay within 62 bits, not 81",
        ),
        (
            softmax,
            CODES | {"most": 2, "segments": 0},
            ValueError,
            "softmax from s8.4 to u16.15 cannot be built: fit segments must be from 1 to 256, not 0",
        ),
        (layer_norm, NORM | {"size": 65537}, ValueError, "layer_norm size must be from 1 to 65536, not 65537"),
        (rms_norm, NORM | {"eps": -1.0}, ValueError, "rms_norm eps must be a number from 0, not -1.0"),
        (rms_norm, NORM | {"eps": math.inf}, ValueError, "rms_norm eps must be a number from 0, not inf"),
        (rms_norm, NORM | {"eps": "1"}, TypeError, "rms_norm eps must be a number, not '1'"),
        (
            rms_norm,
            NORM | {"eps": 1e20},
            ValueError,
            "rms_norm of 2 places from s8.4 to s8.4 cannot be built: eps must be less, not 1e+20",
        ),
        (
            layer_norm,
            NORM | {"weight": np.ones(3)},
            ValueError,
            "layer_norm of 2 places from s8.4 to s8.4 cannot be built: "
            "layer_norm weight must be of shape (2,), not (3,)",
        ),
        (
            layer_norm,
            NORM | {"weight": np.ones(2, int)},
            TypeError,
            "layer_norm weight must be an array of real numbers, not of int64",
        ),
        (
            layer_norm,
            NORM | {"bias": np.array([1.0, math.nan])},
            ValueError,
            "layer_norm of 2 places from s8.4 to s8.4 cannot be built: layer_norm bias must be finite",
        ),
        (
            rms_norm,
            NORM | {"weight": np.array([1.0, -4.5]), "weight_frac": 13},
            ValueError,
            "rms_norm of 2 places from s8.4 to s8.4 cannot be built: "
            "rms_norm weight must be within 16 bits with 13 of them fraction, not reach 4.5",
        ),
        (
            rms_norm,
            NORM | {"weight": np.ones(2), "weight_frac": 31},
            ValueError,
            "rms_norm of 2 places from s8.4 to s8.4 cannot be built: rms_norm weight_frac must be from 0 to 30, not 31",
        ),
        (
            rms_norm,
            NORM | {"weight": np.ones(2), "weight_frac": 3.0},
            TypeError,
            "rms_norm weight_frac must be an integer, not 3.0",
        ),
        (gated, GATED | {"gate": Fixed(8, 7)}, ValueError, "gated gate frac must be one of 0, 1, 2, 3, 4, 5, 6, not 7"),
        (
            gated,
            GATED | {"gate": Fixed(9, 5)},
            ValueError,
            "gated gelu_8 of s9.5 and s8.4 to s8.3 cannot be built: of must be from -128 to 127, not -256 to 255",
        ),
        (gated, GATED | {"value": Fixed(33, 4)}, ValueError, "gated value bits must be from 2 to 32, not 33"),
        (gated, GATED | {"output": 8}, TypeError, "gated output must be a Fixed with a frac, not 8"),
    ],
)
def test_what_cannot_be_built(build, arguments, error, text):
    with pytest.raises(error) as caught:
        build(*[GELU] * (build is gated), **arguments)
    assert str(caught.value) == text


def test_gated_takes_units_of_one_code():
    for unit in (3, hwlut.Multiplier(family="exact"), softmax(most=3, **CODES)):
        with pytest.raises(TypeError, match="^gated activation must be a unit of one code, not "):
            gated(unit, **GATED)


def test_rows_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"Program q codes must have the shape \[..., 2\], not \[4, 1\]"):
        layer_norm(**NORM)(torch.zeros(4, 1).long())
    nodes = (Entries("bias", [1, 2, 3]), Add("sum", "a", "bias"), Add("y", "sum", "b"))
    inputs = (Port("a", Fixed(4)), Port("b", Fixed(4)))
    program = Program(name="biased", inputs=inputs, nodes=nodes, outputs=(Port("y", Fixed(8)),))
    for shape in ((), (1,), (2, 1)):
        with pytest.raises(ValueError) as caught:
            program(torch.ones(shape).long(), torch.tensor(1))
        assert str(caught.value) == f"Program codes must have the shape [..., 3] of 'bias', not {list(shape)}"
    with pytest.raises(ValueError, match=r"shapes that broadcast to each other, not \[3\], \[2\]$"):
        program(torch.ones(3).long(), torch.ones(2).long())
    assert program(torch.ones(2, 1).long(), torch.ones(3).long()).tolist() == [[3, 4, 5]] * 2


def test_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert main(["reduce", *arguments, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        return told, hwlut.load(told["table"])

    told, program = run("softmax", "--input-format", "s8.4", "--output-format", "u16.15", "--most", "1024")
    assert program == softmax(most=1024, **CODES) and told["table"] == "softmax.json"
    assert told["function"] == "softmax" and (told["input"], told["output"]) == ("s8.4", "u16.15")
    formats = ("--input-format", "s8.4", "--output-format", "s8.4")
    assert run("rms_norm", *formats, "--size", "2", "--eps", "0.25")[1] == rms_norm(**NORM | {"eps": 0.25})
    more = ("--segments", "4", "--slope-bits", "9", "--intercept-bits", "17", "--name", "norm")
    told, program = run("layer_norm", *formats, "--size", "2", *more)
    assert program == layer_norm(segments=4, slope_bits=9, intercept_bits=17, name="norm", **NORM)
    assert told["name"] == "norm"


def test_commands_refuse(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    output = ("--output-format", "u16.15")
    for arguments, text in (
        (("softmax", *output), "softmax must be given --most"),
        (("softmax", "--most", "9"), "softmax must be given --output-format"),
        (("layer_norm", *output), "layer_norm must be given --size"),
        (("exp", "--most", "9"), "--most must be given with softmax, not with exp"),
        (("softmax", "--size", "9"), "--size must be given with layer_norm or rms_norm, not with softmax"),
        (("exp", "--eps", "9"), "--eps must be given with layer_norm or rms_norm, not with exp"),
        (("softmax", *output, "--most", "0"), "softmax most must be from 1 to 1048576, not 0"),
    ):
        assert main(["reduce", *arguments]) == 2
        assert capsys.readouterr().err == f"hwlut: {text}\n"
    assert not list(tmp_path.iterdir())
