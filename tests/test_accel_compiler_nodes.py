"""Each kind of node, compiled: the definition's codes from the functional model."""

import dataclasses

import pytest
from accel_compiled import (
    CODES,
    DRUM,
    EXACT,
    TILE,
    WIDER,
    agree,
    convolve,
    linear,
    numbers,
    program,
    to_codes,
)
from lut_units import random_unit

from hwlut import Fixed
from hwlut.units import operations as op
from hwlut.units.applied import LookUp
from hwlut.units.movement import Concatenate, Pad, Permute, Reshape, Slice
from hwlut.units.patches import MaximumPool, Patches, SumPool
from hwlut.units.products import MatrixProduct
from hwlut.units.reductions import Entries, Maximum, Sum

CONVOLUTIONS = {
    "strides": ((5, 4, 3, 2), (4, 9, 8), dict(stride=(2, 3), padding=(1, 0), fill=-7)),
    "dilations": ((5, 2, 3, 3), (2, 9, 9), dict(dilation=(2, 1), padding=(2, 1))),
    "groups": ((6, 2, 3, 3), (6, 5, 5), dict(groups=3)),
    "depthwise": ((6, 1, 3, 3), (6, 5, 5), dict(groups=6, padding=(1, 1), fill=1)),
    "one_axis": ((5, 3, 4), (3, 11), dict(stride=(2,), padding=(3,))),
    "three_axes": ((5, 2, 2, 3, 2), (2, 4, 4, 4), dict(stride=(1, 1, 2), padding=(1, 0, 1), fill=5)),
    "three_axes_groups": ((10, 1, 2, 2, 2), (2, 3, 4, 3), dict(groups=2, padding=(1, 1, 1))),
    "zero": ((5, 2, 3, 3), (2, 5, 5), dict(zeros=(7,), padding=(1, 1), fill=9)),
    "zeros": ((4, 2, 3, 3), (4, 5, 5), dict(zeros=(7, -3, 0, 100), groups=2)),
    "approximate": ((5, 2, 3, 3), (2, 5, 5), dict(multiplier=DRUM, constants=None)),
    "approximate_zeros": ((5, 2, 3, 3), (2, 5, 5), dict(multiplier=DRUM, zeros=(1, 2, 3, 4, 5), padding=(1, 1))),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("loops", [6, 2])
def test_convolutions(name, loops):
    shape, taken, fields = CONVOLUTIONS[name]
    format = fields.get("multiplier", EXACT).a
    axes = len(shape) - 2
    nodes = [
        op.Clamp("x", "q", -100, 99),
        convolve("c", "x", shape, **fields),
        to_codes("codes", "c", shape[0], -axes - 1),
        Permute("last", "codes", (0, *range(2, axes + 2), 1)),
    ]
    tile = dataclasses.replace(TILE, loops=loops)
    agree(program([("q", Fixed(format.bits), taken)], nodes), tile)
    if "zero" in name:
        agree(program([("q", Fixed(format.bits), taken)], nodes), dataclasses.replace(tile, multipliers=(WIDER, DRUM)))


@pytest.mark.parametrize(
    "columns, weights, zeros, taken",
    [(4, 64, (0,), (6, 10)), (3, 20, (3,), (6, 10)), (8, 4096, tuple(range(13)), (10,)), (5, 40, (0,), (2, 3, 10))],
)
def test_linear(columns, weights, zeros, taken):
    nodes = [linear("l", "x", 13, 10, zeros=zeros), op.Clamp("c", "l", -20000, 30000)]
    agree(program([("x", CODES, taken)], nodes), dataclasses.replace(TILE, columns=columns, weights=weights))


@pytest.mark.parametrize("a_zero, b_zero", [(0, 0), (5, 0), (0, -6), (5, -6)])
@pytest.mark.parametrize("multiplier", [EXACT, DRUM])
@pytest.mark.parametrize("operands", [4096, 12])
def test_matrix_products(a_zero, b_zero, multiplier, operands):
    count = 5
    nodes = [
        Reshape("heads", "a", (-1, 4, 2, count)),
        Permute("left", "heads", (0, 2, 1, 3)),
        Reshape("rows", "b", (-1, 6, 2, count)),
        to_codes("moved", "rows", input=Fixed(multiplier.b.bits), output=Fixed(multiplier.b.bits), shift=24),
        Permute("right", "moved", (0, 2, 3, 1)),
        MatrixProduct("m", "left", "right", multiplier=multiplier, a_zero=a_zero, b_zero=b_zero, most=count),
        Permute("back", "m", (0, 2, 1, 3)),
        Reshape("flat", "back", (-1, 4, 12)),
    ]
    inputs = [("a", Fixed(multiplier.a.bits), (4, 10)), ("b", Fixed(multiplier.b.bits), (6, 10))]
    tile = dataclasses.replace(TILE, operands=operands)
    agree(program(inputs, nodes), tile)
    agree(program(inputs, nodes), dataclasses.replace(tile, multipliers=(WIDER, DRUM)))


def test_matrix_products_that_broadcast():
    nodes = [
        MatrixProduct("m", "a", "b", multiplier=EXACT, a_zero=1, b_zero=2, most=9),
        MatrixProduct("n", "b", "b", multiplier=EXACT, a_zero=0, b_zero=2, most=9),
    ]
    inputs = [("a", CODES, (2, 3, 4, 5)), ("b", CODES, (1, 1, 5, 5))]
    agree(program(inputs, nodes, "m", "n"), dataclasses.replace(TILE, operands=64))


@pytest.mark.parametrize("encoder", ["l2", "l1", "chebyshev", "tree"])
@pytest.mark.parametrize("k, v, features, entries", [(16, 4, 14, 16), (4, 3, 12, 16), (8, 5, 7, 8), (2, 1, 5, 4)])
@pytest.mark.parametrize("requantize", ["channels", False])
def test_look_ups(encoder, k, v, features, entries, requantize):
    unit = random_unit(
        3, encoder=encoder, k=k, v=v, features=features, outputs=7, ties=True, requantize=requantize,
        bias=not requantize,
    )  # fmt: skip
    nodes = [LookUp("l", "x", unit)]
    tile = dataclasses.replace(TILE, entries=entries, encoder=encoder, weights=24, constants=12)
    agree(program([("x", CODES, (5, features))], nodes), tile)
    moved = [Permute("p", "x", (0, 2, 1)), *[LookUp("l", "p", unit)]]
    agree(program([("x", CODES, (features, 3))], moved), tile)


@pytest.mark.parametrize("zero", range(-3, 4))
def test_levels_of_trees_that_compare_padding(zero):
    unit = random_unit(4, encoder="tree", k=8, v=4, features=5, outputs=3, ties=True).replace(zero_point=zero)
    tile = dataclasses.replace(TILE, entries=16, encoder="tree")
    agree(program([("x", CODES, (9, 5))], [op.Clamp("c", "x", -3, 3), LookUp("l", "c", unit)]), tile)


OPERATIONS = {
    "add": lambda: [op.Add("n", "x", "y")],
    "subtract": lambda: [op.Subtract("n", "x", "y")],
    "multiply": lambda: [op.Multiply("n", "x", "y")],
    "square": lambda: [op.Multiply("n", "x", "x")],
    "less": lambda: [op.Less("n", "x", "y")],
    "equal": lambda: [op.Clamp("c", "x", -2, 2), op.Clamp("d", "y", -2, 2), op.Equal("n", "c", "d")],
    "select": lambda: [op.Less("l", "x", "y"), op.Select("n", "l", "x", "y")],
    "select_numbers": lambda: [
        op.Constant("a", 77), op.Constant("b", -5), op.Clamp("c", "x", -1, 1), op.Select("n", "c", "a", "b"),
    ],
    "shift_left": lambda: [op.Clamp("c", "y", 0, 7), op.ShiftLeft("n", "x", "c")],
    "shift_right": lambda: [op.Clamp("c", "y", 0, 62), op.ShiftRight("n", "x", "c", "half_even")],
    "floor": lambda: [op.Clamp("c", "y", 0, 9), op.ShiftRight("n", "x", "c", "floor")],
    "leading_one": lambda: [op.Clamp("c", "x", 0, 127), op.LeadingOne("n", "c")],
    "bits": lambda: [op.Bits("n", "x", 2, 5)],
    "number": lambda: [op.Constant("c", 9), op.Subtract("n", "c", "x"), op.Less("m", "c", "n"), op.Add("o", "m", "y")],
    "numbers": lambda: [Entries("e", numbers(0, -9, 9, 3, 4)), op.Subtract("n", "e", "x"), op.Multiply("m", "n", "e")],
    "row": lambda: [Entries("e", numbers(0, -90, 90, 4)), op.Add("n", "x", "e")],
    "clamp": lambda: [op.Clamp("n", "x", -3, 100)],
    "clamps": lambda: [op.Clamp("n", "x", -3, 100), op.Clamp("m", "n", 101, 120), to_codes("o", "m", input=CODES)],
    "requantize": lambda: [to_codes("n", "x", input=CODES), to_codes("m", "n", 4, input=CODES, rounding="half_even")],
    "channels": lambda: [to_codes("n", "x", 3, -2, input=CODES, rounding="floor"), op.Clamp("m", "n", 0, 9)],
    "sum": lambda: [Sum("n", "x", 9), to_codes("m", "n")],
    "maximum": lambda: [Maximum("n", "x"), op.Subtract("m", "x", "n"), Sum("o", "m", 5)],
    "broadcast": lambda: [Sum("n", "y", 4), Reshape("r", "n", (-1, 3, 1)), op.Add("m", "x", "r")],
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    nodes = OPERATIONS[name]()
    used = {operand for node in nodes for operand in node.operands}
    inputs = [each for each in (("x", CODES, (3, 4)), ("y", Fixed(6), (3, 4))) if each[0] in used]
    agree(program(inputs, nodes))


POOLS = {
    "maximum": MaximumPool("n", "q", kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "sum": SumPool("n", "q", kernel=(2, 3), stride=(1, 2), padding=(1, 1), fill=-5),
    "patches": Patches("n", "q", kernel=(2, 3), stride=(1, 2), padding=(1, 1), fill=-5, dilation=(1, 1)),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("first", [op.Clamp("q", "x", -70, 90), Permute("q", "x", (0, 1, 3, 2))])
def test_patches(name, first):
    agree(program([("x", CODES, (3, 6, 5))], [first, POOLS[name], op.Clamp("c", "n", -200, 100)]))


def test_movement():
    nodes = [
        Pad("pad", "x", (1, 2, 0, 1), 7),
        Slice("part", "pad", -1, 1, 6, 2),
        op.Clamp("c", "x", -30, 30),
        Slice("half", "c", 2, 0, 2, 1),
        Pad("cut", "half", (0, 0, 0, 1), -1),
        Entries("e", numbers(0, -9, 9, 1, 4, 2)),
        Concatenate("all", ("part", "e", "cut"), -1),
        Permute("turned", "all", (0, 2, 1)),
        Reshape("rows", "turned", (-1, 2, 14)),
        linear("l", "rows", 5, 14),
        op.Add("sum", "all", "all"),
    ]
    agree(program([("x", CODES, (3, 3))], nodes, "l", "sum", "pad"))


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_results_that_no_nest_reaches(columns):
    nodes = [
        linear("sums", "x", 24, 5),
        to_codes("codes", "sums", 24),
        Reshape("heads", "codes", (-1, 3, 6, 4)),
        Permute("turned", "heads", (0, 2, 1, 3)),
        linear("y", "turned", 2, 4),
    ]
    agree(program([("x", CODES, (3, 5))], nodes), dataclasses.replace(TILE, columns=columns))
