"""Nodes on tensors: definitions against torch and plain loops, spans and accumulators against every operand, files."""

import dataclasses
import itertools
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hwlut
from hwlut import Fixed, LutMatmul, Multiplier, Program, Requantize
from hwlut.fixed import signed_bits
from hwlut.units import Encoder, Port
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.patches import MaximumPool, Patches, SumPool
from hwlut.units.products import Convolve, Linear, MatrixProduct

EXACT = Multiplier(family="exact", bits=8, signed=True)
MIXED = Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(8))
DRUM = Multiplier(family="drum", bits=6, signed=True, k=3)
TABLE = Multiplier(
    family="table",
    a=Fixed(2),
    b=Fixed(2, signed=False),
    products=((5, -1, 2, 0), (3, 3, -7, 1), (0, 1, 2, 3), (-4, 6, 5, 7)),
)


HALF = Requantize(input=Fixed(4), multipliers=(1,), shifts=(1,), output=Fixed(4))


def integers(low, high, *shape, seed=0):
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))


def codes_of(format, *shape, seed=0):
    return integers(format.min, format.max, *shape, seed=seed)


def reals(found):
    return found.round().long()


CONVOLUTIONS = {
    "plain": dict(input=(3, 7, 8), weights=(5, 3, 3, 3), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1),
    "padded": dict(input=(3, 7, 8), weights=(5, 3, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 1), groups=1),
    "dilated": dict(input=(2, 9, 8), weights=(4, 2, 3, 2), stride=(1, 3), padding=(2, 0), dilation=(3, 2), groups=1),
    "grouped": dict(input=(4, 6, 5), weights=(6, 2, 2, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=2),
    "depthwise": dict(input=(4, 6, 5), weights=(4, 1, 3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=4),
    "one axis": dict(input=(3, 11), weights=(4, 3, 4), stride=(3,), padding=(2,), dilation=(2,), groups=1),
    "volume": dict(
        input=(2, 4, 5, 6), weights=(3, 1, 2, 1, 3), stride=(1, 2, 1), padding=(1, 0, 1), dilation=(1, 1, 2), groups=1
    ),
}
CONVOLUTIONS["volume"] |= {"input": (1, 4, 5, 6)}


def convolution(name, multiplier, **changes):
    geometry = dict(CONVOLUTIONS[name])
    geometry.pop("input")
    shape = geometry.pop("weights")
    fields = dict(
        multiplier=multiplier,
        weights=codes_of(multiplier.b, *shape, seed=1).numpy(),
        zeros=tuple(integers(-9, 9, shape[0], seed=2).tolist()),
        constants=integers(-1000, 1000, shape[0], seed=3).numpy(),
        fill=min(3, multiplier.a.max),
        **geometry,
    )
    return Convolve("y", "x", **fields | changes)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("multiplier", [EXACT, MIXED], ids=["signed", "mixed"])
def test_convolutions_against_torch_in_float64(name, multiplier):
    node = convolution(name, multiplier)
    x = codes_of(multiplier.a, 2, *CONVOLUTIONS[name]["input"])
    pads = [width for each in reversed(node.padding) for width in (each, each)]
    weights = torch.tensor(node.weights, dtype=torch.float64)
    weights = weights - torch.tensor(node.zeros).view(-1, *[1] * (len(node.stride) + 1))
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(node.stride)]
    padded = F.pad(x.double(), pads, value=node.fill)
    want = convolve(padded, weights, torch.tensor(node.constants).double(), node.stride, 0, node.dilation, node.groups)
    assert torch.equal(node(x), reals(want))
    assert node(x).dtype == torch.int64
    plain = convolution(name, multiplier, zeros=(0,), constants=None, fill=0)
    weights = torch.tensor(node.weights, dtype=torch.float64)
    want = convolve(x.double(), weights, None, node.stride, node.padding, node.dilation, node.groups)
    assert torch.equal(plain(x), reals(want))
    shifted = convolution(name, multiplier, zeros=(7,), constants=None, fill=0)
    want = convolve(x.double(), weights - 7, None, node.stride, node.padding, node.dilation, node.groups)
    assert torch.equal(shifted(x), reals(want))


@pytest.mark.parametrize("multiplier", [DRUM, TABLE], ids=["drum", "table"])
@pytest.mark.parametrize("name", ["padded", "grouped", "one axis"])
def test_approximate_convolutions_against_a_loop(name, multiplier):
    node = convolution(name, multiplier)
    x = codes_of(multiplier.a, 1, *CONVOLUTIONS[name]["input"])
    products, got = multiplier.products().tolist(), node(x)
    width = node.weights.shape[1]
    for n, o, *place in itertools.product(*map(range, got.shape)):
        group = o // (len(node.weights) // node.groups)
        total = int(node.constants[o])
        for c, *at in itertools.product(*map(range, node.weights.shape[1:])):
            where = [
                p * s - pad + k * d for p, s, pad, k, d in zip(place, node.stride, node.padding, at, node.dilation)
            ]
            inside = all(0 <= each < size for each, size in zip(where, x.shape[2:]))
            a = int(x[(n, group * width + c, *where)]) if inside else node.fill
            w = int(node.weights[(o, c, *at)])
            total += products[a - multiplier.a.min][w - multiplier.b.min] - node.zeros[o] * a
        assert got[(n, o, *place)] == total


@pytest.mark.parametrize("multiplier", [EXACT, DRUM, TABLE], ids=["exact", "drum", "table"])
def test_linear_against_a_loop(multiplier):
    weights, x = codes_of(multiplier.b, 4, 5, seed=1), codes_of(multiplier.a, 2, 3, 5)
    products = multiplier.products().tolist()
    for zeros, constants in (((0,), None), ((-3,), None), ((1, 2, -3, 0), np.array([9, -9, 1000, 0]))):
        node = Linear("y", "x", multiplier=multiplier, weights=weights.numpy(), zeros=zeros, constants=constants)
        want = [
            [
                sum(
                    products[a - multiplier.a.min][w - multiplier.b.min] - zeros[n % len(zeros)] * a
                    for a, w in zip(row, weights[n].tolist())
                )
                + (0 if constants is None else int(constants[n]))
                for n in range(4)
            ]
            for row in x.view(-1, 5).tolist()
        ]
        assert node(x).view(-1, 4).tolist() == want


@pytest.mark.parametrize("multiplier", [EXACT, DRUM, TABLE], ids=["exact", "drum", "table"])
@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((4, 2, 3), (3, 2))])
def test_products_of_two_operands_against_a_loop(multiplier, shapes):
    products = multiplier.products()
    a, b = (codes_of(format, *shape) for format, shape in zip((multiplier.a, multiplier.b), shapes))
    for a_zero, b_zero in ((0, 0), (2, 0), (0, -1), (-1, 2)):
        node = MatrixProduct("y", "a", "b", multiplier=multiplier, a_zero=a_zero, b_zero=b_zero, most=3)
        rows, columns = a[..., :, None, :], b.transpose(-1, -2)[..., None, :, :]
        each = products[rows - multiplier.a.min, columns - multiplier.b.min]
        want = (each - b_zero * rows - a_zero * columns + a_zero * b_zero).sum(-1)
        assert torch.equal(node(a, b), want)


def test_large_sums_stay_exact():
    wide = Multiplier(family="exact", bits=16, signed=True)
    rows = torch.full((1, 1 << 20), 1 << 14)
    rows[0, 0] += 1
    node = Linear("y", "x", multiplier=wide, weights=np.full((1, 1 << 20), -(1 << 15)), zeros=(0,), constants=None)
    assert node(rows).item() == -((1 << 20) * (1 << 29)) - (1 << 15)


def partial_sums(terms, constants=()):
    """Sums of every subset of the terms, with and without each of the constants."""
    sums = [sum(chosen) for count in range(len(terms) + 1) for chosen in itertools.combinations(terms, count)]
    return sums + [each + constant for each in sums for constant in constants]


@pytest.mark.parametrize("constants", [None, (3, -5)], ids=["none", "constants"])
@pytest.mark.parametrize("zeros", [(0,), (1,), (3, 3), (1, -2)], ids=str)
@pytest.mark.parametrize("span", [(-2, 1), (0, 1), (-1, -1)], ids=str)
@pytest.mark.parametrize("family", ["exact", "table"])
def test_spans_and_accumulators_of_weights_against_every_operand(family, span, zeros, constants):
    multiplier = TABLE if family == "table" else Multiplier(family="exact", a=TABLE.a, b=TABLE.b)
    weights = np.array([[0, 3, 1], [2, 2, 0]])
    given = None if constants is None else np.array(constants)
    node = Linear("y", "x", multiplier=multiplier, weights=weights, zeros=zeros, constants=given)
    rows = torch.tensor(list(itertools.product(range(span[0], span[1] + 1), repeat=3)))
    whole, parts = node(rows), []
    products = multiplier.products()
    for row in rows:
        for n in range(2):
            terms = products[row - multiplier.a.min, torch.tensor(weights[n])] - zeros[n % len(zeros)] * row
            parts += partial_sums(terms.tolist(), () if constants is None else (constants[n],))
    low, high = node.span(span)
    held = node.accumulator(span)
    assert low <= whole.min() and whole.max() <= high
    assert held.min <= min(parts) and max(parts) <= held.max
    if family == "exact" or not any(zeros):
        assert (low, high) == (whole.min(), whole.max())
        assert held == Fixed(signed_bits(min(parts), max(parts)))


def test_bounds_of_a_product_too_large_for_a_table():
    wide = Multiplier(family="drum", bits=12, signed=True, k=4)
    weights = codes_of(wide.b, 3, 4).numpy()
    node = Linear("y", "x", multiplier=wide, weights=weights, zeros=(5,), constants=None)
    low, high = node.span((-2048, 2047))
    found = node(codes_of(wide.a, 500, 4, seed=1))
    assert low <= found.min() and found.max() <= high


def test_padding_counts_in_spans():
    fields = dict(
        multiplier=EXACT, weights=np.full((1, 1, 2), 10), constants=None, stride=(1,), dilation=(1,), groups=1
    )
    padded = Convolve("y", "x", zeros=(0,), padding=(1,), fill=-100, **fields)
    assert padded.span((0, 5)) == (-2000, 100)
    assert Convolve("y", "x", zeros=(0,), padding=(0,), fill=-100, **fields).span((0, 5)) == (0, 100)
    assert Convolve("y", "x", zeros=(0,), padding=(0,), fill=-1000, **fields).span((0, 5)) == (0, 100)
    with pytest.raises(ValueError, match="^of must be from -128 to 127, not -1000 to 5$"):
        Convolve("y", "x", zeros=(0,), padding=(1,), fill=-1000, **fields).span((0, 5))


@pytest.mark.parametrize("zeros", [(0, 0), (1, 0), (-2, 2)], ids=str)
@pytest.mark.parametrize("family", ["exact", "table"])
def test_spans_and_accumulators_of_two_operands_against_every_one(family, zeros):
    multiplier = TABLE if family == "table" else Multiplier(family="exact", a=TABLE.a, b=TABLE.b)
    node = MatrixProduct("y", "a", "b", multiplier=multiplier, a_zero=zeros[0], b_zero=zeros[1], most=2)
    a_span, b_span = (-2, 1), (0, 3)
    low, high = node.span(a_span, b_span)
    held = node.accumulator(a_span, b_span)
    pairs = list(itertools.product(range(-2, 2), range(4)))
    products = multiplier.products()
    raw = [int(products[a + 2, b]) for a, b in pairs]
    terms = [p - zeros[1] * a - zeros[0] * b + zeros[0] * zeros[1] for p, (a, b) in zip(raw, pairs)]
    sums = terms + [x + y for x, y in itertools.product(terms, repeat=2)]
    assert low <= min(sums) and max(sums) <= high
    if family == "exact":
        assert (low, high) == (min(sums), max(sums))
    rows = torch.tensor(list(itertools.product(range(-2, 2), repeat=2)))
    columns = torch.tensor(list(itertools.product(range(4), repeat=2))).t()
    assert node(rows, columns).min() == min(x + y for x, y in itertools.product(terms, repeat=2))
    ends = [0, *raw, *(x + y for x, y in itertools.product(raw, repeat=2)), *sums]
    assert held.min <= min(ends) and max(ends) <= held.max


POOLS = {
    "plain": dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0)),
    "overlapping": dict(kernel=(3, 2), stride=(1, 2), padding=(1, 0)),
    "padded": dict(kernel=(3, 3), stride=(2, 1), padding=(1, 1)),
}


@pytest.mark.parametrize("geometry", POOLS.values(), ids=POOLS)
def test_pools_against_torch(geometry):
    x = integers(-500, 500, 2, 3, 7, 6)
    for dilation in ((1, 1), (2, 1)):
        node = MaximumPool("y", "x", **geometry, dilation=dilation)
        want = F.max_pool2d(x.double(), *geometry.values(), dilation)
        assert torch.equal(node(x), reals(want))
        patched = Patches("y", "x", **geometry, dilation=dilation, fill=-7)
        pads = [width for each in reversed(geometry["padding"]) for width in (each, each)]
        rows = F.unfold(F.pad(x.double(), pads, value=-7), geometry["kernel"], dilation, 0, geometry["stride"])
        assert torch.equal(patched(x), reals(rows).transpose(1, 2).view(2, *want.shape[2:], -1))
        assert patched.span((0, 5)) == (-7, 5)
    pads = [width for each in reversed(geometry["padding"]) for width in (each, each)]
    mean = F.avg_pool2d(F.pad(x.double(), pads, value=11), geometry["kernel"], geometry["stride"])
    node = SumPool("y", "x", **geometry, fill=11)
    assert torch.equal(node(x), reals(mean * math.prod(geometry["kernel"])))
    count = math.prod(geometry["kernel"])
    assert node.span((-3, 5)) == (-3 * count, 11 * count)
    line, volume = integers(0, 99, 1, 2, 9), integers(0, 99, 1, 2, 5, 4, 6)
    fields = dict(kernel=(3,), stride=(2,), padding=(1,))
    assert torch.equal(
        MaximumPool("y", "x", **fields, dilation=(1,))(line), F.max_pool1d(line.double(), 3, 2, 1).long()
    )
    cubes = MaximumPool("y", "x", kernel=(2, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1), dilation=(1, 1, 1))
    assert torch.equal(cubes(volume), F.max_pool3d(volume.double(), (2, 2, 3), (1, 2, 1), (0, 1, 1)).long())


def test_fills_are_exact_up_to_62_bits():
    odd = (1 << 60) + 1
    x = torch.zeros(1, 1, 2, dtype=torch.int64)
    fields = dict(kernel=(2,), stride=(1,), padding=(1,))
    assert Pad("y", "x", (1, 0), odd)(x).tolist() == [[[odd, 0, 0]]]
    assert SumPool("y", "x", **fields, fill=odd)(x).tolist() == [[[odd, 0, odd]]]
    assert Patches("y", "x", **fields, dilation=(1,), fill=odd)(x).tolist() == [[[odd, 0], [0, 0], [0, odd]]]


def test_patches_that_have_nothing_in_them_are_refused():
    x = torch.zeros(1, 1, 4, dtype=torch.int64)
    pool = MaximumPool("y", "x", kernel=(2,), stride=(1,), padding=(2,), dilation=(1,))
    with pytest.raises(ValueError, match="^Program node 'y' must have no patches of padding alone$"):
        pool(x)
    fields = dict(kernel=(3,), stride=(1,), padding=(0,), dilation=(2,))
    for node in (MaximumPool("y", "x", **fields), Patches("y", "x", **fields, fill=0)):
        with pytest.raises(ValueError, match="^patches of 5 places need as many with padding, not 4$"):
            node(x)
        with pytest.raises(ValueError, match=r"^patches of 1 axes need \[N, C, \*in\], not \[1, 4\]$"):
            node(x[0])


def test_movements_against_numpy():
    x = integers(-9, 9, 2, 3, 4)
    held = x.numpy()
    assert np.array_equal(Reshape("y", "x", (2, -1))(x), held.reshape(2, 12))
    assert np.array_equal(Permute("y", "x", (0, 2, 1))(x), held.transpose(0, 2, 1))
    assert np.array_equal(Slice("y", "x", 1, 1, 3, 1)(x), held[:, 1:3])
    assert np.array_equal(Slice("y", "x", -1, 0, 9, 3)(x), held[:, :, 0:9:3])
    assert np.array_equal(
        Pad("y", "x", (1, 2, 0, 3), -5)(x), np.pad(held, ((0, 0), (0, 3), (1, 2)), constant_values=-5)
    )
    assert Pad("y", "x", (1, 2), -5).span((0, 3)) == (-5, 3)
    table = integers(-99, 99, 7, 5, seed=1).numpy()
    index = integers(0, 6, 2, 3)
    gather = Gather("y", "x", table)
    assert np.array_equal(gather(index), table[index.numpy()])
    assert gather.span((0, 6)) == (table.min(), table.max())


def test_concatenation_broadcasts_all_axes_but_its_own():
    token, row, x = integers(0, 9, 1, 1, 4), integers(0, 9, 1, 2, 1, seed=1), integers(0, 9, 3, 5, 4, seed=2)
    got = Concatenate("y", ("t", "r", "x"), 1)(token, row, x)
    want = [np.broadcast_to(each.numpy(), (3, each.shape[1], 4)) for each in (token, row, x)]
    assert np.array_equal(got, np.concatenate(want, 1))
    assert torch.equal(Concatenate("y", ("t", "r", "x"), -2)(token, row, x), got)
    assert Concatenate("y", ("t", "x"), 1).span((-3, 1), (0, 9)) == (-3, 9)


def test_rescale_against_fractions_along_any_axis():
    unit = Requantize(input=Fixed(12), multipliers=(3, 5, 1 << 30), shifts=(2, 4, 31), zero_point=1, output=Fixed(8))
    x = integers(-2048, 2047, 2, 3, 4)

    def want(value, channel):
        scaled = math.floor(Fraction(value * unit.multipliers[channel], 1 << unit.shifts[channel]) + Fraction(1, 2))
        return min(127, max(-128, scaled + 1))

    for axis, order in ((1, (0, 1, 2)), (-1, (0, 2, 1)), (0, (1, 0, 2))):
        moved = x.permute(order)
        got = Rescale("y", "x", unit, axis)(moved).permute(order)
        assert all(got[n, c, k] == want(int(x[n, c, k]), c) for n in range(2) for c in range(3) for k in range(4))
    assert Rescale("y", "x", unit, 1).span((-2048, 2047)) == (-128, 127)


def look_up(**changes):
    fields = dict(
        encoder=Encoder.L1,
        features=4,
        v=2,
        prototypes=integers(-128, 127, 2, 4, 2).numpy(),
        table=integers(-128, 127, 2, 4, 3, seed=1).numpy(),
    )
    return LutMatmul(**fields | changes)


def test_look_up_of_rows_against_a_loop():
    unit, x = look_up(bias=np.array([1, 2, 3])), integers(-128, 127, 2, 5, 4)
    got = LookUp("y", "x", unit)(x)
    for n, t in itertools.product(range(2), range(5)):
        total = np.array([1, 2, 3])
        for c, part in enumerate(x[n, t].view(2, 2).numpy()):
            nearest = np.abs(unit.prototypes[c].astype(int) - part).sum(1).argmin()
            total = total + unit.table[c, nearest]
        assert got[n, t].tolist() == total.tolist()
    assert LookUp("y", "x", unit).span((-128, 127)) == (unit.accumulator.min, unit.accumulator.max)


def one(node, bits=8):
    return Program(inputs=(Port("x", Fixed(bits)),), nodes=(node,), outputs=(Port("y", Fixed(40)),))


def conv(**changes):
    return convolution("plain", EXACT, **changes)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: conv(weights=np.full((5, 3, 3, 3), 128)),
            "weights must be of the multiplier's format s8, not 128 to 128",
        ),
        (lambda: conv(zeros=(1, 2)), "zeros must be 1 or 5, one an output, not 2"),
        (lambda: conv(constants=np.zeros(4, int)), "constants must be 5, one an output, not 4"),
        (lambda: conv(weights=np.zeros((5, 3), int)), "weights must have from 3 to 5 dimensions, not 2"),
        (lambda: conv(stride=(1,)), r"stride must be 2 numbers, as the kernel has axes, not \(1,\)"),
        (lambda: conv(groups=2), "groups must divide the 5 outputs, not 2"),
        (
            lambda: Linear("y", "x", multiplier=EXACT, weights=np.zeros((1, 1, 1), int), constants=None),
            "weights must have 2 dimensions, not 3",
        ),
        (lambda: Permute("y", "x", (0, 0)), r"order must have each axis once, not \(0, 0\)"),
        (lambda: Reshape("y", "x", (-1, 2, -1)), r"shape must have -1 at most once, not \(-1, 2, -1\)"),
        (lambda: Pad("y", "x", (1, 1, 1), 0), r"widths must be pairs, not \(1, 1, 1\)"),
        (
            lambda: SumPool("y", "x", kernel=(2,) * 4, stride=(1,), padding=(0,), fill=0),
            r"kernel must have from 1 to 3 sizes, not \(2, 2, 2, 2\)",
        ),
        (
            lambda: SumPool("y", "x", kernel=(2,), stride=(1, 1), padding=(0,), fill=0),
            r"stride must be 1 numbers, as the kernel is, not \(1, 1\)",
        ),
        (lambda: one(conv(), 9), "of must be from -128 to 127, not -256 to 255"),
        (lambda: one(Gather("y", "x", np.zeros((9, 2), int))), "of must be from 0 to 8, not -128 to 127"),
        (lambda: one(LookUp("y", "x", look_up()), 9), "of must be from -128 to 127, not -256 to 255"),
        (
            lambda: one(Rescale("y", "x", HALF, 0)),
            "of must be from -8 to 7, not -128 to 127",
        ),
        (
            lambda: one(conv(constants=np.full(5, (1 << 62) - 1))),
            "sums must stay within 62 bits, not reach 4611686018427",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=f"^Program node 'y' {message}"):
        build()


def test_longer_sums_than_promised_are_refused():
    node = MatrixProduct("y", "a", "b", multiplier=EXACT, a_zero=0, b_zero=0, most=2)
    with pytest.raises(ValueError, match="^Program node 'y' must have sums of at most 2 products, not 3$"):
        node(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(3, 1, dtype=torch.int64))


def network():
    scale = Requantize(input=Fixed(32), multipliers=(1 << 20,) * 16, shifts=(31,) * 16, output=Fixed(8))
    nodes = (
        Convolve(
            "sums",
            "x",
            multiplier=DRUM.replace(a=Fixed(8), b=Fixed(8)),
            weights=codes_of(Fixed(8), 16, 32, 3, 3).numpy(),
            zeros=tuple(range(16)),
            constants=integers(-(1 << 20), 1 << 20, 16).numpy(),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            groups=1,
            fill=2,
        ),
        Rescale("codes", "sums", scale, 1),
        MaximumPool("pooled", "codes", kernel=(4, 4), stride=(4, 4), padding=(0, 0), dilation=(1, 1)),
        Reshape("rows", "pooled", (-1, 16)),
        LookUp(
            "looked",
            "rows",
            look_up(
                features=16,
                v=2,
                prototypes=integers(-128, 127, 8, 16, 2).numpy(),
                table=integers(-128, 127, 8, 16, 40).numpy(),
            ),
        ),
        Linear("y", "rows", multiplier=EXACT, weights=codes_of(Fixed(8), 300, 16).numpy(), constants=None),
    )
    ports = dict(
        inputs=(Port("x", Fixed(8), shape=(32, 4, 4)),), outputs=(Port("looked", Fixed(32)), Port("y", Fixed(32)))
    )
    return Program(name="network", nodes=nodes, **ports)


def test_files_of_networks(tmp_path):
    program = network()
    program.save(tmp_path / "network.json")
    assert sorted(program.large_arrays()) == ["looked.unit.table", "sums.weights", "y.weights"]
    again = hwlut.load(tmp_path / "network.json")
    assert again == program and again.digest == program.digest
    x = codes_of(Fixed(8), 2, 32, 4, 4)
    for copy in (again, pickle.loads(pickle.dumps(program))):
        assert all(torch.equal(got, want) for got, want in zip(copy(x), program(x)))
    other = program.nodes[0].weights.copy()
    other[3, 2, 1, 0] ^= 1
    first = dataclasses.replace(program.nodes[0], weights=other)
    assert program.replace(nodes=(first, *program.nodes[1:])).digest != program.digest
