"""The engine against the definition: every kind of node, sums where floats end, what is kept, other weights."""

import dataclasses
import itertools
import random
import weakref

import numpy as np
import pytest
import torch
from random_programs import random_codes, random_program

from hwlut import Direct, Fixed, LutMatmul, Multiplier, Program, Requantize
from hwlut.program.engine import Engine
from hwlut.program.engine import engine as engines
from hwlut.program.engine import products as engine_products
from hwlut.program.engine import runs as engine_runs
from hwlut.units import Encoder, Port, nodes
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.movement import Concatenate, Gather, Pad, Permute, Reshape, Slice
from hwlut.units.nodes import Extent
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
from hwlut.units.patches import MaximumPool, Patches, SumPool
from hwlut.units.products import Convolve, Linear, MatrixProduct
from hwlut.units.reductions import Entries, Maximum, Sum

EXACT = Multiplier(family="exact", bits=8, signed=True)
WIDE = Multiplier(family="exact", bits=16, signed=True)
DRUM = Multiplier(family="drum", bits=8, signed=True, k=4)
MIXED = Multiplier(family="mitchell", a=Fixed(8, signed=False), b=Fixed(8))
CPU = torch.device("cpu")


def integers(low, high, *shape, seed=0):
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))


def codes(format, *shape, seed=0):
    return integers(format.min, format.max, *shape, seed=seed)


def agree(program, *given, device=CPU):
    """The results and all values of engines are the program's: same integers, shapes and, of results, types."""
    agree_with(Engine(program, device, compiled=False), *given)
    return agree_with(Engine(program, device), *given)


def agree_with(engine, *given):
    program, device = engine.program, engine.device
    sent = [each.to(device) for each in given]
    got, want = engine(*sent), program(*given)
    for mine, theirs in zip(*((each if isinstance(each, tuple) else (each,)) for each in (got, want))):
        assert mine.dtype == theirs.dtype and mine.device.type == device.type
        assert torch.equal(mine.cpu(), theirs)
    values = program.values(*given)
    kept = engine.values(*sent, keep=values)
    assert set(kept) == set(values)
    for name, value in kept.items():
        assert not value.is_floating_point() and torch.equal(value.cpu().long(), values[name]), name
    return engine


def line():
    """A unit of one code."""
    return Direct(input=Fixed(5, 0), output=Fixed(6, 0), values=integers(-32, 31, 32, seed=9).tolist())


def row_program(places=6):
    listed = (
        Maximum("top", "q"),
        Subtract("below", "top", "q"),
        Sum("total", "below", places),
        Constant("two", 2),
        ShiftRight("half", "total", "two"),
        Add("y", "half", "below"),
    )
    return Program.of(input=Fixed(8, 0), nodes=listed, output=Fixed(16, 0))


SCALE = Requantize(input=Fixed(12), multipliers=(3,), shifts=(4,), zero_point=2, output=Fixed(6), rounding="half_even")
LARGE = SCALE.replace(input=Fixed(32), multipliers=((1 << 31) - 1,), shifts=(57,))
CHANNELS = Requantize(input=Fixed(12), multipliers=(3, 5, 7), shifts=(4, 3, 5), output=Fixed(6), rounding="floor")
WINDOW = dict(kernel=(3, 2), stride=(2, 1), padding=(1, 1))
IMAGES = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2))


def convolve(multiplier, groups=1, **changes):
    fields = dict(
        multiplier=multiplier,
        weights=codes(multiplier.b, 6, 4 // groups, 3, 2, seed=1).numpy(),
        zeros=tuple(integers(-9, 9, 6, seed=2).tolist()),
        constants=integers(-1000, 1000, 6, seed=3).numpy(),
        fill=3,
        **IMAGES,
        groups=groups,
    )
    return Convolve("y", "a", **fields | changes)


def linear(multiplier, **changes):
    fields = dict(multiplier=multiplier, weights=codes(multiplier.b, 5, 6, seed=1).numpy(), constants=None)
    return Linear("y", "a", **fields | changes)


A8, A12, U32 = Fixed(8), Fixed(12), Fixed(32, signed=False)
NODES = {
    "add": (Add("y", "a", "b"), [A8, A12]),
    "add of whole words": (Add("y", "a", "b"), [Fixed(32), Fixed(32)]),
    "subtract": (Subtract("y", "a", "b"), [A8, Fixed(8, signed=False)]),
    "multiply": (Multiply("y", "a", "b"), [A12, A12]),
    "multiply wide": (Multiply("y", "a", "b"), [Fixed(30), Fixed(30)]),
    "less": (Less("y", "a", "b"), [Fixed(4), Fixed(4)]),
    "equal": (Equal("y", "a", "b"), [Fixed(2), Fixed(2, signed=False)]),
    "select": (Select("y", "a", "b", "c"), [Fixed(2), A8, Fixed(20)]),
    "clamp": (Clamp("y", "a", -20, 70), [A8]),
    "clamp far": (Clamp("y", "a", -(1 << 40), 1 << 40), [A8]),
    "clamp away": (Clamp("y", "a", 1 << 40, 1 << 41), [A8]),
    "bits": (Bits("y", "a", 3, 4), [A8]),
    "bits of signs": (Bits("y", "a", 30, 40), [A8]),
    "many bits": (Bits("y", "a", 0, 31), [A8]),
    "leading one": (LeadingOne("y", "a"), [Fixed(20, signed=False)]),
    "leading one of 32": (LeadingOne("y", "a"), [Fixed(32, signed=False)]),
    "shift left": (ShiftLeft("y", "a", "b"), [A8, Fixed(4, signed=False)]),
    "shift far left": (ShiftLeft("y", "a", "b"), [A8, Fixed(5, signed=False)]),
    "apply": (Apply("y", "a", line()), [Fixed(5)]),
    "apply of a wide unit": (Apply("y", "a", SCALE.replace(input=Fixed(20))), [Fixed(20)]),
    "apply of a program": (Apply("y", "a", row_program()), [A8]),
    "sum": (Sum("y", "a", 6), [A8]),
    "sum wide": (Sum("y", "a", 6), [Fixed(32)]),
    "maximum": (Maximum("y", "a"), [A12]),
    "reshape": (Reshape("y", "a", (-1, 3, 4)), [A8]),
    "permute": (Permute("y", "a", (0, 3, 1, 2)), [A8]),
    "slice": (Slice("y", "a", 1, 1, 4, 2), [A8]),
    "concatenate": (Concatenate("y", ("a", "b", "a"), 1), [A8, A12]),
    "pad": (Pad("y", "a", (1, 2, 0, 1), 300), [A8]),
    "gather": (Gather("y", "a", integers(-300, 300, 16, 3, seed=1).numpy()), [Fixed(4, signed=False)]),
    "maximum pool": (MaximumPool("y", "a", **WINDOW, dilation=(1, 1)), [A8]),
    "maximum pool much padded": (MaximumPool("y", "a", **WINDOW | {"padding": (2, 1)}, dilation=(1, 1)), [A8]),
    "maximum pool wide": (MaximumPool("y", "a", **WINDOW, dilation=(1, 2)), [Fixed(30)]),
    "sum pool": (SumPool("y", "a", **WINDOW, fill=-9), [A8]),
    "sum pool wide": (SumPool("y", "a", **WINDOW, fill=-9), [Fixed(30)]),
    "patches": (Patches("y", "a", **WINDOW, dilation=(1, 1), fill=500), [A8]),
    "rescale": (Rescale("y", "a", SCALE, -1), [A12]),
    "rescale channels": (Rescale("y", "a", CHANNELS, 1), [A12]),
    "rescale 32 bits": (Rescale("y", "a", LARGE, 1), [Fixed(32)]),
    "rescale unsigned 32 bits": (Rescale("y", "a", LARGE.replace(input=U32), 1), [U32]),
    "look up": (
        LookUp("y", "a", LutMatmul(encoder=Encoder.L2, features=6, v=2, table=integers(-128, 127, 3, 4, 5).numpy(),
                                   prototypes=integers(-128, 127, 3, 4, 2, seed=1).numpy())),
        [A8],
    ),
    "linear": (linear(EXACT, zeros=(3,), constants=integers(-99, 99, 5).numpy()), [A8]),
    "linear wide": (linear(WIDE, zeros=(1, 2, 3, 4, 5)), [Fixed(16)]),
    "linear approximate": (linear(DRUM, zeros=(1, 2, 3, 4, 5), constants=integers(-99, 99, 5).numpy()), [A8]),
    "linear of mixed signs": (linear(MIXED, zeros=(-3,)), [Fixed(8, signed=False)]),
    "matrix product": (MatrixProduct("y", "a", "b", multiplier=EXACT, a_zero=1, b_zero=2, most=6), [A8, A8]),
    "convolve": (convolve(EXACT), [A8]),
    "convolve without fill": (convolve(EXACT, fill=0, zeros=(0,), constants=None), [A8]),
    "convolve wide": (convolve(WIDE), [Fixed(16)]),
    "convolve in groups": (convolve(EXACT, 2), [A8]),
    "convolve wide in groups": (convolve(WIDE, 2), [Fixed(16)]),
    "convolve approximate": (convolve(DRUM), [A8]),
    "convolve approximate plain": (convolve(DRUM, padding=(0, 0), fill=999, zeros=(0,), constants=None), [A8]),
    "convolve approximate in groups": (convolve(MIXED, 2, fill=200), [Fixed(8, signed=False)]),
}  # fmt: skip
for rounding in ("half_up", "half_even", "floor"):
    for bits, by in ((8, 3), (20, 5), (32, 4)):
        NODES[f"shift right {rounding} {bits} {by}"] = (
            ShiftRight("y", "a", "b", rounding),
            [Fixed(bits), Fixed(by, signed=False)],
        )
TAKES = {
    "linear": (2, 3, 6),
    "rescale channels": (2, 3, 4),
    "look up": (2, 3, 6),
    "reshape": (2, 3, 2, 2),
    "matrix": (2, 6, 6),
}


def single(node, formats):
    inputs = tuple(Port(name, format) for name, format in zip("abc", formats))
    spans = [(format.min, format.max) for format in formats]
    output = nodes.format_of(node.span(*(spans["abc".index(name)] for name in node.operands)))
    return Program(inputs=inputs, nodes=(node,), outputs=(Port("y", output),))


def shape_of(name):
    return next((shape for start, shape in TAKES.items() if name.startswith(start)), (2, 4, 5, 6))


@pytest.mark.parametrize("name", NODES)
def test_every_kind_of_node(name):
    node, formats = NODES[name]
    agree(single(node, formats), *(codes(format, *shape_of(name), seed=n) for n, format in enumerate(formats)))


@pytest.mark.cuda
@pytest.mark.parametrize("name", NODES)
def test_every_kind_of_node_on_a_gpu(name):
    node, formats = NODES[name]
    given = [codes(format, *shape_of(name), seed=n) for n, format in enumerate(formats)]
    agree(single(node, formats), *given, device="cuda")


def test_every_kind_of_node_is_among_these():
    assert {type(node) for node, _ in NODES.values()} | {Constant, Entries} == set(nodes._KINDS.values())


def test_axes_of_one_and_three():
    for axes, multiplier in ((1, EXACT), (3, EXACT), (1, DRUM), (3, DRUM)):
        geometry = dict(stride=(2,) * axes, padding=(1,) * axes, dilation=(1,) * axes)
        weights = codes(Fixed(8), 4, 3, *[2] * axes, seed=1).numpy()
        node = convolve(multiplier, weights=weights, zeros=(2,), constants=None, fill=-7, **geometry)
        agree(single(node, [A8]), codes(A8, 2, 3, *[4] * axes))
    pools = dict(kernel=(2,), stride=(1,), padding=(1,))
    agree(single(SumPool("y", "a", **pools, fill=4), [A8]), codes(A8, 2, 3, 5))
    agree(single(MaximumPool("y", "a", **pools, dilation=(1,)), [A8]), codes(A8, 2, 3, 5))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_convolutions_as_on_gpus(monkeypatch, groups, at_once):
    """By unfolding, on the processor."""
    monkeypatch.setattr(engine_products, "_AT_ONCE", at_once)
    gpu = torch.device("cuda")
    for axes, fill in ((1, 0), (2, -7), (3, 5)):
        geometry = dict(stride=(2, 1, 3)[:axes], padding=(1, 0, 2)[:axes], dilation=(1, 2, 1)[:axes])
        weights = codes(A8, 8, 4 // groups, *[2] * axes, seed=1).numpy()
        node = convolve(EXACT, groups, weights=weights, zeros=(0,), constants=np.arange(8), fill=fill, **geometry)
        x = codes(A8, 3, 4, *[6] * axes)
        padded = engine_products._padding(node, gpu)(x.float())
        held = (torch.tensor(each, dtype=torch.float32) for each in (node.weights, node.constants))
        assert torch.equal(engine_products._convolution(node, gpu)(padded, *held).long(), node(x))


PRODUCTS = [((3, 4), (4, 5)), ((2, 1, 3, 4), (3, 4, 5)), ((2, 3, 4), (4, 1))]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("zeros", [(0, 0), (3, 0), (0, -4), (100, 200)], ids=str)
@pytest.mark.parametrize("multiplier", [EXACT, WIDE, DRUM], ids=["exact", "wide", "drum"])
def test_products_of_two_operands(multiplier, zeros, shapes):
    node = MatrixProduct("y", "a", "b", multiplier=multiplier, a_zero=zeros[0], b_zero=zeros[1], most=4)
    formats = [multiplier.a, multiplier.b]
    agree(single(node, formats), *(codes(format, *shape) for format, shape in zip(formats, shapes)))


@pytest.mark.parametrize("over", [-1, 0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_where_float32_ends(over, sign):
    """2^24 + over, the small terms last and first."""
    most = (1 << 24) + over
    whole, rest = divmod(most, 255 * 255)
    weights, x = [255] * whole + [rest // 255, 1], [255] * whole + [255, rest % 255]
    taken = Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(9))
    for order in (1, -1):
        node = linear(taken, weights=sign * np.array([weights[::order]]))
        program = single(node, [taken.a])
        given = torch.tensor([x[::order]])
        assert program(given).item() == sign * most
        agree(program, given)


@pytest.mark.parametrize("channels", [1, 40, 3000, 20000])
def test_sums_beyond_float32(channels):
    """One convolution in several parts, and one that float64 sums."""
    taken = Multiplier(family="exact", a=Fixed(12), b=Fixed(12))
    weights = np.full((2, channels, 2), 2047)
    weights[1] = codes(Fixed(12), channels, 2).numpy()
    constants = np.array([-1, 1])
    node = Convolve("y", "a", multiplier=taken, weights=weights, constants=constants, stride=(1,), padding=(1,),
                    dilation=(1,), groups=1, fill=-2048)  # fmt: skip
    x = codes(Fixed(12), 2, channels, 3)
    x[0] = 2047
    x[1, :, 1] = -2047
    agree(single(node, [Fixed(12)]), x)
    rows = Linear("y", "a", multiplier=taken, weights=weights[:, :, 0], zeros=(-5, 5), constants=constants)
    agree(single(rows, [Fixed(12)]), x.transpose(1, 2))


def test_sums_beyond_float64():
    node = linear(WIDE, weights=codes(Fixed(15), 3, 400).numpy(), zeros=((1 << 31) - 1,))
    x = integers(16384, 32767, 2, 400)
    assert node.accumulator((-(1 << 15), (1 << 15) - 1)).bits > 54
    agree(single(node, [Fixed(16)]), x)


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
def test_shifts_of_numbers_whose_double_takes_more_than_32_bits(rounding):
    a, b, by = Port("a", Fixed(31)), Port("b", Fixed(30)), Port("by", Fixed(4, signed=False))
    listed = (Add("sum", "a", "b"), ShiftRight("y", "sum", "by", rounding))
    program = Program(inputs=(a, b, by), nodes=listed, outputs=(Port("y", Fixed(32)),))
    ends = [(sign << 30) - (sign > 0) for sign in (-1, 1)], [(sign << 29) - (sign > 0) for sign in (-1, 1)]
    agree(program, *(torch.tensor(end) for end in ends), torch.arange(16)[:, None])


def network(multiplier=EXACT, seed=0):
    """Convolution, a residual sum, pools, look-ups and attention of a kind: each representation meets each other."""
    to8 = Requantize(input=Fixed(32), multipliers=tuple(range(1 << 20, (1 << 20) + 8)), shifts=(31,) * 8, output=A8)
    once = Requantize(input=Fixed(32), multipliers=(77777,), shifts=(28,), zero_point=3, output=A8)
    same = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, multiplier=multiplier)

    def weights(*shape):
        return codes(A8, *shape, seed=seed + sum(shape)).numpy()

    constants = integers(-5000, 5000, 8, seed=seed).numpy()
    listed = (
        Convolve("c1", "x", weights=weights(8, 3, 3, 3), constants=constants, fill=5, **same),
        Rescale("r1", "c1", to8, 1),
        Clamp("relu", "r1", 0, 127),
        Convolve("c2", "relu", weights=weights(8, 8, 3, 3), constants=None, zeros=(7,), fill=0, **same),
        Rescale("r2", "c2", to8, 1),
        Add("both", "r2", "relu"),
        Clamp("held", "both", -128, 127),
        MaximumPool("pooled", "held", kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)),
        Apply(
            "bent",
            "pooled",
            Direct(input=Fixed(8, 0), output=Fixed(8, 0), values=integers(-128, 127, 256, seed=seed).tolist()),
        ),
        Reshape("flat", "bent", (-1, 8, 16)),
        Permute("tokens", "flat", (0, 2, 1)),
        Entries("places", integers(-9, 9, 16, 8, seed=seed).numpy()),
        Add("placed", "tokens", "places"),
        Clamp("bounded", "placed", -128, 127),
        Linear("keys", "bounded", multiplier=multiplier, weights=weights(8, 8), constants=constants),
        Rescale("k", "keys", to8, -1),
        Permute("turned", "k", (0, 2, 1)),
        MatrixProduct("scores", "bounded", "turned", multiplier=multiplier, a_zero=3, b_zero=0, most=8),
        Rescale("scored", "scores", once, 0),
        Apply("weighed", "scored", row_program(16)),
        Clamp("narrow", "weighed", -128, 127),
        MatrixProduct("mixed", "narrow", "bounded", multiplier=multiplier, a_zero=0, b_zero=0, most=16),
        Rescale("back", "mixed", once, 0),
        Sum("sum", "back", 8),
        Constant("three", 3),
        ShiftRight("mean", "sum", "three"),
        Subtract("centred", "back", "mean"),
        Slice("first", "centred", 1, 0, 1, 1),
        Reshape("row", "first", (-1, 8)),
        Clamp("codes", "row", -128, 127),
        Linear("logits", "codes", multiplier=EXACT, weights=weights(10, 8), constants=None),
    )
    outputs = (Port("logits", Fixed(32)), Port("mean", Fixed(12)))
    return Program(inputs=(Port("x", A8, shape=(3, 8, 8)),), nodes=listed, outputs=outputs)


@pytest.mark.parametrize("multiplier", [EXACT, DRUM], ids=["exact", "drum"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_networks(multiplier, dtype):
    x = codes(A8, 3, 3, 8, 8).to(dtype)
    program = network(multiplier)
    engine = agree(program, x.contiguous(memory_format=torch.channels_last))
    assert all(torch.equal(got, want) for got, want in zip(engine(x[:1]), program(x[:1])))
    assert engine(x[:0])[0].shape == (0, 10)


@pytest.mark.cuda
@pytest.mark.parametrize("multiplier", [EXACT, DRUM], ids=["exact", "drum"])
def test_networks_on_a_gpu(multiplier):
    agree(network(multiplier), codes(A8, 3, 3, 8, 8), device="cuda")


def test_other_weights_make_another_engine():
    x = codes(A8, 2, 3, 8, 8)
    results = [agree(network(seed=seed), x)(x)[0] for seed in (0, 1)]
    assert not torch.equal(*results)


def test_what_is_kept_and_nothing_else():
    program = network()
    engine, x = Engine(program), codes(A8, 2, 3, 8, 8)
    want = program.values(x)
    for keep in (["r1"], ["relu"], ["r1", "relu"], ["x", "three", "places"], [], ["scored", "mean"]):
        values = engine.values(x, keep=keep)
        assert set(values) == set(keep)
        assert all(torch.equal(values[name].long(), want[name]) for name in keep)
    assert engine.values(x, keep=iter(["relu"]))["relu"].dtype == torch.int8
    broken = dataclasses.replace(program.nodes[-1], weights=np.zeros((10, 9), int))
    short = Engine(program.replace(nodes=(*program.nodes[:-1], broken)))
    assert torch.equal(short.values(x, keep=["relu"])["relu"].long(), want["relu"])
    with pytest.raises(RuntimeError):
        short(x)


def test_values_are_freed_once_nothing_needs_them(monkeypatch):
    seen, most = [], []

    def watched(compute):
        def run(*values):
            most.append(sum(each() is not None for each in seen))
            result = compute(*values)
            seen.append(weakref.ref(result))
            return result

        return run

    listed = [Constant("one", 1), Add("v0", "x", "one")]
    listed += [Add(f"v{n + 1}", f"v{n}", "one") for n in range(20)]
    program = Program(inputs=(Port("x", A8),), nodes=tuple(listed), outputs=(Port("v20", Fixed(12)),))
    original = engines.prepared
    monkeypatch.setattr(engines, "prepared", lambda node, place: watched(original(node, place)))
    engine = Engine(program, compiled=False)
    assert torch.equal(engine(codes(A8, 9)), program(codes(A8, 9)))
    assert len(most) == 21 and max(most) == 1


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_lowered_precision_changes_nothing_and_stays(precision):
    program = single(linear(WIDE, weights=integers(-1, 1, 64, 512, seed=1).numpy()), [Fixed(14)])
    x = codes(Fixed(14), 64, 512)  # bfloat16 holds 8 bits, TF32 11
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu"):
            agree(program, x)
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    assert not Engine(program)(x).requires_grad and torch.is_grad_enabled()


def test_runs_are_compiled_that_rest_on_what_their_operands_can_be(monkeypatch):
    seen = []
    monkeypatch.setattr(engine_runs, "kernel", lambda program: seen.append(program))
    listed = (
        Clamp("held", "a", 0, 40),
        Slice("by", "held", 0, 0, 9, 1),
        Constant("one", 1),
        ShiftLeft("power", "one", "by"),
        ShiftRight("y", "power", "by"),
    )
    agree(Program(inputs=(Port("a", A8),), nodes=listed, outputs=(Port("y", Fixed(60)),)), codes(A8, 9))
    assert [program.spans["x0_held"] for program in seen] == [(0, 40)]


def test_constants_that_are_wider_than_what_they_meet():
    listed = (
        Slice("first", "a", -1, 0, 1, 1),
        Entries("entries", np.array([100, -100, 7])),
        Constant("nine", 9),
        ShiftLeft("raised", "entries", "nine"),
        Add("sum", "first", "raised"),
        Clamp("y", "sum", -5000, 5000),
    )
    program = Program(inputs=(Port("a", A8),), nodes=listed, outputs=(Port("y", Fixed(16)),))
    engine = agree(program, codes(A8, 2, 5))
    assert engine(codes(A8, 2, 5)).shape == (2, 3)


def test_rows_that_are_summed_up_beside_rows_of_another_length():
    listed = (
        Maximum("highest", "a"),
        Slice("few", "a", -1, 1, 4, 1),
        Less("y", "few", "highest"),
    )
    agree(Program(inputs=(Port("a", A8),), nodes=listed, outputs=(Port("y", Fixed(1, signed=False)),)), codes(A8, 3, 7))


def test_nothing_is_compiled_where_that_is_not_wanted(monkeypatch):
    def kernel(program):
        raise AssertionError

    monkeypatch.setattr(engine_runs, "kernel", kernel)
    nested = single(Apply("y", "a", row_program(7)), [A8])
    for program in (row_program(7), nested):
        assert torch.equal(Engine(program, compiled=False)(codes(A8, 5, 7)), program(codes(A8, 5, 7)))
        with pytest.raises(AssertionError):
            Engine(program)(codes(A8, 5, 7))


def test_programs_of_codes_and_rows():
    q = codes(A8, 3, 6)
    agree(row_program(), q)
    agree(row_program(), q[0])
    constant = Program.of(
        input=Fixed(4),
        nodes=(Bits("low", "q", 0, 1), Constant("seven", 7), Select("y", "low", "seven", "seven")),
        output=Fixed(8),
    )
    agree(constant, codes(Fixed(4), 2, 3))
    agree(constant, codes(Fixed(4)))
    two = Program(
        inputs=(Port("a", A8), Port("b", A8)), nodes=(Add("y", "a", "b"), Less("z", "a", "b")),
        outputs=(Port("y", Fixed(9)), Port("z", Fixed(1, signed=False))),
    )  # fmt: skip
    agree(two, codes(A8, 3, 1).to(torch.int8), codes(A8, 4, seed=1).to(torch.int8))
    agree(two, torch.tensor(-128, dtype=torch.int8), torch.tensor(-128, dtype=torch.int8))


def test_refusals():
    engine = Engine(row_program())
    with pytest.raises(TypeError, match="^Engine program must be a Program, not 'row'$"):
        Engine("row")
    with pytest.raises(TypeError, match="^Program codes must be 1 tensors, one an input, not 2$"):
        engine(codes(A8, 2), codes(A8, 2))
    with pytest.raises(ValueError, match="^Engine keep must be of the program's values, not 'other'$"):
        engine.values(codes(A8, 2), keep=["y", "other"])


@pytest.mark.parametrize("compiled", [False, True], ids=["torch", "compiled"])
def test_random_programs(compiled):
    """Of codes and rows, on operands of shapes that broadcast."""
    done = 0
    for seed in itertools.count():
        r = random.Random(seed)
        places = r.choice([1, 3, 7, 40])
        program = random_program(r, r.choice([Extent.CODES, Extent.ROWS]), places)
        if program is None:
            continue
        shapes = [(3, 5, places), (3, 5, places), (5, places), (3, 1, places), (5, 1), (3, 5, 1), (1,), ()]
        given = [
            random_codes(r, port, r.choice(shapes) if n else (3, 5, places)) for n, port in enumerate(program.inputs)
        ]
        try:
            program(*given)
        except (RuntimeError, IndexError, ValueError):  # sums of longer rows than these
            continue
        agree_with(Engine(program, compiled=compiled), *given)
        name = r.choice(list(program.spans))
        kept = Engine(program, compiled=compiled).values(*given, keep=[name])[name]
        assert torch.equal(kept.long(), program.values(*given)[name])
        done += 1
        if done == (4 if compiled else 60):
            return
