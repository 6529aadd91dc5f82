"""Whole rows in Verilated hardware: equal to their programs, with torch's gradients, unless the hardware is wrong."""

import copy
import dataclasses
import functools
import math
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

import hwlut
from hwlut import Direct, Fixed
from hwlut.graph import trace
from hwlut.hdl import generate
from hwlut.lowering import Simulation, export
from hwlut.nn import InRtl, PwlLayerNorm, RtlActivation, RtlLayer, RtlRows, convert
from hwlut.program import gated, layer_norm, range_reduced, rms_norm, softmax
from hwlut.program.normalization import with_affine
from hwlut.program.ports import decoded, encoded
from hwlut.share import share
from hwlut.units import Port, Program
from hwlut.units.movement import Permute
from hwlut.units.operations import Add, Multiply
from hwlut.units.reductions import Sum

SHARES = softmax(input=Fixed(8, 4), output=Fixed(8, 7, signed=False), most=17)
WIDE = softmax(input=Fixed(12, 7), output=Fixed(16, 15, signed=False), most=3)
WEIGHT, BIAS = np.array([1.0, -0.5, 2.0, 0.25, 1.5]), np.array([0.0, 0.5, -0.75, 0.125, 0.25])
LAYER = layer_norm(input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=1e-3, weight=WEIGHT, bias=BIAS)
PLAIN = layer_norm(input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=1e-3)
RMS = rms_norm(input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=1e-3, weight=WEIGHT)
GATED = gated(
    Direct.sample(hwlut.functions.function("silu"), input=Fixed(8, 4), output=Fixed(10, 6)),
    gate=Fixed(8, 4), value=Fixed(6, 3), output=Fixed(12, 6),
)  # fmt: skip


def swiglu(gate, value):
    return nn.functional.silu(gate) * value


def codes_of(x, format):
    """Codes by numpy."""
    return torch.from_numpy(
        np.clip(np.rint(np.ldexp(x.detach().double().numpy(), format.frac)), format.min, format.max)
    ).long()


def by_program(program, *inputs):
    """The program's results as reals, exact in float64."""
    codes = (codes_of(x, port.format) for x, port in zip(inputs, program.inputs))
    return program(*codes).double() * 2.0**-program.output.frac


def rows(*shape, spread=4.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape))) * spread


@pytest.mark.parametrize(
    ("program", "lengths"), [(SHARES, (1, 2, 7, 17)), (WIDE, (1, 2, 3)), (LAYER, (5,)), (RMS, (5,))]
)
def test_rows_are_those_of_the_program(program, lengths):
    layer = RtlLayer(program)
    assert isinstance(layer, (RtlLayer, RtlRows)) and layer.exact
    assert layer.lengths == (min(lengths), max(lengths))
    for length in lengths:
        for shape in ((length,), (23, length), (2, 3, 1, length), (0, length)):
            x = rows(*shape)
            for kind in (torch.float32, torch.float64):
                result = layer(x.to(kind))
                assert result.dtype == kind and torch.equal(result.double(), by_program(program, x))
    x = rows(4, length).bfloat16()
    assert torch.equal(layer(x), by_program(program, x).bfloat16())
    with torch.autocast("cpu"):
        assert layer(x).dtype == torch.float32 and torch.equal(layer(x).double(), by_program(program, x))
    assert torch.equal(layer.train()(x), layer.eval()(x))


def test_ties_ends_and_what_is_beyond():
    x = torch.tensor(
        [[0.03125, 0.09375, -0.03125, 7.9375, 8.0, 1e9, -8.0], [-9.0, -torch.inf, 0.0, 1.0, -1.0, 2.0, torch.inf]]
    )
    assert torch.equal(RtlLayer(SHARES)(x).double(), by_program(SHARES, x))
    assert RtlLayer(SHARES)(torch.full((1, 3), -torch.inf)).tolist() == [[0, 0, 0]]


OPERATORS = {
    "softmax": (SHARES, lambda x: torch.softmax(x, -1)),
    "layer_norm": (
        LAYER,
        lambda x: nn.functional.layer_norm(x, (5,), torch.tensor(WEIGHT).float(), torch.tensor(BIAS).float(), 1e-3),
    ),
    "plain": (PLAIN, lambda x: nn.functional.layer_norm(x, (5,), eps=1e-3)),
    "rms_norm": (RMS, lambda x: nn.functional.rms_norm(x, (5,), torch.tensor(WEIGHT).float(), 1e-3)),
}


@pytest.mark.parametrize("label", OPERATORS)
def test_gradients_are_those_of_torch_at_the_quantized_numbers(label):
    program, operator = OPERATORS[label]
    x = rows(40, 5, spread=2.5).clamp(-7.9, 7.9)
    x[0, 1], x[7, 3] = 9, 30  # saturate
    x.requires_grad_()
    at = (codes_of(x, Fixed(8, 4)) / 16).requires_grad_()
    weights = rows(40, 5)
    layer = RtlLayer(program)
    layer(x).backward(weights)
    operator(at).backward(weights)
    assert torch.equal(layer.real(at), operator(at))
    held = x.detach() < 7.96875
    assert (~held).sum() == 2 and (at.grad != 0).all()
    assert torch.equal(x.grad, at.grad * held)


def test_what_is_masked_gets_no_gradient():
    x = torch.tensor([[1.0, -torch.inf, 2.0], [-torch.inf, -torch.inf, -torch.inf]], requires_grad=True)
    RtlLayer(SHARES)(x).backward(rows(2, 3))
    short = torch.tensor([1.0, 2.0], requires_grad=True)
    torch.softmax(short, -1).backward(rows(2, 3)[0, [0, 2]])
    assert torch.equal(x.grad[0, [0, 2]], short.grad)
    assert x.grad[0, 1] == 0 and not x.grad[1].any()


def test_several_codes():
    layer, gate, value = RtlLayer(GATED, real=swiglu), rows(3, 50).requires_grad_(), rows(3, 50).requires_grad_()
    assert type(layer) is RtlRows and layer.lengths is None
    result = layer(gate, value)
    assert torch.equal(result.double(), by_program(GATED, gate, value)) and result.unique().numel() > 50
    result.sum().backward()
    at = [
        (codes_of(x, port.format) / 2**port.format.frac).requires_grad_()
        for x, port in zip((gate, value), GATED.inputs)
    ]
    swiglu(*at).sum().backward()
    held = [(x.detach() * 2**port.format.frac).abs() < port.format.max for x, port in zip((gate, value), GATED.inputs)]
    for x, exact, inside in zip((gate, value), at, held):
        assert torch.equal(x.grad[inside], exact.grad[inside]) and inside.sum() > 60 and not inside.all()
    assert layer(torch.tensor(1.0), torch.tensor(2.0)).shape == () and layer(rows(0), rows(0)).shape == (0,)
    assert type(RtlLayer(range_reduced("reciprocal", input=Fixed(8, 3), output=Fixed(12, 8)))) is RtlActivation


def centred(a, b):
    return (a + b) * (a + b).sum(-1, keepdim=True)


def test_another_program_of_rows_of_two_inputs():
    program = Program(
        name="weighted",
        inputs=(Port("a", Fixed(5, 3), shape=(4,)), Port("b", Fixed(6, 3, signed=False))),
        nodes=(Add("v", "a", "b"), Sum("total", "v", 4), Multiply("y", "v", "total")),
        outputs=(Port("y", Fixed(20, 6)),),
    )  # fmt: skip
    with pytest.raises(
        ValueError, match="RtlLayer real must be the function of real numbers that 'weighted' stands for"
    ):
        RtlLayer(program)
    layer, a, b = RtlLayer(program, real=centred), rows(6, 4, spread=0.5).requires_grad_(), rows(6, 4).abs()
    assert torch.equal(layer(a, b).double(), by_program(program, a, b))
    layer(a, b).sum().backward()
    assert (a.grad != 0).all()
    with pytest.raises(ValueError, match=r"RtlLayer real must give the shape \(6, 4\), not \(6, 1\)"):
        RtlLayer(program, real=lambda a, b: a[:, :1])(a, b)


def test_threads_share_the_rows():
    layer, x, before = RtlLayer(SHARES), rows(1003, 7), torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert torch.equal(layer(x).double(), by_program(SHARES, x))
    finally:
        torch.set_num_threads(before)


def test_changed_hardware_gives_others(tmp_path):
    rtl = generate(SHARES)
    path, _ = rtl.save(tmp_path)
    assert torch.equal(RtlLayer(SHARES, path)(rows(5, 7)), RtlLayer(SHARES)(rows(5, 7)))
    changed = re.sub(r"first \| ", "", rtl.verilog)  # the maximum of a row goes on from that of the row before
    assert changed != rtl.verilog
    wrong, x = RtlLayer(SHARES, dataclasses.replace(rtl, verilog=changed)), torch.tensor([[7.0, 6.0], [-7.0, -7.5]])
    right = by_program(SHARES, x)
    assert torch.equal(wrong(x)[0].double(), right[0]) and not torch.equal(wrong(x)[1].double(), right[1])


def test_a_design_that_hangs_or_ends_rows_elsewhere():
    rtl = generate(SHARES)
    for before, after, message in (
        (r"waiting__valid = .*;", "waiting__valid = 1'h0;", "m_axis stopped after 0 of 14 beats"),
        (r"assign m_axis_tlast = .*;", "assign m_axis_tlast = 1'h0;", "m_axis_tlast is not where rows end"),
    ):
        broken = re.sub(before, after, rtl.verilog)
        assert broken != rtl.verilog
        layer = RtlLayer(SHARES, dataclasses.replace(rtl, verilog=broken))
        for _ in range(2):
            with pytest.raises(RuntimeError, match=f"design softmax failed: {message}"):
                layer(rows(2, 7))


def test_inputs_are_checked():
    layer, normalized, pair = RtlLayer(SHARES), RtlLayer(PLAIN), RtlLayer(GATED, real=swiglu)
    nan = rows(2, 5).index_fill(1, torch.tensor([3]), torch.nan)
    cases = [
        (ValueError, lambda: layer(nan), "RtlLayer input must hold no NaN for 'softmax'"),
        (
            ValueError,
            lambda: layer(rows(2, 0)),
            r"must have rows of 1 to 17 places for 'softmax', not the shape \(2, 0\)",
        ),
        (
            ValueError,
            lambda: layer(rows(2, 18)),
            r"must have rows of 1 to 17 places for 'softmax', not the shape \(2, 18\)",
        ),
        (ValueError, lambda: layer(torch.tensor(1.0)), r"rows of 1 to 17 places for 'softmax', not the shape \(\)"),
        (
            ValueError,
            lambda: normalized(rows(5, 4)),
            r"must have rows of 5 places for 'layer_norm', not the shape \(5, 4\)",
        ),
        (
            ValueError,
            lambda: pair(rows(3), rows(1)),
            r"RtlLayer input must be tensors of one shape, not \(3,\), \(1,\)",
        ),
        (TypeError, lambda: pair(rows(3)), "RtlLayer input must be 2 tensors for 'gated', not 1"),
        (
            TypeError,
            lambda: layer(torch.ones(3, dtype=torch.int64)),
            "RtlLayer input must be floating point, not torch.int64",
        ),
        (TypeError, lambda: layer([1.0]), "RtlLayer input must be a tensor, not list"),
    ]
    for kind, call, message in cases:
        with pytest.raises(kind, match=message):
            call()


def test_other_programs_and_designs_are_refused():
    whole = Program.of(name="whole", input=Fixed(4, 0), nodes=(Permute("y", "q", (1, 0)),), output=Fixed(4, 0))
    port, summed = Port("q", Fixed(4)), (Sum("y", "q", 3),)
    raw = Program(name="raw", inputs=(port,), nodes=summed, outputs=(Port("y", Fixed(6)),))
    both = Program(
        name="both", inputs=(Port("q", Fixed(4, 0)),), nodes=(Sum("s", "q", 3), Add("y", "s", "q")),
        outputs=(Port("y", Fixed(7, 0)), Port("s", Fixed(7, 0))),
    )  # fmt: skip
    wide = Program.of(name="wide", input=Fixed(25, 0), nodes=summed, output=Fixed(28, 0))
    real = functools.partial(torch.cumsum, dim=-1)
    other = generate(softmax(input=Fixed(8, 4), output=Fixed(8, 7, signed=False), most=16))
    swapped = generate(SHARES)
    swapped = dataclasses.replace(swapped, description=swapped.description | {"digest": WIDE.digest})
    cases = [
        (whole, None, "RtlLayer unit must be a program of codes or of rows, and 'whole' is one of tensors"),
        (raw, None, "RtlLayer unit must have a frac for 'q' of 'raw', not s4"),
        (both, None, "RtlLayer unit must have one output, and 'both' has y, s"),
        (
            wide,
            None,
            "RtlLayer unit must have inputs of 2 to 24 bits whose code 0 is zero, not 'q' of 'wide': s25.0, ze",
        ),
        (SHARES, other, f"the design: digest must be {SHARES.digest}, that of softmax, not "),
        (WIDE, swapped, "s_axis field q must be s12, not s8"),
    ]
    for program, rtl, message in cases:
        with pytest.raises(ValueError, match=message):
            RtlLayer(program, rtl, real=real)


def test_state_copies_and_pickles():
    layer, x = RtlLayer(LAYER), rows(4, 5)
    back = RtlLayer(LAYER)
    back.load_state_dict(layer.state_dict())
    for other in (back, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        given = x.clone().requires_grad_()
        other(given).sum().backward()
        assert torch.equal(other(x), layer(x)) and type(other) is RtlRows and given.grad.any()
    assert layer.extra_repr() == "layer_norm, s8.4, design layer_norm"
    with pytest.raises(RuntimeError, match="scale must be"):
        RtlLayer(WIDE).load_state_dict(layer.state_dict())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch's own tracing
def test_compiled():
    net, x = nn.Sequential(nn.Linear(4, 5), RtlLayer(SHARES)), rows(6, 4)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager_decomp_partition")
    assert torch.equal(compiled(x), net(x))
    compiled(x).square().sum().backward()
    given, net[0].weight.grad = net[0].weight.grad, None
    net(x).square().sum().backward()
    assert given.any()
    torch.testing.assert_close(given, net[0].weight.grad)  # softmax is decomposed


@pytest.mark.cuda
def test_on_a_gpu(need):
    need("verilator", "g++")
    layer, x = RtlLayer(LAYER).cuda(), rows(9, 5).cuda().requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.is_cuda and x.grad.is_cuda and x.grad.any()
    assert torch.equal(y.cpu().double(), by_program(LAYER, x.cpu()))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.rms, self.plain = nn.LayerNorm(5, 1e-3), nn.RMSNorm(5, 1e-3), nn.LayerNorm(5, 1e-3, False)
        self.softmax = nn.Softmax(-1)
        with torch.no_grad():
            self.norm.weight.copy_(torch.from_numpy(WEIGHT)), self.norm.bias.copy_(torch.from_numpy(BIAS))
            self.rms.weight.copy_(torch.from_numpy(WEIGHT))

    def forward(self, x):
        return self.softmax(self.rms(self.plain(self.norm(x))))


def test_convert():
    model, x = Net(), rows(7, 5).requires_grad_()
    mapping = {
        nn.Softmax: InRtl(SHARES),
        nn.RMSNorm: InRtl(rms_norm(input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=1e-3)),
    }
    report = convert(model, mapping | {nn.LayerNorm: InRtl(PLAIN)})
    assert [entry.name for entry in report.replaced] == ["norm", "rms", "plain", "softmax"]
    assert str(report).splitlines()[3] == "softmax: Softmax(dim=-1) -> RtlRows(softmax, s8.4, design softmax)"
    for layer, program in ((model.norm, LAYER), (model.rms, RMS), (model.plain, PLAIN), (model.softmax, SHARES)):
        assert type(layer) is RtlRows and layer.unit.digest == program.digest and not list(layer.parameters())
    step = by_program(PLAIN, by_program(LAYER, x))
    assert torch.equal(model(x).double(), by_program(SHARES, by_program(RMS, step)))
    model(x).square().sum().backward()
    assert x.grad.any()


def test_convert_refuses_what_is_something_else():
    rms = rms_norm(input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=1e-3)
    rsqrt = hwlut.load(share("pretrained", "rsqrt_8.json"))
    tail = "of softmax for a Softmax of dim -1, not "
    cases = [
        (nn.Softmax(1), SHARES, f"InRtl unit 'softmax' must be a program {tail}for dim 1"),
        (nn.Softmax(-1), PLAIN, f"InRtl unit 'layer_norm' must be a program {tail}that of layer_norm"),
        (
            nn.LayerNorm(5, 1e-3),
            rms,
            "InRtl unit 'rms_norm' must have the method layer_norm of the module, not rms_norm",
        ),
        (
            nn.RMSNorm(5),
            rms,
            r"InRtl unit 'rms_norm' must have the eps 1.1920928955078125e-07 of the module, not 0.001",
        ),
        (nn.LayerNorm(6, 1e-3), PLAIN, "InRtl unit 'layer_norm' must have the size 6 of the module, not 5"),
        (
            nn.LayerNorm((5, 1), 1e-3),
            PLAIN,
            "InRtl unit 'layer_norm' must be for rows along the last axis, not along 2 axes",
        ),
        (
            PwlLayerNorm(nn.LayerNorm(5), rsqrt),
            PLAIN,
            "InRtl unit 'layer_norm' must replace a LayerNorm, an RMSNorm or what",
        ),
    ]
    for module, program, message in cases:
        with pytest.raises(ValueError, match=f"convert module '0': {message}"):
            convert(nn.Sequential(module), {"0": InRtl(program)})
    with pytest.raises(
        ValueError, match="program must be one that layer_norm or rms_norm made, which 'softmax' is not"
    ):
        with_affine(SHARES, WEIGHT)
    given = softmax(input=Fixed(8, 4), output=Fixed(8, 7, signed=False), most=5)
    model = nn.Sequential(nn.Identity())
    convert(model, {nn.Identity: InRtl(given)})  # what has no parameters may be a softmax of one's own
    assert model[0].unit is given


def test_other_weights_keep_everything_else():
    first = layer_norm(
        input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=0.1, segments=4, slope_bits=6, intercept_bits=12
    )
    made = layer_norm(
        input=Fixed(8, 4), output=Fixed(12, 8), size=5, eps=0.1, segments=4, slope_bits=6, intercept_bits=12,
        weight=WEIGHT, bias=BIAS,
    )  # fmt: skip
    assert with_affine(first, WEIGHT, BIAS).digest == made.digest != first.digest
    assert with_affine(made, None).digest == first.digest


@pytest.mark.parametrize("output", [Fixed(8, 7, signed=False), Fixed(8, 5)])
def test_an_exported_network_is_the_network_in_rtl(output):
    program = softmax(input=Fixed(8, 4), output=output, most=5)
    normalized = layer_norm(input=Fixed(10, 6), output=Fixed(8, 4), size=5, eps=1e-3, weight=WEIGHT, bias=BIAS)
    net = nn.Sequential(RtlLayer(normalized), RtlLayer(program))
    x = rows(6, 3, 5, spread=2.5).clamp(-7.5, 7.5).requires_grad_()
    exported = export(net, x.detach())
    assert exported.inputs[0].scale == 2.0**-6 and exported.inputs[0].format == Fixed(10)
    codes = encoded(exported.inputs[0], x.detach())
    assert torch.equal(decoded(exported.outputs[0], exported(codes)), net(x))
    simulation = Simulation(net, x.detach())
    assert torch.equal(simulation(x), net(x))
    weights = rows(6, 3, 5)
    found = [torch.autograd.grad(run(x), x, weights)[0] for run in (net, simulation)]
    assert found[0].any() and torch.equal(*found)


def test_traced():
    net = nn.Sequential(nn.Linear(4, 5), RtlLayer(SHARES))
    assert [(each.path, each.kind, each.macs) for each in trace(net, rows(2, 4))][-1] == ("1", "rtl_rows", 0)


def test_what_cannot_be_exported():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gated = RtlLayer(GATED, real=swiglu)

        def forward(self, gate, value):
            return self.gated(gate, value)

    with pytest.raises(ValueError, match="gated: rtl_rows must have one input to be exported, not gate, value"):
        export(Gated(), (rows(3, 4), rows(3, 4)))
    with pytest.raises(ValueError, match=r"0: rtl_rows must have rows of 1 to 17 places in a sample, not \(18,\)"):
        export(nn.Sequential(RtlLayer(SHARES)), rows(3, 18))
