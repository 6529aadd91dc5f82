"""Programs as C files against their definition, bit for bit."""

import dataclasses
import itertools
import random
import subprocess

import numpy as np
import pytest
import torch
from lut_units import random_unit
from program_in_c import called, compiled
from random_programs import ROUNDINGS, random_codes, random_program

from hwlut import Fixed, Multiplier, Program, Pwl, Requantize
from hwlut.program import c_source, export_c, gated, layer_norm, range_reduced, softmax
from hwlut.units import operations as op
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.nodes import Extent, format_of
from hwlut.units.operations import Add, Apply, Clamp, Constant, Multiply, Subtract
from hwlut.units.patches import MaximumPool, Patches, SumPool
from hwlut.units.ports import Port
from hwlut.units.products import Convolve, Linear, MatrixProduct
from hwlut.units.reductions import Entries, Maximum, Sum

EXACT = Multiplier(family="exact", bits=8, signed=True)
MIXED = Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(8))
ROUGH = Multiplier(family="drum", bits=8, signed=True, k=4)


@pytest.fixture
def check(need, tmp_path):
    """That a program's file gives what the program does."""
    need("cc")

    def run(program, *codes, flags=()):
        text = c_source(program)
        got = called(program, text, compiled(text, tmp_path, *flags), *codes)
        want = program(*codes)
        for each, result in zip(want if isinstance(want, tuple) else (want,), got):
            assert torch.equal(each.reshape(result.shape).long(), result)
        return text

    return run


def program_of(inputs, nodes, *outputs, name="net"):
    """A program whose outputs, by default the last node, have the narrowest formats."""
    spans = {port.name: (port.format.min, port.format.max) for port in inputs}
    for node in nodes:
        spans[node.name] = node.span(*(spans[operand] for operand in node.operands))
    ports = tuple(Port(each, format_of(spans[each])) for each in outputs or (nodes[-1].name,))
    return Program(name=name, inputs=tuple(inputs), nodes=tuple(nodes), outputs=ports)


def numbers(seed, *shape, low=-128, high=128):
    return np.random.default_rng(seed).integers(low, high, shape)


def codes_of(program, batch=3, seed=0):
    r = random.Random(seed)
    return [random_codes(r, port, (batch, *port.shape)) for port in program.inputs]


def to_codes(channels, bits=8, signed=False, rounding="half_up", shift=9):
    multipliers = tuple(3 + n for n in range(channels))
    return Requantize(
        input=Fixed(32), multipliers=multipliers, shifts=tuple(shift + n % 2 for n in range(channels)),
        output=Fixed(bits, signed=signed), rounding=rounding, zero_point=1,
    )  # fmt: skip


def gelu_like():
    return Pwl(
        input=Fixed(8), scales=(4,), breakpoint_frac=4, breakpoints=(-40, -9, 5, 30), slope=Fixed(8, 6),
        slopes=(0, -8, 20, 70, 64), intercept=Fixed(10, 8), intercepts=(0, -80, 3, -90, 0), output=Fixed(8, 4),
    )  # fmt: skip


def network(**changes):
    """A small network of convolutions, with a branch, pooling of both kinds and a classifier; odd sizes throughout."""
    return program_of(
        [Port("image", Fixed(8), (3, 9, 7))],
        [
            Convolve(
                "conv1", "image", multiplier=EXACT, weights=changes.get("weights", numbers(0, 6, 3, 3, 3)),
                zeros=(0, 1, -2, 3, 0, 5), constants=numbers(1, 6, low=-999, high=999), stride=(2, 1), padding=(1, 2),
                dilation=(1, 2), groups=1, fill=-3,
            ),
            Rescale("codes1", "conv1", to_codes(6, rounding="half_even"), axis=1),
            Convolve(
                "depthwise", "codes1", multiplier=MIXED, weights=numbers(2, 12, 1, 2, 3), zeros=(2,), stride=(1, 1),
                padding=(0, 1), dilation=(1, 1), groups=6, fill=1,
            ),
            Rescale("codes2", "depthwise", to_codes(1, signed=True, shift=7), axis=-1),
            Apply("bent", "codes2", gelu_like()),
            Slice("half", "bent", 1, 1, 12, 2),
            Slice("rest", "bent", -3, 0, 12, 2),
            Add("joined", "half", "rest"),
            MaximumPool("pooled", "joined", kernel=(2, 2), stride=(2, 2), padding=(1, 0), dilation=(1, 1)),
            SumPool("sums", "pooled", kernel=(2, 1), stride=(1, 2), padding=(0, 1), fill=5),
            Reshape("flat", "sums", (-1, 36)),
            Clamp("held", "flat", -128, 127),
            Linear("scores", "held", multiplier=EXACT, weights=numbers(3, 5, 36), constants=numbers(4, 5)),
        ],
        "scores", "joined",
    )  # fmt: skip


def test_a_network(check):
    program = network()
    for level in ("-O0", "-O3"):
        text = check(program, *codes_of(program, 5), flags=[level, "-fsanitize=undefined", "-fno-sanitize-recover"])
    assert "/* half = slice(bent) */" in text
    assert "void net(size_t batch, const int8_t *image, int32_t *scores, int16_t *joined, net_workspace" in text


def test_a_flipped_weight_is_caught(need, tmp_path):
    need("cc")
    program = network()
    codes = codes_of(program, 5)
    weights = numbers(0, 6, 3, 3, 3)
    weights[4, 1, 0, 2] ^= 1
    other = c_source(network(weights=weights))
    got = called(program, other, compiled(other, tmp_path), *codes)
    assert not all(torch.equal(a.long(), b) for a, b in zip(program(*codes), got))


def softmax_like(places):
    """Shares of 2^-(distance from the greatest), in 8 bits."""
    return program_of(
        [Port("q", Fixed(16, 0))],
        [
            Maximum("top", "q"),
            Subtract("below", "top", "q"),
            Clamp("by", "below", 0, 12),
            Constant("one", 1 << 12),
            op.ShiftRight("power", "one", "by"),
            Sum("total", "power", places),
            op.LeadingOne("octave", "total"),
            Constant("seven", 7),
            op.ShiftLeft("raised", "power", "seven"),
            op.ShiftRight("share", "raised", "octave"),
            Clamp("held", "share", 0, 255),
        ],
    )


def with_frac(program):
    outputs = tuple(Port(port.name, Fixed(port.format.bits, 0, port.format.signed)) for port in program.outputs)
    return dataclasses.replace(program, outputs=outputs)


def attention():
    """An embedding, heads of attention with a program of rows inside, and a residual with weights along the rows."""
    tokens, width, heads, each = 5, 6, 2, 3
    nodes = [
        Gather("embedded", "words", numbers(5, 11, width)),
        Entries("positions", numbers(6, tokens, width)),
        Add("placed", "embedded", "positions"),
        Clamp("x", "placed", -128, 127),
    ]
    for n, name in enumerate("qkv"):
        nodes += [
            Linear(f"{name}_sums", "x", multiplier=EXACT, weights=numbers(7 + n, width, width), zeros=(1,)),
            Rescale(f"{name}_codes", f"{name}_sums", to_codes(width, signed=True, shift=8), axis=-1),
            Reshape(f"{name}_heads", f"{name}_codes", (-1, tokens, heads, each)),
            Permute(name, f"{name}_heads", (0, 2, 3, 1) if name == "k" else (0, 2, 1, 3)),
        ]
    nodes += [
        MatrixProduct("scores", "q", "k", multiplier=EXACT, a_zero=1, b_zero=-2, most=each),
        op.Bits("low", "scores", 3, 12),
        Apply("shares", "low", with_frac(softmax_like(tokens))),
        MatrixProduct("mixed", "shares", "v", multiplier=MIXED, a_zero=0, b_zero=0, most=tokens),
        Permute("back", "mixed", (0, 2, 1, 3)),
        Reshape("rows", "back", (-1, tokens, width)),
        Constant("four", 4),
        op.ShiftRight("less", "rows", "four", "half_even"),
        Multiply("gated", "less", "gain"),
        Sum("sum", "gated", width),
        Subtract("y", "gated", "sum"),
    ]  # fmt: skip
    inputs = [Port("words", Fixed(3, signed=False), (tokens,)), Port("gain", Fixed(4, 2), (1, width))]
    return program_of(inputs, nodes, "y", "shares", "sum")


def test_attention(check):
    program = attention()
    check(program, *codes_of(program, 4))


def test_look_ups(check):
    made = [
        random_unit(0, encoder="l2", k=16, v=3, features=12, outputs=5),
        random_unit(1, encoder="tree", k=8, v=2, features=5, outputs=7, table_bits=4, bias=True),
    ]
    made[0] = made[0].replace(requantize=to_codes(5, signed=True, shift=3))
    nodes = [
        Patches("rows", "image", kernel=(2, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), fill=-7),
        LookUp("first", "rows", made[0]),
        LookUp("second", "first", made[1]),
        Pad("padded", "second", (1, 0, 2, 1), 99),
        Slice("a_row", "padded", 2, 1, 2, 1),
        Concatenate("y", ("padded", "a_row", "padded"), -1),
    ]
    program = program_of([Port("image", Fixed(6), (3, 5, 4))], nodes, "y", "first")
    check(program, *codes_of(program, 4))


def test_look_ups_of_sums(check):
    """Sums of two entries of four bits are codes of eight, in words of 32."""
    first = random_unit(2, encoder="l1", k=4, v=2, features=4, outputs=6, table_bits=4, bias=False)
    second = random_unit(3, encoder="tree", k=4, v=2, features=6, outputs=3)
    nodes = [LookUp("sums", "x", first), LookUp("y", "sums", second)]
    program = program_of([Port("x", Fixed(8), (5, 4))], nodes, "y", "sums")
    check(program, *codes_of(program, 4))


@pytest.mark.parametrize("multiplier", [
    ROUGH,
    Multiplier(family="table", a=Fixed(4), b=Fixed(3), products=numbers(0, 16, 8)),
    Multiplier(family="mitchell", a=Fixed(8, signed=False), b=Fixed(6)),
], ids=lambda unit: unit.family.value)  # fmt: skip
def test_approximate_multipliers(check, multiplier):
    low, high = multiplier.b.min, multiplier.b.max + 1
    of = Port("x", multiplier.a, (4, 5, 3))
    program = program_of(
        [of, Port("w", multiplier.b, (4, 3, 2))],
        [
            Convolve("conv", "x", multiplier=multiplier, weights=numbers(1, 6, 2, 3, 2, low=low, high=high),
                     zeros=tuple(range(6)), constants=numbers(2, 6), stride=(1, 2), padding=(2, 0), dilation=(1, 1),
                     groups=2, fill=3),
            Linear("lines", "x", multiplier=multiplier, weights=numbers(3, 5, 3, low=low, high=high)),
            MatrixProduct("both", "x", "w", multiplier=multiplier, a_zero=2, b_zero=-1, most=3),
        ],
        "conv", "lines", "both",
    )  # fmt: skip
    check(program, *codes_of(program, 3))


def test_other_axes(check):
    nodes = [
        Convolve("one", "line", multiplier=EXACT, weights=numbers(0, 4, 2, 3), stride=(2,), padding=(1,), dilation=(2,),
                 groups=1, fill=4),
        Convolve("three", "cube", multiplier=EXACT, weights=numbers(1, 2, 1, 2, 1, 2), stride=(1, 2, 1),
                 padding=(1, 0, 1), dilation=(1, 1, 1), groups=1, fill=-1),
        Convolve("unpadded", "high", multiplier=MIXED, weights=numbers(2, 2, 1, 2), stride=(1,), padding=(0,),
                 dilation=(1,), groups=1, fill=-1),
        MaximumPool("most", "cube", kernel=(2, 1, 2), stride=(1, 1, 2), padding=(1, 0, 0), dilation=(1, 1, 2)),
        Pad("padded", "line", (2, 1, 0, 3), -5),
        Permute("turned", "cube", (0, 4, 1, 3, 2)),
        Slice("some", "turned", 1, 1, 4, 2),
    ]  # fmt: skip
    inputs = [Port("line", Fixed(8), (2, 9)), Port("cube", Fixed(8), (1, 3, 2, 4)),
              Port("high", Fixed(8, signed=False), (1, 5))]  # fmt: skip
    program = program_of(inputs, nodes, *(node.name for node in nodes if node.name != "turned"))
    check(program, *codes_of(program, 3))


def test_wide_numbers(check):
    """Accumulators, products and outputs beyond 32 bits, and unsigned inputs of 32."""
    wide = Multiplier(family="exact", bits=16, signed=False)
    nodes = [
        Linear("sums", "x", multiplier=wide, weights=numbers(0, 3, 7, low=0, high=1 << 16)),
        Constant("k", 1 << 28),
        Multiply("huge", "u", "k"),
        op.Bits("top", "huge", 40, 20),
        Add("y", "sums", "huge"),
    ]
    inputs = [Port("x", Fixed(16, signed=False), (7,)), Port("u", Fixed(32, signed=False), (3,))]
    program = program_of(inputs, nodes, "y", "top", "u")
    check(program, *codes_of(program, 9))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_channels_are_rounded(check, rounding):
    unit = Requantize(
        input=Fixed(32), multipliers=(3, (1 << 31) - 1, 1 << 30, 0, 5), shifts=(1, 31, 62, 0, 2), output=Fixed(32),
        rounding=rounding, zero_point=-9,
    )  # fmt: skip
    program = program_of([Port("x", Fixed(32), (5, 4))], [Rescale("y", "x", unit, axis=-2)])
    check(program, *codes_of(program, 40))


def test_operators(check):
    given = {"input": Fixed(8, 4), "output": Fixed(8, 5)}
    weight = np.random.default_rng(0).normal(size=21)
    for program in (softmax(**given, most=40), layer_norm(**given, size=21, eps=1e-5, weight=weight, bias=weight)):
        ports = tuple(dataclasses.replace(port, shape=(3, 21)) for port in program.inputs)
        program = program.replace(inputs=ports)
        (x,) = codes_of(program, 4)
        x[1, :2] = torch.tensor([-128, 3])[:, None]
        check(program, x)
    gate = gated(range_reduced("sqrt", input=Fixed(8, 4)), gate=Fixed(8, 4), value=Fixed(8, 4), output=Fixed(12, 6))
    check(gate, *(each.flatten() for each in torch.meshgrid(*[torch.arange(-128, 128)] * 2, indexing="ij")))


def test_random_programs_of_codes_and_rows(check):
    done = 0
    for seed in itertools.count():
        r = random.Random(seed)
        places, extent = r.choice([1, 3, 7]), r.choice([Extent.CODES, Extent.ROWS])
        program = random_program(r, extent, places)
        if program is None:
            continue
        shapes = [(2, places), (2, places), (places,), (2, 1), (1,)]
        ports = tuple(dataclasses.replace(port, shape=r.choice(shapes) if n else (2, places))
                      for n, port in enumerate(program.inputs))  # fmt: skip
        program = program.replace(name="net", inputs=ports)
        # Axes are added so that the batch is the first of as many everywhere.
        codes = [random_codes(r, port, (3, *(1,) * (2 - len(port.shape)), *port.shape)) for port in ports]
        try:
            program(*codes)
        except (RuntimeError, IndexError):  # rows of a number, and sums of longer rows than these
            continue
        check(program, *codes)
        done += 1
        if done == 12:
            return


def test_one_line_in_many_segments(check):
    same = Pwl(input=Fixed(10), scales=(0,), breakpoint_frac=0, breakpoints=tuple(range(-20, 20)), slope=Fixed(8, 0),
               slopes=(0,) * 41, intercept=Fixed(8, 0), intercepts=(7,) * 41)  # fmt: skip
    other = same.replace(intercepts=tuple(range(41)))
    nodes = [Apply("y", "q", same), Apply("z", "q", other)]
    check(program_of([Port("q", Fixed(10))], nodes, "y", "z"), torch.arange(-512, 512))


def test_comparisons_with_oneself_and_numbers(check):
    nodes = [op.Equal("same", "a", "a"), op.Less("below", "a", "a"), Constant("k", 3), Maximum("most", "k"),
             op.Less("after", "k", "a"), op.Equal("never", "k", "most")]  # fmt: skip
    program = program_of([Port("a", Fixed(4), (2, 3))], nodes, "same", "below", "after", "never")
    check(program, *codes_of(program, 5))


def test_codes_alone(check):
    program = program_of([Port("double", Fixed(4)), Port("b", Fixed(4))], [Multiply("y", "double", "b")], name="times")
    codes = [each.flatten() for each in torch.meshgrid(*[torch.arange(-8, 8)] * 2, indexing="ij")]
    text = check(program, *codes)
    assert "void times(size_t batch, const int8_t *p_double, const int8_t *b, int8_t *y);" in text
    assert "workspace" not in text


def test_the_file_is_written(tmp_path):
    program = network()
    path = export_c(program, tmp_path / "net.c")
    assert path.read_text() == c_source(program)
    assert program.digest in path.read_text()


def test_a_caller_takes_the_prototype_alone(need, tmp_path):
    need("cc", "g++")
    (tmp_path / "net.c").write_text(c_source(network()))
    text = '#define net_PROTOTYPES\n#include "net.c"\nvoid f(net_workspace *w);\n'
    text += "void f(net_workspace *w) { net(0, 0, 0, 0, w); }\n"
    for compiler, name in (("cc", "caller.c"), ("g++", "caller.cpp")):
        (tmp_path / name).write_text(text)
        command = [compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", str(tmp_path / name), "-o", "/dev/null"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


def refused(message, program):
    with pytest.raises(ValueError, match=message):
        c_source(program)


def test_what_is_refused():
    x = Port("x", Fixed(8), (1, 4, 4))
    refused(r"^c_source input 'x' must have a shape$", program_of([Port("x", Fixed(8))], [Maximum("y", "x")]))
    refused(r"^c_source name of the program must be free in C, not 'double'$",
            program_of([x], [Add("y", "x", "x")], name="double"))  # fmt: skip
    refused(r"^c_source items of a batch must be apart, which those of output 'y' are not$",
            program_of([x], [Permute("y", "x", (1, 0, 2, 3))]))  # fmt: skip
    refused(r"^c_source shapes of inputs must go together: ",
            program_of([x, Port("z", Fixed(8), (3,))], [Add("y", "x", "z")]))  # fmt: skip
    wide = Multiplier(family="drum", a=Fixed(16), b=Fixed(8), k=4)
    refused(
        r"^C of a program must have approximate multipliers of at most 2\^16 pairs of codes, which node 'y' exceeds by"
        r" 16 x 8 bits$",
        program_of([x], [Linear("y", "x", multiplier=wide, weights=numbers(0, 2, 4))]),
    )
    pool = MaximumPool("y", "x", kernel=(1, 1), stride=(1, 1), padding=(1, 0), dilation=(1, 1))
    refused(r"^Program node 'y' must have no patches of padding alone$", program_of([x], [pool]))
    unit = random_unit(0, encoder="l2", k=4, v=2, features=4, outputs=4)
    refused(r"^C of a program must have no LutMatmul as a unit of node 'y'$",
            program_of([Port("x", Fixed(8), (4,))], [Apply("y", "x", unit)]))  # fmt: skip
