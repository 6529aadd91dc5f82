"""Layers on units: bit-exact with their units, gradients against torch's own, conversion of models."""

import copy
import shutil
import subprocess

import numpy as np
import pytest
import torch
from tables import random_pwl
from torch import nn

import hwlut
from hwlut import Fixed
from hwlut.nn import Conversion, PwlActivation, PwlLayerNorm, PwlSoftmax, convert
from hwlut.quant import Quantizer, calibrate
from hwlut.share import share

F = nn.functional
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def shipped(name):
    return hwlut.load(share("pretrained", f"{name}.json"))


def reals(scale, bits=8):
    """Numbers in and around the codes, with every tie."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(2000, generator=generator) * 2.0 ** (bits - 1)
    ties = torch.arange(-(1 << (bits - 1)) - 4, (1 << (bits - 1)) + 4) + 0.5
    return torch.cat([spread, ties, ties - 0.5]) * 2.0**-scale


def by_unit(unit, x, scale):
    """The unit's results as reals, from codes that numpy computes."""
    codes = np.clip(np.rint(np.ldexp(x.double().numpy(), scale)), unit.input.min, unit.input.max)
    results = unit(torch.from_numpy(codes).long(), scale=scale)
    return torch.ldexp(results.double(), torch.tensor(-unit.output_format(scale).frac)).float()


CASES = {
    "gelu_8": lambda: shipped("gelu_8"),
    "sigmoid_16": lambda: shipped("sigmoid_16"),
    "int8 out": lambda: shipped("silu_8").replace(output=Fixed(8)),
    "uint8 out": lambda: shipped("sigmoid_8").replace(output=Fixed(8, 7, signed=False)),
    "unsigned": lambda: random_pwl(1, input_bits=7),
    "odd": lambda: random_pwl(2, input_bits=8, symmetry="odd", scales=(0, 3, 5)),
    "16 bits": lambda: shipped("tanh_8").replace(input=Fixed(16)),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("label", CASES)
def test_forward_is_the_unit(label, device):
    unit = CASES[label]()
    chooser = PwlActivation(unit, gradient="slope").to(device)
    for scale in unit.scales:
        x = reals(scale, unit.input.bits)
        given = PwlActivation(unit, Quantizer(unit.input_format(scale)), gradient="slope").to(device)
        chooser.quantizer.load_state_dict({"scale": torch.tensor(scale, dtype=torch.int32)})
        want = by_unit(unit, x, scale)
        assert want.unique().numel() > 3
        for module in (given, chooser):
            assert module.exact
            assert torch.equal(module(x.to(device)).cpu(), want)
            assert torch.equal(module.train()(x.to(device)).cpu(), want)


def test_learned_and_calibrated_scales_give_the_unit():
    unit = shipped("gelu_8")
    x = reals(4)
    for source in ("static", "learned"):
        module = PwlActivation(unit, Quantizer(Fixed(8), unit.scales, source=source))
        calibrate(module, [x])
        scale = int(module.quantizer.current_scale())
        assert scale in (2, 3, 4)
        assert torch.equal(module(x), by_unit(unit, x, scale))
        for dtype in (torch.bfloat16, torch.float16):
            assert torch.equal(module(x.to(dtype)), by_unit(unit, x.to(dtype), scale).to(dtype))


def test_wide_results_are_rounded_and_said_to_be():
    unit = shipped("gelu_8").replace(input=Fixed(16), scales=(5,))
    unit = unit.replace(intercept=Fixed(40, 32), intercepts=[(i << 16) + 1 for i in unit.intercepts])
    module = PwlActivation(unit)
    assert not module.exact
    assert torch.equal(module(reals(5, 16)), by_unit(unit, reals(5, 16), 5))


TORCH = {"gelu_8": F.gelu, "silu_8": F.silu, "tanh_8": torch.tanh, "softplus_8": F.softplus, "hswish_8": F.hardswish}


@pytest.mark.parametrize("name", TORCH)
def test_exact_gradient_is_that_of_the_function_at_the_code(name):
    x = (torch.randn(1000) * 3).requires_grad_()
    PwlActivation(shipped(name), Quantizer(Fixed(8, 4)))(x).sum().backward()
    held = (torch.round(x.detach() * 16) / 16).double().requires_grad_()
    TORCH[name](held).sum().backward()
    inside = (held.detach() >= -8) & (held.detach() <= 127 / 16)
    if name == "hswish_8":  # where the derivative jumps, the mean of both sides
        inside &= held.detach().abs() != 3
    assert inside.sum() > 900 and (~inside).sum() > 0
    torch.testing.assert_close(x.grad[inside].double(), held.grad[inside], rtol=1e-6, atol=1e-7)
    assert x.grad[(held < -8) | (held > 127 / 16)].count_nonzero() == 0


def test_exact_gradient_ends_with_the_domain():
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    PwlActivation(shipped("exp_8"), Quantizer(Fixed(8, 4)))(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([np.exp(-1), 1, 0], abs=1e-5)


@pytest.mark.parametrize("symmetry", ["none", "identity", "odd", "even", "complement"])
def test_slope_gradient_is_that_of_the_line(symmetry):
    scale, unit = 3, random_pwl(5, input_bits=8, symmetry=symmetry)
    codes = torch.arange(unit.input.min, unit.input.max + 1)
    x = (codes / 2**scale).requires_grad_()
    PwlActivation(unit, Quantizer(unit.input_format(scale)), gradient="slope")(x).sum().backward()
    # One line goes through two codes of one segment: its slope is the difference of their results.
    edges = torch.tensor(unit.breakpoint_codes(scale))
    magnitude = codes if symmetry == "none" else codes.abs()
    segments = torch.searchsorted(edges, magnitude, right=True)
    results = unit(codes, scale=scale).double() * 2.0 ** -unit.output_format(scale).frac
    alike = (segments[1:] == segments[:-1]) & ((codes[1:] < 0) == (codes[:-1] < 0))
    slopes = (results[1:] - results[:-1]) * 2**scale
    assert alike.sum() > 200
    torch.testing.assert_close(x.grad[1:][alike].double(), slopes[alike], rtol=0, atol=1e-6)


def test_learned_scale_gets_a_gradient():
    unit = shipped("gelu_8")
    module = PwlActivation(unit, Quantizer(Fixed(8), unit.scales, source="learned"))
    x = torch.randn(100) * 3
    module.quantizer.observe(x)
    module(x).sum().backward()
    held = module.quantizer(x.clone()).double()
    # dy/ds = gelu'(x_q) dx_q/ds, summed.
    leaf = held.detach().requires_grad_()
    F.gelu(leaf).sum().backward()
    other = copy.deepcopy(module.quantizer)
    other.exponent.grad = None
    (other(x) * leaf.grad.float()).sum().backward()
    torch.testing.assert_close(module.quantizer.exponent.grad, other.exponent.grad, rtol=1e-4, atol=1e-5)


def calibrated(unit=None, **arguments):
    module = PwlActivation(unit or shipped("gelu_8"), **arguments)
    module.quantizer.observe(torch.randn(100))
    return module


def test_state_round_trip():
    module = calibrated()
    assert set(module.state_dict()) == {"table", "exponents", "quantizer.scale"}
    again = PwlActivation(shipped("gelu_8"))
    again.load_state_dict(module.state_dict())
    x = torch.randn(1000)
    assert torch.equal(again(x), module(x))
    for other in (
        shipped("gelu_16"),
        shipped("gelu_8").at_scale(5),
        shipped("gelu_8").replace(intercept=Fixed(16, 15)),
    ):
        message = f"table must be that of '{other.name}', at its scales, not another one"
        with pytest.raises(RuntimeError, match=message):
            PwlActivation(other).load_state_dict(module.state_dict())
    assert torch.equal(copy.deepcopy(module)(x), module(x))


BAD_STATES = {
    "list": ({"table": [1, 2]}, "table must be an integer tensor of 2 dimensions, not [1, 2]"),
    "float": (
        {"table": torch.ones(7, 256)},
        "table must be an integer tensor of 2 dimensions, not one of torch.float32",
    ),
    "flat": (
        {"exponents": torch.arange(3)},
        "exponents must be an integer tensor of 2 dimensions, not one of shape (3,)",
    ),
    "other": (
        {"table": torch.zeros(7, 256, dtype=torch.int64)},
        "table must be that of 'gelu_8', at its scales, not another one",
    ),
    "scale": ({"quantizer.scale": torch.tensor(7)}, "quantizer.scale must be one of (0, 1, 2, 3, 4, 5, 6), not 7"),
}


@pytest.mark.parametrize("label", BAD_STATES)
def test_bad_states_are_refused(label):
    changed, message = BAD_STATES[label]
    module = calibrated()
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict({**module.state_dict(), **changed})
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [message]
    with pytest.raises(RuntimeError):
        module.load_state_dict(changed, strict=False)


def test_state_of_the_other_gradient():
    unit = shipped("gelu_8").replace(slope=Fixed(8, 3), scales=(5,))
    exact, slope = (PwlActivation(unit, gradient=gradient) for gradient in ("exact", "slope"))
    assert exact.exponents[0, 2] != slope.exponents[0, 2]
    slope.load_state_dict(exact.state_dict())
    x = torch.zeros(1, requires_grad=True)
    slope(x).backward()
    assert x.grad.item() == pytest.approx(unit.slopes[4] / 8)


def test_halving_a_model_leaves_the_tables():
    module = calibrated()
    x = torch.randn(1000).half()
    assert torch.equal(copy.deepcopy(module).half()(x), module(x.float()).half())


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_keeps_float32(device):
    module, x = calibrated().to(device), torch.randn(1000, device=device).bfloat16()
    with torch.autocast(device, torch.bfloat16):
        got = module(x)
    assert got.dtype == torch.float32 and torch.equal(got, module(x.float()))
    assert module(x).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["static", "learned"])
def test_compile_and_export(kind, device):
    unit = shipped("gelu_8")
    module = calibrated(quantizer=Quantizer(Fixed(8), unit.scales, source=kind)).to(device)
    net, x = nn.Sequential(nn.Linear(4, 4), module).to(device), torch.randn(10, 4, device=device)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager_decomp_partition")
    assert torch.equal(compiled(x), net(x))
    gradients = []
    for run in (net, compiled):
        net.zero_grad()
        run(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(*gradients)
    assert len(gradients[0]) == 2 + (kind == "learned")
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert any(node.target is torch.ops.hwlut.quantized_lookup.default for node in program.graph.nodes)
    assert torch.equal(program.module()(x[:3]), net(x[:3]))


@pytest.mark.cuda
def test_forward_does_not_wait_for_the_gpu():
    module, x = calibrated().cuda(), torch.randn(1000, device="cuda", requires_grad=True)
    module(x).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_cuda_source_compiles(tmp_path):
    source = share("kernels", "quantized_lookup.cu")
    flags = ["-O3", "-std=c++17", "-Xcompiler", "-fPIC", "-shared"]
    subprocess.run(["nvcc", *flags, "-o", tmp_path / "kernel.so", source], check=True)


def test_softmax_is_close_and_keeps_its_order():
    torch.manual_seed(0)
    module = PwlSoftmax(shipped("exp_16"), shipped("reciprocal_16"), dim=1)
    x = torch.randn(50, 20, 3) * 2
    calibrate(module, [x])
    got = module(x)
    assert (got - x.softmax(1)).abs().max() < 0.03
    assert (got.sum(1) - 1).abs().max() < 0.02
    assert (got >= 0).all()
    assert torch.equal(module(x.double()).float(), got)


def test_softmax_by_hand():
    """Two numbers, each step with the units' own results."""
    exp, reciprocal = shipped("exp_8"), shipped("reciprocal_8")
    module = PwlSoftmax(exp, reciprocal)
    module.exp.quantizer.load_state_dict({"scale": torch.tensor(4, dtype=torch.int32)})

    def result(unit, code, scale):
        return int(unit(torch.tensor([code]), scale=scale)) * 2.0 ** -unit.output_format(scale).frac

    powers = [result(exp, 0, 4), result(exp, -16, 4)]  # exp(0) and exp(-1)
    assert 1 <= sum(powers) < 2
    inverse = result(reciprocal, round(sum(powers) * 64), 6)
    assert module(torch.tensor([3.0, 2.0])).tolist() == pytest.approx([p * inverse for p in powers], rel=1e-6)
    tripled = powers[0] * 3  # 3 = 1.5 * 2^1
    inverse = result(reciprocal, round(tripled / 2 * 64), 6) / 2
    assert module(torch.zeros(3)).tolist() == pytest.approx([powers[0] * inverse] * 3, rel=1e-6)


def test_softmax_gives_masked_positions_nothing():
    torch.manual_seed(0)
    module = PwlSoftmax(shipped("exp_8"), shipped("reciprocal_8"))
    x = torch.randn(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -np.inf)
    calibrate(module, [x])
    x.requires_grad_()
    got = module(x)
    assert torch.equal(got == 0, x == -np.inf)
    for row in range(6):  # as if the masked positions were not there
        assert torch.allclose(got[row, : row + 1], module(x[row, : row + 1]), rtol=1e-6, atol=0)
    (got * torch.randn(6, 6)).sum().backward()
    assert x.grad.isfinite().all() and not x.grad[x == -np.inf].any()
    rows = torch.stack([torch.full((6,), -np.inf), x.detach()[5]])
    assert not module(rows)[0].any() and torch.equal(module(rows)[1], got[5])
    assert module(torch.tensor([1.0, np.nan])).isnan().all()


def test_layer_norm_is_close_at_every_magnitude():
    torch.manual_seed(0)
    norm = nn.LayerNorm((4, 16))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    module = PwlLayerNorm(norm, shipped("rsqrt_16"))
    assert module.weight is norm.weight and set(module.state_dict()) > {"weight", "bias"}
    x = torch.randn(60, 4, 16) * torch.logspace(-2, 4, 60)[:, None, None]
    assert (module(x) - norm(x)).abs().max() < 0.02 * norm(x).abs().max()
    # At variance 1 + eps = 1 * 4^0 the inverse root is the unit's at code 32 and scale 5.
    unit = shipped("rsqrt_16")
    factor = int(unit(torch.tensor([32]), scale=5)) * 2.0 ** -unit.output_format(5).frac
    plain = PwlLayerNorm(nn.LayerNorm(2, elementwise_affine=False), unit)
    for magnitude in (1, 2, 4, 8, 2**-5):
        x = torch.tensor([-1.0, 1.0]) * magnitude
        assert plain(x).tolist() == pytest.approx([-factor, factor], rel=1e-2 if magnitude < 1 else 1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
def test_softmax_and_layer_norm_train_like_torch():
    torch.manual_seed(0)
    x = torch.randn(40, 16, requires_grad=True)
    weights = torch.randn(40, 16)
    norm = nn.LayerNorm(16)
    softmax = PwlSoftmax(shipped("exp_16"), shipped("reciprocal_16"))
    calibrate(softmax, [x])
    for module, exact in ((softmax, nn.Softmax(-1)), (PwlLayerNorm(norm, shipped("rsqrt_16")), norm)):
        (gradient,) = torch.autograd.grad((module(x) * weights).sum(), x)
        (want,) = torch.autograd.grad((exact(x) * weights).sum(), x)
        assert F.cosine_similarity(gradient.flatten(), want.flatten(), dim=0) > 0.99
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager_decomp_partition")
        torch.testing.assert_close(compiled(x), module(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.GELU()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Linear(4, 4), self.act), nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Dropout(0.5))
        )

    def forward(self, x):
        return self.blocks(x)


def test_convert_by_type_and_name():
    net = Net()
    net.blocks[1].eval()
    report = convert(net, {"blocks.1.*1": "silu_16", nn.GELU: shipped("gelu_8")}, [torch.randn(100, 4)])
    assert isinstance(report, Conversion)
    assert [entry.name for entry in report.replaced] == ["act", "blocks.0.1", "blocks.1.1"]
    assert net.act is net.blocks[0][1] and net.act.unit == shipped("gelu_8") and net.act.training
    assert net.blocks[1][1].unit == shipped("silu_16") and not net.blocks[1][1].training
    scale = int(net.act.quantizer.scale)
    assert str(report).splitlines()[0] == (f"act: GELU(approximate='none') -> PwlActivation(gelu_8, s8, scale {scale})")
    assert net(torch.randn(3, 4)).isfinite().all()


def test_convert_without_data_waits_for_calibration(tmp_path):
    net, path = Net(), shipped("gelu_8").save(tmp_path / "own.json")
    report = convert(net, {nn.GELU: path})
    assert "scale one of 0 to 6" in str(report)
    with pytest.raises(RuntimeError, match="must be calibrated first"):
        net(torch.randn(3, 4))
    calibrate(net, [torch.randn(3, 4)])
    net(torch.randn(3, 4))


def test_convert_by_function_takes_over_parameters():
    net = Net()
    before = net.blocks[0][0]

    def wrapped(old):
        return nn.Sequential(Quantizer(Fixed(8)), old)

    report = convert(net, {nn.Linear: wrapped}, [torch.randn(10, 4)])
    assert len(report.replaced) == 2 and net.blocks[0][0][1] is before
    assert net.blocks[1][0][0].calibrated


def test_convert_calibrates_only_what_is_new():
    net = nn.Sequential(Quantizer(Fixed(8)), nn.GELU())
    calibrate(net, [torch.full((3,), 60.0)])
    scale = int(net[0].scale)
    convert(net, {nn.GELU: "gelu_8"}, [torch.randn(50)])
    assert int(net[0].scale) == scale and net[1].quantizer.calibrated


def test_convert_moves_new_modules_to_the_model():
    net = nn.Sequential(nn.Linear(3, 3), nn.GELU()).to("meta")
    convert(net, {nn.GELU: "gelu_8"})
    assert net[1].table.device.type == "meta"


def hooked():
    net = Net()
    net.act.register_forward_hook(lambda *arguments: None)
    return net


def test_convert_refuses_and_leaves_the_model():
    def one(model, mapping, data=None):
        before = dict(model.named_modules(remove_duplicate=False))
        with pytest.raises((TypeError, ValueError, OSError)) as caught:
            convert(model, mapping, data)
        assert dict(model.named_modules(remove_duplicate=False)) == before
        return str(caught.value)

    assert one(Net(), {}) == "convert mapping must name at least one type or pattern"
    for mapping, shown in (
        ({nn.Tanh: "tanh_8"}, "Tanh"),
        ({nn.GELU: "gelu_8", "act": "gelu_8"}, "'act'"),
        ({"blocks.7": "gelu_8"}, "'blocks.7'"),
    ):
        assert (
            one(Net(), mapping) == f"convert key {shown} must match a module that no earlier key does; it matches none"
        )
    assert one(Net(), {3: "gelu_8"}) == "convert key must be a type of module or a pattern of names, not 3"
    assert one(Net(), [nn.GELU]) == "convert mapping must be a mapping or a multiplier, not list"
    assert one(nn.GELU(), {nn.GELU: "gelu_8"}) == (
        "convert model must hold what is replaced, not be it: GELU(approximate='none')"
    )
    assert one(hooked(), {nn.GELU: "gelu_8"}) == (
        "convert module 'act' must have no hooks or parametrizations: they would be lost"
    )
    assert one(Net(), {nn.GELU: 3}) == "convert target must be a unit, a table's name or a function, not 3"
    assert one(Net(), {nn.GELU: lambda old: 3}) == "convert function must return a module for 'act', not 3"
    assert "gelu_9" in one(Net(), {nn.GELU: "gelu_9"})
    assert one(Net(), {nn.GELU: "gelu_8"}, []) == "calibration data must reach every quantizer, but not 'act.quantizer'"
    with pytest.raises(TypeError, match=r"^convert model must be a torch module, not int$"):
        convert(3, {nn.GELU: "gelu_8"})


def test_bad_arguments_are_refused():
    unit = shipped("gelu_8")
    cases = [
        (lambda: PwlActivation("gelu_8"), TypeError, "PwlActivation unit must be a Pwl, not str"),
        (
            lambda: PwlActivation(unit.replace(input=Fixed(17))),
            ValueError,
            "PwlActivation unit must have at most 16 input bits, not 17",
        ),
        (
            lambda: PwlActivation(unit, gradient="none"),
            ValueError,
            "PwlActivation gradient must be one of exact, slope, not 'none'",
        ),
        (
            lambda: PwlActivation(unit.replace(function=None)),
            ValueError,
            "gradient 'exact' needs a table that names its function; 'gelu_8' has none",
        ),
        (lambda: PwlActivation(unit, 5), TypeError, "PwlActivation quantizer must be a Quantizer, not int"),
        (
            lambda: PwlActivation(unit, Quantizer(Fixed(8), steps="real")),
            ValueError,
            "PwlActivation quantizer must have one kept power of two as its step, not s8, real steps",
        ),
        (
            lambda: PwlActivation(unit, Quantizer(Fixed(7, 5))),
            ValueError,
            "PwlActivation quantizer must have the unit's format s8, not s7",
        ),
        (
            lambda: PwlActivation(unit, Quantizer(Fixed(8, 7))),
            ValueError,
            "PwlActivation quantizer must have scales of (0, 1, 2, 3, 4, 5, 6), not (7,)",
        ),
        (
            lambda: PwlSoftmax(shipped("exp_8"), shipped("reciprocal_8"), None),
            ValueError,
            "PwlSoftmax dim must be a dimension, not None",
        ),
        (
            lambda: PwlLayerNorm(nn.LayerNorm(3), shipped("rsqrt_8").replace(scales=(6,))),
            ValueError,
            "unit 'rsqrt_8' must have a scale at which its input holds 4",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
