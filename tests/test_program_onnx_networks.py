"""Whole programs in ONNX, of codes and of real numbers: onnxruntime gives what the program gives."""

import importlib.util
import math
import re

import numpy as np
import pytest
import torch
from onnx_programs import EXACT, MIXED, S8, U8, agree, draw, held, kinds, of, requantize, run, weights

from hwlut import Fixed, Multiplier, Program, ToolError, load
from hwlut.program import export_onnx, gated, layer_norm, rms_norm, softmax
from hwlut.program.onnx.codes import applied
from hwlut.program.onnx.graph import Graph, Value
from hwlut.program.onnx.nodes import emit
from hwlut.share import share
from hwlut.units import Direct
from hwlut.units.applied import Rescale
from hwlut.units.movement import Permute, Reshape
from hwlut.units.nodes import Node
from hwlut.units.operations import (
    Add,
    Apply,
    Clamp,
    Constant,
    LeadingOne,
    Select,
    ShiftRight,
    Subtract,
)
from hwlut.units.patches import MaximumPool, SumPool
from hwlut.units.ports import Port
from hwlut.units.products import Convolve, Linear, MatrixProduct
from hwlut.units.reductions import Entries, Maximum, Sum


@pytest.fixture(autouse=True)
def _packages(need):
    need("onnx", "onnxruntime")


def network():
    """A small residual network of images: real numbers in, real numbers out."""
    x = Port("x", U8, (3, 8, 8), step=(13, 10), zero_point=100)
    same = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1))
    relu = requantize([0.001 * (k + 1) for k in range(4)], U8)
    nodes = [
        Convolve("conv1", "x", multiplier=MIXED, weights=weights((4, 3, 3, 3), S8), groups=1, fill=100,
                 constants=np.array([100, -2000, 0, 30000]), **same),
        Rescale("codes1", "conv1", relu, 1),
        Convolve("conv2", "codes1", multiplier=MIXED, weights=weights((4, 4, 3, 3), S8, 1), groups=1, fill=0, **same),
        Rescale("branch", "conv2", requantize([0.0003, 0.002, 0.0011, 0.004], Fixed(16)), 1),
        Rescale("stem", "codes1", requantize(1.37, Fixed(16)), -1),
        Add("sum", "branch", "stem"),
        Rescale("codes2", "sum", requantize(0.3, S8, -11, "half_up"), -1),
        MaximumPool("pooled", "codes2", kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)),
        SumPool("total", "pooled", kernel=(4, 4), stride=(1, 1), padding=(0, 0), fill=0),
        Reshape("flat", "total", (-1, 4)),
        Rescale("mean", "flat", requantize(1 / 16, S8, 0, "floor"), -1),
        Linear("logits", "mean", multiplier=EXACT["s8"], weights=weights((10, 4), S8, 2), zeros=(3,)),
    ]  # fmt: skip
    outputs = (
        Port("logits", Fixed(24), (10,), step=((1 << 31) - 1, 50)),
        Port("codes2", S8, (4, 8, 8), step=(3, 5), zero_point=-11),
    )
    return Program(name="residual", inputs=(x,), nodes=tuple(nodes), outputs=outputs)


def quantized(x, port):
    """Codes of real numbers, in plain float64 and int64: `x / port.scale` rounded half to even."""
    dtype = torch.float32 if float(np.float32(port.scale)) == port.scale else torch.float64
    steps = (x.nan_to_num(0.0, math.inf, -math.inf).to(dtype) / torch.tensor(port.scale, dtype=dtype)).round()
    return (steps.double() + port.zero_point).clamp(port.format.min, port.format.max).long()


def real(codes, port):
    return ((codes.long() - port.zero_point).double() * port.scale).float()


def awkward(port, *shape):
    """Real numbers with half-way cases, and what is far out or no number."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * port.scale * (1 << (port.format.bits - 2))
    flat = x.view(-1)
    flat[: len(flat) // 2] = ((flat[: len(flat) // 2] / port.scale).round() + 0.5) * port.scale
    flat[:7] = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e38, -1e38])
    return x


def test_a_residual_network_of_images(tmp_path):
    program = network()
    agree(program, tmp_path, draw(program.inputs[0], 2, 3, 8, 8))
    path = export_onnx(program, tmp_path / "residual.onnx")
    for batch in (1, 5):
        x = awkward(program.inputs[0], batch, 3, 8, 8)
        wanted = program(quantized(x, program.inputs[0]))
        for port, found, codes in zip(program.outputs, run(path, x), wanted):
            assert found.dtype == torch.float32 and torch.equal(found, real(codes, port)), port.name
    import onnx

    model = onnx.load_from_string(path.read_bytes())
    assert {each.key: each.value for each in model.metadata_props} == {"hwlut.residual": program.digest}
    assert model.graph.name == "residual"
    dims = {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim]
            for each in (*model.graph.input, *model.graph.output)}  # fmt: skip
    assert dims == {"x": ["batch", 3, 8, 8], "logits": ["batch", 10], "codes2": ["batch", 4, 8, 8]}
    used = kinds(path)
    assert {"QuantizeLinear", "ConvInteger", "MatMulInteger", "MaxPool", "DequantizeLinear"} <= used


PORTS = {
    "s8": Port("x", S8, (40,), step=(9, 12), zero_point=-7),
    "u8": Port("x", Fixed(8, 5, False), (40,)),
    "s4": Port("x", Fixed(4), (40,), step=(5, 3), zero_point=2),
    "s16": Port("x", Fixed(16), (40,), step=(12345, 28), zero_point=99),
    "u32": Port("x", Fixed(32, signed=False), (40,), step=(3, 40)),
    "of 31 bits": Port("x", Fixed(8), (40,), step=((1 << 31) - 1, 35)),
    "tiny": Port("x", Fixed(8), (40,), step=(1, 140)),
    "integers": Port("x", Fixed(12), (40,)),
}


@pytest.mark.parametrize("case", PORTS)
def test_real_numbers(case, tmp_path):
    import dataclasses

    port = PORTS[case]
    out = dataclasses.replace(port, name="z")
    program = Program(inputs=(port,), nodes=(Clamp("z", "x", port.format.min, port.format.max),), outputs=(out,))
    path = export_onnx(program, tmp_path / "p.onnx")
    if port.real:
        x = awkward(port, 3, 40)
        assert torch.equal(run(path, x)[0], real(program(quantized(x, port)), out))
    else:
        agree(program, tmp_path, draw(port, 3, 40))
        x = draw(port, 3, 40)
        assert torch.equal(run(path, x)[0], program(x))


def attention(multiplier):
    """Two heads of attention with a softmax of tables, and a second input that masks places."""
    tokens, mask = Port("x", S8, (5, 8), step=(7, 9)), Port("mask", Fixed(1, signed=False), (1, 5))
    project = dict(multiplier=EXACT["s8"], zeros=(0,))
    exponential = Direct(input=Fixed(8, 4), output=Fixed(16, 15, False),
                         values=tuple(round(min(1, math.exp(k / 16)) * 32768) for k in range(-128, 128)))  # fmt: skip
    softmax = Program(
        name="softmax_like",
        inputs=(Port("s", Fixed(16, 4)),),
        nodes=(
            Maximum("most", "s"),
            Subtract("below", "s", "most"),
            Clamp("near", "below", -128, 0),
            Apply("e", "near", exponential),
            Sum("sum", "e", 16),
            LeadingOne("octave", "sum"),
            Constant("seven", 7),
            Subtract("raw", "octave", "seven"),
            Clamp("by", "raw", 0, 15),
            ShiftRight("p", "e", "by", "half_even"),
            Clamp("y", "p", 0, 255),
        ),
        outputs=(Port("y", Fixed(8, 8, False)),),
    )
    nodes = [
        *(Linear(n, "x", weights=weights((8, 8), S8, k), **project) for k, n in enumerate(("q0", "k0", "v0"))),
        *(Rescale(f"{n}1", f"{n}0", requantize([0.004 + 0.001 * k for k in range(8)]), -1) for n in "qkv"),
        *(Reshape(f"{n}2", f"{n}1", (-1, 5, 2, 4)) for n in "qkv"),
        Permute("q", "q2", (0, 2, 1, 3)),
        Permute("k", "k2", (0, 2, 3, 1)),
        Permute("v", "v2", (0, 2, 1, 3)),
        MatrixProduct("scores", "q", "k", multiplier=multiplier, a_zero=0, b_zero=3, most=4),
        Rescale("scaled", "scores", requantize(0.01, Fixed(15), 0, "half_up"), -1),
        Constant("masked", -(1 << 14)),
        Reshape("mask4", "mask", (-1, 1, 1, 5)),
        Select("seen", "mask4", "scaled", "masked"),
        Apply("weights", "seen", softmax),
        MatrixProduct("mixed", "weights", "v", multiplier=MIXED, a_zero=0, b_zero=0, most=5),
        Permute("together", "mixed", (0, 2, 1, 3)),
        Reshape("wide", "together", (-1, 5, 8)),
        Rescale("codes", "wide", requantize(0.004), -1),
        Linear("out", "codes", weights=weights((8, 8), S8, 9), **project),
    ]
    spans = held(nodes, (tokens, mask), ["out", "weights"])
    return spans


@pytest.mark.parametrize("family", ["exact", "mitchell"])
def test_attention_of_two_inputs(family, tmp_path):
    program = attention(Multiplier(family=family, signed=True))
    for batch in (1, 3):
        x, mask = draw(program.inputs[0], batch, 5, 8), draw(program.inputs[1], batch, 1, 5)
        agree(program, tmp_path, x, mask)
    path = export_onnx(program, tmp_path / "real.onnx")
    x = awkward(program.inputs[0], 2, 5, 8)
    found = run(path, x, mask[:2])
    for each, want in zip(found, program(quantized(x, program.inputs[0]), mask[:2])):
        assert each.dtype == want.dtype and torch.equal(each, want)


def test_the_reference_of_onnx_agrees(tmp_path):
    import onnx
    from onnx.reference import ReferenceEvaluator

    for program in (network(), attention(Multiplier(family="roba", signed=True))):
        inputs = [draw(port, 2, *port.shape) for port in program.inputs]
        path = export_onnx(program, tmp_path / "program.onnx", real=False)
        feeds = {port.name: codes.numpy() for port, codes in zip(program.inputs, inputs)}
        found = ReferenceEvaluator(onnx.load_from_string(path.read_bytes())).run(None, feeds)
        for each, want in zip(found, program(*inputs)):
            assert torch.equal(torch.from_numpy(each), want)


def test_operators_of_rows(tmp_path):
    scores, hidden = Fixed(12, 6), Fixed(16, 8)
    weight = np.linspace(-1.5, 2.0, 24)
    for program in (
        softmax(input=scores, output=Fixed(8, 8, False), most=24),
        layer_norm(input=hidden, output=hidden, size=24, eps=1e-5, weight=weight, bias=weight[::-1].copy()),
        rms_norm(input=hidden, output=hidden, size=24, eps=1e-6, weight=weight),
    ):
        (port,) = program.inputs
        codes = draw(port, 40, 24)
        codes[3:20] >>= 4
        codes[20], codes[21] = port.format.min, 7
        agree(program, tmp_path, codes)


def test_a_gated_unit_of_two_inputs(tmp_path):
    program = gated(load(share("pretrained", "gelu_8.json")), gate=Fixed(8, 5), value=Fixed(12, 8), output=Fixed(8, 4))
    gate, value = (draw(port, 500, seed=seed) for seed, port in enumerate(program.inputs))
    agree(program, tmp_path, gate, value)
    path = export_onnx(program, tmp_path / "real.onnx")
    x, y = (awkward(port, 200) for port in program.inputs)
    codes = program(*(quantized(each, port) for each, port in zip((x, y), program.inputs)))
    assert torch.equal(run(path, x, y)[0], real(codes, program.outputs[0]))


def refused(error, message, program, path, **given):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        export_onnx(program, path / "no.onnx", **given)


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    port = Port("x", S8, (4, 4))
    clamp = of(Clamp("z", "x", 0, 9), port)
    refused(TypeError, "export_onnx program must be a Program, not Requantize", requantize(1.0), tmp_path)
    refused(TypeError, "export_onnx real must be true or false, not 1", clamp, tmp_path, real=1)
    anywhere = of(Permute("z", "x", (1, 0)), Port("x", S8))
    message = "export_onnx input 'x' must have a shape, as that of a program of tensors"
    refused(ValueError, message, anywhere, tmp_path)
    fixed = of(Reshape("z", "x", (2, 16)), port)
    message = "export_onnx node 'z' must leave the batch free by a size of -1, not (2, 16)"
    refused(ValueError, message, fixed, tmp_path)
    row = held([Entries("w", np.arange(4)), MatrixProduct("z", "x", "w", multiplier=EXACT["s8"], a_zero=0, b_zero=0,
                                                          most=4)], [port])  # fmt: skip
    refused(ValueError, "export_onnx node 'z' must multiply matrices, not vectors", row, tmp_path)
    row = held([Constant("c", 3), Maximum("most", "c"), Add("z", "x", "most")], [Port("x", S8)])
    refused(ValueError, "export_onnx node 'most' must take rows, not a constant", row, tmp_path)
    unit = Multiplier(family="mitchell", bits=9)
    wide = of(Linear("z", "x", multiplier=unit, weights=np.ones((2, 4), int)), Port("x", unit.a, (4,)))
    message = (
        "export_onnx node 'z' must have a multiplier with factors: Multiplier factors of family mitchell must be of at"
        " most 2^16 pairs, not 9 x 9 bits"
    )
    refused(ValueError, message, wide, tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    refused(ToolError, "onnx: not found; install it with: pip install 'hwlut[onnx]'", clamp, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_nodes_and_units_are_refused_by_name():
    graph = Graph()
    with graph.within("outer"), graph.within("z"):
        message = "export_onnx node 'outer.z' must be of a kind that standard operators compute, not Node"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            emit(Node("z"), graph)
        message = "export_onnx node 'outer.z' must give its Direct at most 65536 codes, not 65537"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            applied(
                Direct(input=Fixed(1, 0), output=Fixed(8, 0), values=(0, 1)),
                graph,
                Value("x", (0, 1 << 16), ("batch",)),
            )
