"""Nodes on tensors in ONNX: onnxruntime gives what the program gives, bit for bit."""

import numpy as np
import pytest
import torch
from onnx_programs import EXACT, MIXED, S8, U8, agree, draw, held, kinds, of, weights

from hwlut import Fixed, Multiplier
from hwlut.program.onnx.factors import grouped
from hwlut.program.onnx.graph import Graph
from hwlut.program.onnx.products import float_type
from hwlut.units import LutMatmul, Requantize
from hwlut.units.applied import LookUp
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.operations import (
    Constant,
    ShiftLeft,
)
from hwlut.units.patches import MaximumPool, Patches, SumPool
from hwlut.units.ports import Port
from hwlut.units.products import Convolve, Linear, MatrixProduct
from hwlut.units.reductions import Entries


@pytest.fixture(autouse=True)
def _packages(need):
    need("onnx", "onnxruntime")


LINEAR = {
    "s8": (S8, EXACT["s8"], (0,), {"MatMulInteger"}),
    "u8": (U8, EXACT["u8"], (128,), {"MatMulInteger"}),
    "zeros": (U8, EXACT["u8"], (3, 255, 0, 128, 17), {"MatMulInteger", "ReduceSum"}),
    "mixed": (U8, MIXED, (-7,), {"MatMulInteger"}),
    "negative zero": (U8, Multiplier(family="exact", a=U8, b=Fixed(4, signed=False)), (-100,), {"MatMulInteger"}),
    "far zero": (S8, EXACT["s8"], (500,), {"MatMul"}),
    "s11": (Fixed(11), Multiplier(family="exact", a=Fixed(11), b=Fixed(4)), (0,), {"MatMul"}),
    "s16": (Fixed(16), Multiplier(family="exact", a=Fixed(16), b=Fixed(16)), (5,), {"MatMul"}),
    "drum": (U8, Multiplier(family="drum", k=4), (9,), {"MatMulInteger", "ReduceSum"}),
    "columns": (S8, Multiplier(family="truncate_columns", columns=6, signed=True), (0,), {"MatMulInteger"}),
    "or": (U8, Multiplier(family="or_columns", columns=6), (1, 2, 3, 4, 5), {"MatMulInteger"}),
    "drum16": (Fixed(12), Multiplier(family="drum", k=4, a=Fixed(12), b=Fixed(10)), (0,), {"MatMulInteger"}),
}


@pytest.mark.parametrize("case", LINEAR)
def test_linear(case, tmp_path):
    format, multiplier, zeros, used = LINEAR[case]
    port = Port("x", format, (3, 37))
    node = Linear("z", "x", multiplier=multiplier, weights=weights((5, 37), multiplier.b), zeros=zeros,
                  constants=np.array([1 << 20, -5, 0, 7, -(1 << 30)]))  # fmt: skip
    for batch in (1, 4):
        codes = draw(port, batch, 3, 37)
        codes[0, 0], codes[0, 1] = format.min, format.max
        assert used <= kinds(agree(of(node, port), tmp_path, codes))


def test_sums_as_large_as_int32(tmp_path):
    # 33,000 products of 255 * 255 pass 2^31, and those of 16 bits 2^53.
    for format, multiplier, used in (
        (U8, EXACT["u8"], "MatMul"),
        (Fixed(16), Multiplier(family="exact", a=Fixed(16), b=Fixed(16)), "MatMul"),
    ):
        port = Port("x", format, (33100,))
        node = Linear("z", "x", multiplier=multiplier, weights=np.full((1, 33100), multiplier.b.max))
        codes = torch.full((2, 33100), format.max, dtype=torch.int32)
        assert used in kinds(agree(of(node, port), tmp_path, codes))


def test_convolutions_as_large_as_int32(tmp_path):
    port = Port("x", U8, (33100, 2))
    one = dict(stride=(1,), padding=(1,), dilation=(1,), groups=1)
    for fill in (0, 255):
        weights = np.full((1, 33100, 1), 255)
        node = Convolve("z", "x", multiplier=EXACT["u8"], weights=weights, fill=fill, **one)
        codes = torch.full((2, 33100, 2), 255, dtype=torch.int32)
        codes[1] = 0
        agree(of(node, port), tmp_path, codes)


def test_types_of_products():
    assert float_type(1 << 11, 3, 1 << 24) is np.float32
    for large in ((1 << 11) + 1, 3, 1 << 24), (3, (1 << 11) + 1, 1 << 24), (3, 3, (1 << 24) + 1), (3, 3, 1 << 53):
        assert float_type(*large) is np.float64
    assert float_type(3, 3, (1 << 53) + 1) is np.int64


def test_terms_go_together_while_int32_holds_their_sums():
    factors = Multiplier(family="truncate_columns", columns=8).factors()
    assert factors.terms == 7
    graph = Graph()
    for count in (1, 8_000_000, 9_000_000, 1 << 24):
        groups = list(grouped(graph, factors, count))
        total = factors.p[:, None] + factors.q
        for weight, u, v in groups:
            u, v = u - 128, v - 128
            assert count * (np.abs(u).max(0) * np.abs(v).max(0)).sum() < 1 << 31
            total = total + weight * (u @ v.T)
        assert (total == factors.products()).all() and (len(groups) > 1) == (count > 8_000_000)
    with graph.within("z"), pytest.raises(ValueError, match="^export_onnx node 'z' must have fewer products in a sum"):
        list(grouped(graph, factors, 1 << 25))


def test_products_that_no_smaller_type_holds(tmp_path):
    # 37 odd products of 1023 * 1023 pass 2^25, and 257 of 32767 * (2^31 - 32768) pass 2^53.
    for bits, count, zero in ((11, 37, 0), (16, 257, -(1 << 31))):
        wide, port = Multiplier(family="exact", bits=bits, signed=True), Port("x", Fixed(bits), (count,))
        node = Linear("z", "x", multiplier=wide, weights=np.full((1, count), wide.b.max), zeros=(zero + (zero < 0),))
        codes = torch.full((2, count), port.format.max, dtype=torch.int32)
        codes[1, ::2] *= -1
        agree(of(node, port), tmp_path, codes)


CONVOLUTIONS = {
    "plain": dict(shape=(3, 9, 8), weights=(4, 3, 3, 3), padding=(1, 1), fill=-128),
    "strided": dict(shape=(4, 11, 9), weights=(6, 2, 3, 2), stride=(2, 3), padding=(2, 0), dilation=(1, 2), groups=2),
    "depthwise": dict(shape=(5, 7, 7), weights=(5, 1, 3, 3), padding=(1, 1), fill=7, groups=5),
    "line": dict(shape=(3, 20), weights=(4, 3, 5), stride=(2,), padding=(3,), dilation=(2,), fill=127),
    "volume": dict(shape=(2, 4, 5, 4), weights=(3, 2, 2, 3, 2), padding=(1, 0, 1), fill=-1),
}
MULTIPLIERS = {
    "exact": (S8, EXACT["s8"], (0,)),
    "zero": (S8, EXACT["s8"], (-100,)),
    "zeros": (S8, EXACT["s8"], None),
    "wide": (Fixed(12), Multiplier(family="exact", a=Fixed(12), b=S8), (0,)),
    "kulkarni": (S8, Multiplier(family="kulkarni", signed=True), (3,)),
}


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolve(case, multiplier, tmp_path):
    given = dict(CONVOLUTIONS[case])
    shape, size = given.pop("shape"), given.pop("weights")
    axes = len(size) - 2
    format, unit, zeros = MULTIPLIERS[multiplier]
    zeros = tuple(range(size[0])) if zeros is None else zeros
    filled = {"stride": (1,) * axes, "padding": (0,) * axes, "dilation": (1,) * axes, "groups": 1, "fill": 0} | given
    node = Convolve("z", "x", multiplier=unit, weights=weights(size, S8), zeros=zeros,
                    constants=np.arange(size[0]) * 1000 - 1500, **filled)  # fmt: skip
    port = Port("x", format, shape)
    for batch in (1, 3):
        path = agree(of(node, port), tmp_path, draw(port, batch, *shape))
    assert ("ConvInteger" in kinds(path)) == (multiplier in ("exact", "zero"))


PRODUCTS = {
    "s8": (S8, S8, EXACT["s8"], 0, 0),
    "zeros": (U8, U8, EXACT["u8"], 3, 200),
    "far": (S8, S8, EXACT["s8"], 0, 300),
    "mixed": (U8, S8, MIXED, 12, -3),
    "wide": (Fixed(16), Fixed(12), Multiplier(family="exact", a=Fixed(16), b=Fixed(12)), 5, -6),
    "roba": (S8, S8, Multiplier(family="roba", signed=True), 4, -5),
    "mitchell": (U8, U8, Multiplier(family="mitchell"), 0, 0),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_matrix_product(case, tmp_path):
    a_format, b_format, multiplier, a_zero, b_zero = PRODUCTS[case]
    a, b = Port("a", a_format, (2, 4, 9)), Port("b", b_format, (1, 9, 5))
    node = MatrixProduct("z", "a", "b", multiplier=multiplier, a_zero=a_zero, b_zero=b_zero, most=12)
    for batch in (1, 3):
        x, y = draw(a, batch, 2, 4, 9), draw(b, batch, 1, 9, 5)
        path = agree(of(node, a, b), tmp_path, x, y)
    assert ("MatMulInteger" in kinds(path)) == (case not in ("wide", "far"))


def test_movement(tmp_path):
    port = Port("x", S8, (4, 6))
    nodes = [
        Permute("turned", "x", (0, 2, 1)),
        Slice("part", "turned", -2, 1, 9, 2),
        Pad("padded", "part", (1, 0, 0, 2), -99),
        Entries("token", np.arange(5).reshape(1, 1, 5)),
        Concatenate("all", ("token", "padded"), 1),
        Reshape("rows", "all", (-1, 5)),
        Reshape("flat", "all", (-1, 6, 5, 1)),
        Concatenate("twice", ("flat", "flat"), -1),
    ]
    agree(held(nodes, [port], ["twice", "rows", "turned"]), tmp_path, draw(port, 3, 4, 6))


def test_embedding(tmp_path):
    port = Port("x", Fixed(4, signed=False), (7,))
    table = weights((16, 5), Fixed(20))
    agree(of(Gather("z", "x", table), port), tmp_path, draw(port, 3, 7))


@pytest.mark.parametrize("bits", [8, 20, 32, 60])
def test_maximum_pool(bits, tmp_path):
    before = []
    port = Port("x", Fixed(min(bits, 30)), (3, 9, 8))
    if bits > 30:
        before = [Constant("by", bits - 30), ShiftLeft("y", "x", "by")]
    for kernel, stride, padding, dilation in (
        ((3, 2), (2, 2), (1, 0), (1, 1)),
        ((2, 3), (1, 2), (1, 1), (2, 3)),
        ((3, 1), (2, 1), (2, 0), (3, 2)),
        ((2, 2), (1, 2), (2, 3), (3, 4)),
    ):
        node = MaximumPool("z", before[-1].name if before else "x", kernel=kernel, stride=stride, padding=padding,
                           dilation=dilation)  # fmt: skip
        agree(of(node, port, before=before), tmp_path, draw(port, 2, 3, 9, 8))


def test_sum_pool_and_patches(tmp_path):
    port = Port("x", Fixed(10), (3, 9, 8))
    for kernel, stride, padding in (((3, 2), (2, 2), (1, 0)), ((9, 8), (1, 1), (0, 0)), ((2, 3), (1, 2), (3, 1))):
        node = SumPool("z", "x", kernel=kernel, stride=stride, padding=padding, fill=-77)
        agree(of(node, port), tmp_path, draw(port, 3, 3, 9, 8))
    line = Port("x", Fixed(30), (2, 15))
    agree(of(SumPool("z", "x", kernel=(4,), stride=(3,), padding=(2,), fill=5), line), tmp_path, draw(line, 2, 2, 15))
    node = Patches("z", "x", kernel=(3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 3), fill=100)
    agree(of(node, port), tmp_path, draw(port, 2, 3, 9, 8))


@pytest.mark.parametrize("encoder", ["l2", "l1", "chebyshev", "tree"])
def test_look_up(encoder, tmp_path):
    generator = np.random.default_rng(1)
    features, v, k, outputs = 11, 4, 8, 6
    codebooks = -(-features // v)
    if encoder == "tree":
        held_in = dict(thresholds=generator.integers(-128, 128, (codebooks, k - 1)),
                       dimensions=generator.integers(0, v - 1, (codebooks, 3)))  # fmt: skip
    else:
        prototypes = generator.integers(-128, 128, (codebooks, k, v))
        prototypes[-1, :, 3:] = 5
        prototypes[:, 5] = prototypes[:, 2]
        held_in = dict(prototypes=prototypes)
    requantize = Requantize(input=Fixed(32), multipliers=tuple(range(1 << 29, (1 << 29) + outputs)),
                            shifts=tuple(range(31, 31 + outputs)), output=S8)  # fmt: skip
    for after in (None, requantize):
        unit = LutMatmul(encoder=encoder, features=features, v=v, zero_point=5, requantize=after,
                         table=generator.integers(-128, 128, (codebooks, k, outputs)),
                         bias=generator.integers(-900, 900, outputs), **held_in)  # fmt: skip
        port = Port("x", S8, (3, features))
        for batch in (1, 5):
            agree(of(LookUp("z", "x", unit), port), tmp_path, draw(port, batch, 3, features))
