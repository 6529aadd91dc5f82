"""Compiled programs of codes and rows against their definition."""

import itertools
import random

import numpy as np
import pytest
import torch
from random_programs import ROUNDINGS, SYMMETRIES, random_codes, random_program

import hwlut
from hwlut import Direct, Fixed, Program, Pwl, Requantize
from hwlut.ops import build
from hwlut.program import layer_norm, range_reduced, softmax
from hwlut.program.c import kernel as c_kernel
from hwlut.program.c.kernel import kernel
from hwlut.program.c.rows import row_source
from hwlut.program.c.steps import Place
from hwlut.units import operations as op
from hwlut.units.nodes import Extent, format_of
from hwlut.units.operations import Add, Apply, Clamp, Constant, Multiply, Select, ShiftRight, Subtract
from hwlut.units.ports import Port
from hwlut.units.products import Linear
from hwlut.units.reductions import Entries, Maximum, Sum


@pytest.fixture(autouse=True)
def compiler(need):
    need("g++")


def with_outputs(inputs, nodes):
    """A program of which each value that no node takes is an output."""
    spans = {port.name: (port.format.min, port.format.max) for port in inputs}
    for node in nodes:
        spans[node.name] = node.span(*(spans[operand] for operand in node.operands))
    used = {operand for node in nodes for operand in node.operands}
    outputs = [Port(name, format_of(span)) for name, span in spans.items() if name not in used]
    return Program(inputs=inputs, nodes=nodes, outputs=tuple(outputs))


def equal(got, want, narrow=False):
    """That results are the same, in the same types unless they are narrow."""
    got, want = (each if isinstance(each, tuple) else (each,) for each in (got, want))
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert g.shape == w.shape
        assert narrow or g.dtype == w.dtype
        assert torch.equal(g.long(), w.long())


def shifts():
    """Of narrow and wide values, by numbers and by values, in every rounding."""
    nodes = [Constant(f"by{n}", n) for n in (0, 1, 3, 30, 31, 32, 45, 62)]
    nodes += [Clamp("some", "c", 0, 30), Clamp("many", "c", 0, 62), Clamp("any", "c", 1, 40)]
    amounts = [node.name for node in nodes]
    nodes += [Constant("huge", 1 << 45), Multiply("wide", "a", "huge"), Constant("half", 1 << 29)]
    nodes += [Multiply("near", "b", "half")]
    for value, by, rounding in itertools.product(("a", "b", "wide", "near"), amounts, ROUNDINGS):
        nodes.append(ShiftRight(f"r_{value}_{by}_{rounding}", value, by, rounding))
    for value, by in itertools.product(("a", "b"), ("by0", "by3", "by31", "by45", "some")):
        nodes.append(op.ShiftLeft(f"l_{value}_{by}", value, by))
    inputs = (Port("a", Fixed(6)), Port("b", Fixed(2)), Port("c", Fixed(7, signed=False)))
    return with_outputs(inputs, tuple(nodes))


def others():
    """Every operation but shifts, of operands that fit 32 bits and of some that do not."""
    nodes = [Constant("huge", (1 << 40) + 5), Multiply("wide", "a", "huge"), op.Bits("u", "b", 0, 3)]
    for x, y in itertools.product(("a", "b", "wide"), repeat=2):
        for kind in (Add, Subtract, op.Less, op.Equal):
            nodes.append(kind(f"{kind.op}_{x}_{y}", x, y))
        nodes.append(Select(f"select_{x}_{y}", "c", x, y))
    nodes += [Multiply("square", "a", "a"), Multiply("product", "wide", "b")]
    nodes += [Clamp(f"clamp_{x}_{i}", x, *ends) for x in ("a", "wide") for i, ends in enumerate(
        [(-3, 5), (-1000, 2), (0, 1 << 45), (50, 60), (-(1 << 41), 1 << 41)])]  # fmt: skip
    nodes += [op.Bits(f"bits_{x}_{n}_{m}", x, n, m) for x in ("a", "wide") for n in (0, 2, 33) for m in (1, 8, 40)]
    nodes += [op.Bits("size", "wide", 0, 61), op.LeadingOne("leading", "size"), op.LeadingOne("low", "u")]
    inputs = (Port("a", Fixed(6)), Port("b", Fixed(4)), Port("c", Fixed(2)))
    return with_outputs(inputs, tuple(nodes))


@pytest.mark.parametrize("made", [shifts, others])
def test_every_operation_with_every_code(made):
    program = made()
    ranges = [range(port.format.min, port.format.max + 1) for port in program.inputs]
    codes = [torch.tensor(column) for column in zip(*itertools.product(*ranges))]
    equal(kernel(program)(*codes), program(*codes))


def test_leading_ones_of_every_width():
    nodes = (Constant("huge", 1 << 30), Multiply("high", "a", "huge"), Add("whole", "high", "b"))
    program = with_outputs(
        (Port("a", Fixed(30, signed=False)), Port("b", Fixed(30, signed=False))),
        (*nodes, op.LeadingOne("of_all", "whole"), op.LeadingOne("of_b", "b")),
    )
    ends = torch.tensor([n for k in range(30) for n in {(1 << k) - 1, 1 << k, (1 << k) + 1} if n < 1 << 30])
    a, b = torch.cartesian_prod(ends, ends).unbind(-1)
    equal(kernel(program)(a, b), program(a, b))


def pwl(**changes):
    r = random.Random(7)
    fields = {
        "input": Fixed(14), "scales": (3,), "breakpoint_frac": 5, "slope": Fixed(8, 4), "intercept": Fixed(12, 6),
        "breakpoints": (-9000, -9000, 0, 1, 700, 20000), "output": Fixed(9, 2),
        "slopes": tuple(r.randrange(-128, 128) for _ in range(7)),
        "intercepts": tuple(r.randrange(-2048, 2048) for _ in range(7)),
    }  # fmt: skip
    return Pwl(**fields | changes)


def many(count):
    r = random.Random(count)
    return {
        "breakpoints": tuple(sorted(r.randrange(-(1 << 15), 1 << 15) for _ in range(count - 1))),
        "slopes": tuple(r.randrange(-128, 128) for _ in range(count)),
        "intercepts": tuple(r.randrange(-2048, 2048) for _ in range(count)),
    }


UNITS = {
    **{f"{symmetry}_{rounding}": pwl(symmetry=symmetry, rounding=rounding)
       for symmetry, rounding in zip(SYMMETRIES, itertools.cycle(ROUNDINGS))},
    "exact": pwl(output=None, symmetry="identity"),
    "wide": pwl(slope=Fixed(30, 0), slopes=tuple((1 << 28) + n for n in range(7)), output=Fixed(48, 9)),
    "many": pwl(**many(40)),
    "line": pwl(slopes=(5,), intercepts=(-7,), breakpoints=()),
    "few": pwl(input=Fixed(9), **many(9)),
    "direct": Direct(input=Fixed(12, 0), output=Fixed(40, 0), values=tuple(n**3 for n in range(-2048, 2048))),
    **{f"requantize_{rounding}": Requantize(input=Fixed(14), multipliers=((1 << 31) - 1,), shifts=(shift,),
       output=Fixed(8, signed=False), zero_point=7, rounding=rounding)
       for rounding, shift in zip(ROUNDINGS, (36, 37, 38))},
    "unshifted": Requantize(input=Fixed(14), multipliers=(3,), shifts=(0,), output=Fixed(8)),
    "nested": range_reduced("rsqrt", input=Fixed(14, 5), segments=4),
}  # fmt: skip


def test_every_unit_with_every_code():
    nodes = []
    for name, unit in UNITS.items():
        if unit.input.bits < 14:
            nodes.append(Clamp(f"held_{name}", "q", unit.input.min, unit.input.max))
        nodes.append(Apply(name, f"held_{name}" if unit.input.bits < 14 else "q", unit))
    program = with_outputs((Port("q", Fixed(14)),), tuple(nodes))
    codes = torch.arange(-(1 << 13), 1 << 13)
    equal(kernel(program)(codes), program(codes))
    equal(kernel(program)(codes.to(torch.int16), narrow=True), program(codes), narrow=True)


@pytest.mark.parametrize("input", [Fixed(32), Fixed(32, signed=False)], ids=str)
def test_requantized_ends(input):
    """Where half a step more would leave 64 bits."""
    nodes = []
    for number, (rounding, shift) in enumerate(itertools.product(ROUNDINGS, (1, 31, 62))):
        unit = Requantize(
            input=input, multipliers=((1 << 31) - 1,), shifts=(shift,), rounding=rounding,
            output=Fixed(32, signed=number % 2 == 0),
        )  # fmt: skip
        nodes.append(Apply(f"y{number}", "q", unit))
    program = with_outputs((Port("q", input),), tuple(nodes))
    codes = torch.tensor([input.min, input.min + 1, -1 if input.signed else 2, 0, 1, input.max - 1, input.max])
    equal(kernel(program)(codes), program(codes))


def attention_like(most=300, weight=None):
    """Weights of a row by what each is below the greatest, and a mean with constants, as several outputs."""
    return with_outputs(
        (Port("x", Fixed(8)), Port("scale", Fixed(4, signed=False))),
        (
            Maximum("top", "x"),
            Subtract("below", "top", "x"),
            op.Bits("by", "below", 2, 4),
            Constant("one", 1 << 12),
            ShiftRight("power", "one", "by"),
            Sum("total", "power", most),
            op.LeadingOne("octave", "total"),
            Constant("six", 6),
            op.ShiftLeft("raised", "power", "six"),
            ShiftRight("share", "raised", "octave", "half_even"),
            Entries("weight", np.arange(-3, 10) if weight is None else weight),
            Multiply("weighted", "x", "weight"),
            Sum("mean", "weighted", most),
            Subtract("centred", "weighted", "mean"),
            Multiply("scaled", "centred", "scale"),
            Maximum("most", "scaled"),
        ),
    )


@pytest.mark.parametrize("shape", [(13,), (1, 13), (700, 13), (2, 3, 13)])
def test_rows(shape):
    program, r = attention_like(), random.Random(1)
    x = random_codes(r, program.inputs[0], shape)
    for scale in (shape, (*shape[:-1], 1), (1,), (13,)):
        codes = (x, random_codes(r, program.inputs[1], scale))
        equal(kernel(program)(*codes), program(*codes))
        equal(kernel(program)(*codes, narrow=True), program(*codes), narrow=True)


def test_entries_along_the_axes_before():
    r = random.Random(3)
    for shape in ((3, 13), (3, 1), (2, 1, 13)):
        weight = np.array([r.randrange(-99, 99) for _ in range(int(np.prod(shape)))]).reshape(shape)
        program = attention_like(weight=weight)
        codes = random_codes(r, program.inputs[0], (2, 3, 13)), random_codes(r, program.inputs[1], (3, 13))
        equal(kernel(program)(*codes), program(*codes))


def test_rows_by_hand():
    nodes = (Maximum("top", "q"), Sum("total", "q", 4), Subtract("y", "top", "q"), Multiply("z", "y", "total"))
    program = Program.of(input=Fixed(8, 0), nodes=nodes, output=Fixed(20, 0))
    assert kernel(program)(torch.tensor([[1, 2, 3, 4], [-5, 0, 5, -5]])).tolist() == [
        [30, 20, 10, 0],
        [-50, -25, 0, -50],
    ]


def test_entries_are_data():
    def program(values):
        nodes = (Entries("w", values), Multiply("y", "q", "w"))
        return Program.of(input=Fixed(8, 0), nodes=nodes, output=Fixed(32, 0))

    codes = torch.arange(-6, 6).reshape(3, 4)
    texts = set()
    for values in ([1, 2, 3, 100], [-7, 5, 90, 0]):
        made = program(np.array(values))
        equal(kernel(made)(codes), made(codes))
        places = {"q": Place.EACH, "w": Place.EACH}
        texts.add(row_source(made, ["int64_t", "int32_t"], places, ["int32_t"]).text)
    assert len(texts) == 1


def test_entries_that_need_their_values_for_a_proof():
    # All of 7 bits, times 3, would leave the table's input; up to 42 does not.
    unit = Direct(input=Fixed(7, 0, False), output=Fixed(8, 0), values=tuple(range(-64, 64)))
    nodes = (
        Entries("w", np.array([0, 42])),
        Constant("three", 3),
        Multiply("at", "w", "three"),
        Apply("y", "at", unit),
    )
    program = Program.of(input=Fixed(8, 0), nodes=(*nodes, Add("z", "y", "q")), output=Fixed(10, 0))
    codes = torch.arange(-6, 6).reshape(6, 2)
    equal(kernel(program)(codes), program(codes))


@pytest.mark.parametrize("bits", [8, 16])
def test_operators(bits):
    r = random.Random(bits)
    weight = np.random.default_rng(bits).normal(size=40)
    given = {"input": Fixed(bits, bits // 2), "output": Fixed(bits, bits - 3)}
    soft = softmax(**given, most=300)
    x = random_codes(r, soft.inputs[0], (5, 7, 40))
    x[1] = -(1 << bits - 1)
    x[2] = 3
    equal(kernel(soft)(x), soft(x))
    for n in (1, 299):
        equal(kernel(soft)(x.flatten()[:n]), soft(x.flatten()[:n]))
    norms = [layer_norm(**given, size=40, eps=1e-5, weight=w, bias=w[::-1], weight_frac=9, bias_frac=9)
             for w in (weight, -weight)]  # fmt: skip
    before = c_kernel._function.cache_info().misses
    for norm in norms:
        equal(kernel(norm)(x), norm(x))
    assert c_kernel._function.cache_info().misses == before + 1  # the second has the code of the first


def test_random_programs():
    done = 0
    for seed in itertools.count():
        r = random.Random(seed)
        places = r.choice([1, 3, 7, 40])
        program = random_program(r, r.choice([Extent.CODES, Extent.ROWS]), places)
        shapes = [(3, 5, places), (3, 5, places), (5, places), (3, 1, places), (5, 1), (3, 5, 1), (1,), ()]
        if program is None:
            continue
        codes = [random_codes(r, port, (3, 5, places) if not n else r.choice(shapes))
                 for n, port in enumerate(program.inputs)]  # fmt: skip
        try:
            want = program(*codes)
        except (RuntimeError, IndexError, ValueError):  # rows of a number, and sums of longer rows than these
            continue
        narrow = r.random() < 0.5
        equal(kernel(program)(*codes, narrow=narrow), want, narrow)
        done += 1
        if done == 12:
            return


def test_codes_outside_count_as_the_nearest():
    program = Program.of(input=Fixed(4, 0), nodes=(Apply("y", "q", pwl(input=Fixed(4))),), output=Fixed(9, 0))
    codes = torch.tensor([-128, -9, -8, 7, 8, 127], dtype=torch.int8)
    assert torch.equal(kernel(program)(codes), program(codes.clamp(-8, 7)))


def test_threads_and_strides():
    program = attention_like()
    x = torch.randint(-128, 128, (13, 9000)).t()
    scale = torch.randint(0, 16, (9000, 1)).expand(9000, 13)
    want = program(x, scale)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            equal(kernel(program)(x, scale), want)
    finally:
        torch.set_num_threads(before)


def test_what_is_refused():
    made = kernel(attention_like(most=12))
    with pytest.raises(ValueError, match=r"^Program node 'total' rows must have at most 12 places, not 13$"):
        made(torch.zeros(2, 13, dtype=torch.int8), torch.zeros(1, dtype=torch.int8))
    with pytest.raises(TypeError, match=r"^Program codes must be 2 tensors"):
        made(torch.zeros(2, 13, dtype=torch.int8))
    with pytest.raises(TypeError, match=r"^Program x codes must be uint8, int8, int16, int32 or int64"):
        made(torch.zeros(2, 12), torch.zeros(1, dtype=torch.int8))
    linear = Linear(
        "y", "x", multiplier=hwlut.Multiplier(family="exact", bits=8, signed=True), weights=np.ones((1, 2), int)
    )
    tensors = Program(inputs=(Port("x", Fixed(8)),), nodes=(linear,), outputs=(Port("y", Fixed(32)),), name="net")
    with pytest.raises(ValueError, match=r"^kernel program must be of codes or rows, which 'net' is not$"):
        kernel(tensors)
    table = hwlut.LutMatmul(encoder="l1", features=1, v=1, prototypes=[[[0], [9]]], table=[[[1], [2]]])
    looked = Program.of(input=Fixed(8, 0), nodes=(Apply("y", "q", table),), output=Fixed(32, 0))
    with pytest.raises(ValueError, match=r"^C of a program must have no LutMatmul as a unit of node 'y'$"):
        kernel(looked)


def test_many_codes_are_not_left_to_the_definition(monkeypatch):
    program = range_reduced("rsqrt", input=Fixed(14, 5), segments=4)
    made = kernel(program)
    codes = torch.arange(1 << 21).remainder(1 << 13).to(torch.int16)
    want = program(codes[: 1 << 13]).repeat(1 << 8)
    monkeypatch.setattr(Program, "values", None)
    assert torch.equal(made(codes), want)


def test_empty_rows():
    assert kernel(attention_like())(*[torch.zeros(0, 13, dtype=torch.int8)] * 2)[0].shape == (0, 13)


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert kernel(attention_like()) is None
    monkeypatch.undo()
    monkeypatch.setenv("HWLUT_KERNELS", "torch")
    assert kernel(attention_like()) is None


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    (tmp_path / "g++").write_text("#!/bin/sh\necho 'error: out of order' >&2\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    build._native.cache_clear()
    program = Program.of(input=Fixed(4, 0), nodes=(Constant("k", 4321), Add("y", "q", "k")), output=Fixed(16, 0))
    with pytest.warns(RuntimeWarning, match=r"^a program runs in torch, slowly: g\+\+: "):
        assert kernel(program)(torch.tensor([1, 2])).tolist() == [4322, 4323]
    c_kernel._function.cache_clear()
