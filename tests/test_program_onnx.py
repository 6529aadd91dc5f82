"""Nodes on codes and rows in ONNX: onnxruntime gives what the program gives, bit for bit."""

import pytest
import torch
from onnx_programs import S8, WIDE, agree, draw, held, kinds, of

from hwlut import Fixed, Program
from hwlut.fixed import Rounding
from hwlut.program import range_reduced
from hwlut.units import Direct, Pwl, Requantize
from hwlut.units.applied import Rescale
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries, Maximum, Sum


@pytest.fixture(autouse=True)
def _packages(need):
    need("onnx", "onnxruntime")


X, Y = Port("x", Fixed(30)), Port("y", Fixed(30))
FEW = Port("n", Fixed(5, signed=False))


@pytest.mark.parametrize(
    "node",
    [
        Add("z", "x", "y"),
        Subtract("z", "x", "y"),
        Multiply("z", "x", "y"),
        Less("z", "x", "y"),
        Equal("z", "x", "y"),
        Select("z", "x", "y", "x"),
    ],
    ids=lambda node: node.op,
)
def test_operations_of_two_values(node, tmp_path):
    x, y = draw(X, 3, 50), draw(Y, 3, 50, seed=1)
    x[1] = y[1]
    x[2, ::2] = 0
    program = held([node], (X, Y))
    ports = (Port("x", Fixed(30), (50,)), Port("y", Fixed(30), (50,)))
    agree(Program(inputs=ports, nodes=program.nodes, outputs=program.outputs), tmp_path, x, y)


@pytest.mark.parametrize("low, count", [(0, 3), (4, 30), (29, 1), (40, 2)])
def test_bits(low, count, tmp_path):
    agree(of(Bits("z", "x", low, count), X), tmp_path, draw(X, 200))


def test_clamp(tmp_path):
    agree(of(Clamp("z", "x", -1000, 1 << 20), X), tmp_path, draw(X, 200))


EDGES = [sign * ((1 << k) + d) for k in range(29) for d in (-1, 0, 1) for sign in (1, -1)]


@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda each: each.value)
@pytest.mark.parametrize("by", [0, 1, 2, 7, 29, 30, 62, None])
def test_shifts_right_of_every_rounding(by, rounding, tmp_path):
    codes = torch.tensor([*EDGES, -(1 << 29), (1 << 29) - 1, 0, 3, -3, 6, -6, 5, -5], dtype=torch.int32)
    if by is None:
        program = of(ShiftRight("z", "x", "n", rounding), Port("x", Fixed(30)), FEW)
        amounts = torch.arange(len(codes), dtype=torch.int32) % 32
        for turn in range(0, 32, 5):
            agree(program, tmp_path, codes, (amounts + turn) % 32)
    else:
        agree(of(ShiftRight("z", "x", "by", rounding), X, before=[Constant("by", by)]), tmp_path, codes)


def test_shifts_of_wide_values(tmp_path):
    nodes = [
        Multiply("xy", "x", "y"),
        Constant("one", 1),
        ShiftLeft("raised", "xy", "one"),
        ShiftRight("z", "raised", "n", "half_even"),
    ]
    program = held(nodes, (X, Y, FEW), ["raised", "z"])
    agree(program, tmp_path, draw(X, 300), draw(Y, 300, seed=1), draw(FEW, 300, seed=2))


def test_shift_left_by_a_value(tmp_path):
    agree(
        of(ShiftLeft("z", "x", "n"), Port("x", Fixed(17)), FEW), tmp_path, draw(Port("x", Fixed(17)), 99), draw(FEW, 99)
    )


@pytest.mark.parametrize("bits", [20, 32])
def test_leading_one(bits, tmp_path):
    port = Port("x", Fixed(bits, signed=False))
    near = [max(0, min((1 << k) + d, port.format.max)) for k in range(bits + 1) for d in (-1, 0, 1)]
    agree(
        of(LeadingOne("z", "x"), port), tmp_path, torch.tensor(near, dtype=torch.int64 if bits == 32 else torch.int32)
    )


def test_leading_one_of_61_bits(tmp_path):
    port, left = Port("x", Fixed(30, signed=False)), [Constant("by", 31)]
    nodes = [*left, ShiftLeft("wide", "x", "by"), Add("all", "wide", "x"), LeadingOne("z", "all")]
    codes = torch.tensor([max(0, min((1 << k) + d, (1 << 30) - 1)) for k in range(31) for d in (-1, 0, 1)]).int()
    agree(held(nodes, [port]), tmp_path, codes)


ACCUMULATORS = [Fixed(32), Fixed(32, signed=False), Fixed(24)]


@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda each: each.value)
@pytest.mark.parametrize("format", ACCUMULATORS, ids=str)
def test_requantize_a_channel(format, rounding, tmp_path):
    multipliers = ((1 << 31) - 1, 1 << 30, 1, 0, 3, 1518500249, 5, 1 << 20)
    narrow = (62, 61, 0, 5, 1, 31, 2, 40), Fixed(8)
    wide = (62, 62, 0, 1, 0, 31, 1, 20), Fixed(32, signed=False)
    for shifts, output in (narrow, wide):
        unit = Requantize(
            input=format, multipliers=multipliers, shifts=shifts, zero_point=3, output=output, rounding=rounding
        )
        port = Port("x", format, (8, 70))
        codes = draw(port, 5, 8, 70)
        codes[1, :, :40] = torch.arange(-20, 20) if format.signed else torch.arange(40)
        codes[2] >>= 20
        agree(of(Rescale("z", "x", unit, 1), port), tmp_path, codes)
        agree(of(Rescale("z", "x", unit, -2), port), tmp_path, codes)


def test_requantize_a_tensor(tmp_path):
    unit = Requantize(
        input=WIDE, multipliers=(1518500249,), shifts=(36,), zero_point=-5, output=S8, rounding="half_even"
    )
    port = Port("x", WIDE, (9,))
    agree(of(Rescale("z", "x", unit, -1), port), tmp_path, draw(port, 7, 9))
    agree(of(Apply("z", "x", unit), Port("x", WIDE)), tmp_path, draw(port, 70))
    near = [Clamp("near", "x", -200, 300)]
    path = agree(of(Apply("z", "near", unit), Port("x", WIDE), before=near), tmp_path, torch.arange(-210, 310).int())
    assert "Mul" not in kinds(path)


SYMMETRIES = ["none", "identity", "odd", "even", "complement"]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("output", [None, Fixed(20, 9), Fixed(31, 27)], ids=str)
def test_lines_of_many_codes(symmetry, output, tmp_path):
    unit = Pwl(input=Fixed(20), scales=(8,), breakpoint_frac=9, breakpoints=(-70000, 0, 0, 3001, 200001),
               slope=Fixed(9, 6), slopes=(-200, 31, 9, 255, -256, 1), intercept=Fixed(16, 12),
               intercepts=(-32768, 5, 77, 32767, 0, -1), symmetry=symmetry, output=output,
               rounding="half_even")  # fmt: skip
    port = Port("x", Fixed(20, 8))
    codes = torch.cat([draw(port, 500), torch.arange(-40, 40).int(), torch.arange(1490, 1510).int()])
    assert "GreaterOrEqual" in kinds(agree(of(Apply("z", "x", unit), port), tmp_path, codes))


def test_rows(tmp_path):
    port = Port("x", Fixed(16), (6, 11))
    nodes = [
        Maximum("most", "x"),
        Subtract("below", "x", "most"),
        Sum("sum", "below", 11),
        Entries("scale", torch.arange(-5, 6).numpy() * 300),
        Multiply("scaled", "below", "scale"),
        Less("flags", "scaled", "sum"),
    ]
    program = held(nodes, [port], ["scaled", "sum", "flags", "most"])
    agree(program, tmp_path, draw(port, 3, 6, 11))


def test_a_shift_by_a_row_of_one_number_gives_a_row(tmp_path):
    port = Port("x", Fixed(4))
    nodes = [Entries("one", torch.tensor([156]).numpy()), Clamp("by", "x", 1, 1), ShiftLeft("z", "one", "by")]
    agree(held(nodes, [port], ["z"]), tmp_path, draw(port, 4, 5))


def test_rows_and_codes_without_a_shape(tmp_path):
    port = Port("x", Fixed(20))
    agree(held([Maximum("most", "x"), Sum("z", "x", 50)], [port], ["most", "z"]), tmp_path, draw(port, 4, 50))
    agree(held([Constant("c", 7), Add("z", "x", "c")], [port], ["z", "c"]), tmp_path, draw(port, 40))
    agree(
        held([Constant("c", 7), Add("z", "x", "c")], [port], ["z", "x"]),
        tmp_path,
        draw(port, 40),
    )


def with_input(program):
    """With its input as an output too, so that it is no table: its nodes, one by one."""
    return Program(inputs=program.inputs, nodes=program.nodes, outputs=(*program.outputs, Port("q", program.input)))


def test_tables_and_programs(tmp_path):
    inverse = range_reduced("reciprocal", input=Fixed(16, 8, False))
    codes = draw(inverse.inputs[0], 2000)
    path = agree(inverse, tmp_path, codes)
    assert kinds(path) == {"Cast", "Gather"}
    wide = Program(
        inputs=inverse.inputs, nodes=inverse.nodes, outputs=(*inverse.outputs, Port("q", Fixed(16, 8, False)))
    )
    assert "Where" in kinds(agree(wide, tmp_path, codes))
    direct = Direct(input=Fixed(6, 0), output=Fixed(9, 0), values=tuple(range(-40, 24)))
    port = Port("x", Fixed(6, None), (5,))
    nodes = [Apply("y", "x", direct), Multiply("z", "y", "y")]
    agree(held(nodes, [port], ["z", "y"]), tmp_path, draw(port, 12, 5))


def test_every_function_by_its_nodes(tmp_path):
    for name, frac in (("exp", 4), ("rsqrt", 7), ("log2", 9), ("sin", 3)):
        program = range_reduced(name, input=Fixed(12, frac))
        agree(with_input(program), tmp_path, torch.arange(-2048, 2048, dtype=torch.int32))
