"""Approximate layers as modules: state, copies, kept weights, autocast, compilation, several processes."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.nn import (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConvTranspose2d,
    Approximate,
    ApproxLinear,
    ApproxMatmul,
    ApproxMultiheadAttention,
    convert,
)
from hwlut.nn.approx import sums
from hwlut.quant import Quantizer, calibrate
from hwlut.units import Multiplier

S8 = Multiplier(family="exact", signed=True, name="exact_s8")
U8 = Multiplier(family="drum", k=4, name="drum_u8")
DRUM = Multiplier(family="drum", signed=True, k=3, name="drum_s8")


def static(multiplier, data=None):
    """A net with quantizers of every kind of state, calibrated where there is data."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    signed = multiplier.a.signed
    activations = Quantizer(multiplier.a, steps="real", symmetric=signed, method="ema")
    weights = Quantizer(multiplier.b, steps="real", symmetric=signed, granularity="channel", method="minmax")
    convert(net, Approximate(multiplier, activations, weights), data)
    return net


@pytest.mark.parametrize("multiplier", [S8, U8], ids=lambda unit: unit.name)
def test_state_round_trip(multiplier):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 4)
    net, other = static(multiplier, [x]), static(multiplier)
    stored = io.BytesIO()
    torch.save(net.state_dict(), stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    with pytest.raises(RuntimeError, match="must be calibrated first"):
        other(x)
    other.load_state_dict(state)
    assert torch.equal(other.eval()(x), net.eval()(x))


def test_a_state_of_another_multiplier_is_refused():
    state = ApproxLinear(3, 2, multiplier=S8).state_dict()
    assert set(state) == {"weight", "bias", "multiplier_digest"}
    ApproxLinear(3, 2, multiplier=S8.replace(name="other")).load_state_dict(state)
    with pytest.raises(RuntimeError, match="multiplier_digest must be that of multiplier 'drum_s8', not another"):
        ApproxLinear(3, 2, multiplier=DRUM).load_state_dict(state)
    with pytest.raises(RuntimeError, match="multiplier_digest must be that of multiplier 'exact_s8', not another"):
        ApproxLinear(3, 2, multiplier=S8).load_state_dict(state | {"multiplier_digest": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="Unexpected key.*: .other"):
        ApproxLinear(3, 2, multiplier=S8).load_state_dict(state | {"other": torch.zeros(3)})


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
def test_states_of_the_layers_of_torch(strict):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 4)
    net = static(S8, [x])
    step = net[0].activation_quantizer.step.clone()
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    state = plain.state_dict()
    keys = list(state)
    net.load_state_dict(state, strict=strict)
    assert torch.equal(net[3].weight, plain[3].weight) and torch.equal(net[0].activation_quantizer.step, step)
    assert net[0].weight_quantizer.calibrated and list(state) == keys
    with pytest.raises(RuntimeError, match="Missing key.*: .3.bias"):
        net.load_state_dict({name: value for name, value in state.items() if name != "3.bias"})
    state = net.state_dict()
    del state["3.weight_quantizer.step"]
    with pytest.raises(RuntimeError, match="Missing key.*: .3.weight_quantizer.step"):
        net.load_state_dict(state)


@pytest.mark.parametrize("gradient", ["lre", "date"])
def test_layers_made_on_the_meta_device(gradient):
    multiplier = Multiplier(family="drum", signed=True, k=5)

    def make():
        return nn.Sequential(
            ApproxLinear(3, 4, multiplier=multiplier, gradient=gradient),
            ApproxMultiheadAttention(4, 2, multiplier=multiplier, gradient=gradient),
        )

    with torch.device("meta"):
        net = make()
    want = make()
    assert net[0](torch.empty(5, 3, device="meta")).shape == (5, 4)
    net = net.to_empty(device="cpu")
    net.load_state_dict(want.state_dict())
    gradients = []
    for each in (net, want):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        y = each[0](x)
        each[1](y, y, y)[0].sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients) and gradients[0].any()
    assert not [value for value in net.state_dict().values() if value.is_meta]


def test_what_a_layer_is_made_of_stays():
    layer = ApproxLinear(3, 2, multiplier=S8)
    for name, value in (("multiplier", DRUM), ("gradient", "lre")):
        with pytest.raises(
            AttributeError,
            match=f"^ApproxLinear {name} must stay; hwlut.nn.convert, or `of`, makes a layer with another one$",
        ):
            setattr(layer, name, value)
    assert layer.multiplier is S8 and layer.gradient == "ste"


def test_quantizers_are_replaced_by_such_as_fit():
    torch.manual_seed(0)
    x = torch.randn(4, 6).abs()
    signed = Multiplier(family="exact", a=Fixed(8), b=Fixed(8))
    layer = ApproxLinear(6, 3, multiplier=signed).eval()
    layer(x)
    both = {
        "activations": Quantizer(Fixed(8), steps="real", symmetric=False, source="dynamic"),
        "weights": Quantizer(Fixed(8), steps="real", source="dynamic"),
    }
    want = ApproxLinear.of(layer.restored(), Approximate(signed, **both)).eval()(x)
    layer.activation_quantizer = both["activations"]
    layer(x)
    layer.weight_quantizer = both["weights"]
    assert torch.equal(layer(x), want)

    def refused(module, name, value):
        with pytest.raises((TypeError, ValueError)) as caught:
            setattr(module, name, value)
        return str(caught.value)

    token = Quantizer(Fixed(8), steps="real", granularity="token", source="dynamic")
    assert refused(layer, "weight_quantizer", Quantizer(Fixed(4))) == (
        "ApproxLinear weights must have the multiplier's format s8, not s4"
    )
    assert refused(layer, "activation_quantizer", None) == "ApproxLinear activations must be a Quantizer, not NoneType"
    assert refused(layer, "weight_quantizer", token) == (
        "ApproxLinear weights must have a step for each tensor or channel, not token"
    )
    assert refused(ApproxMatmul(multiplier=S8), "activation_quantizer", Quantizer(Fixed(4))) == (
        "ApproxMatmul activations must have the multiplier's format s8, not s4"
    )
    assert torch.equal(layer(x), want)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("gradient", ["ste", "date"])
def test_copies_compute_the_same(copied, gradient):
    torch.manual_seed(0)
    net = nn.Sequential(
        ApproxConv2d(2, 3, 3, multiplier=DRUM, gradient=gradient), ApproxConvTranspose2d(3, 2, 2, multiplier=U8)
    )
    x = torch.randn(2, 2, 5, 5, requires_grad=True)
    want = net.eval()(x)
    other = copied(net)
    assert torch.equal(other(x), want)
    with torch.no_grad():
        other[0].weight.mul_(-1)
    assert not torch.equal(other(x), want) and torch.equal(net(x), want)
    a, b = (torch.autograd.grad(layer[0](x).sum(), x)[0] for layer in (net, copied(net)))
    assert torch.equal(a, b) and a.any()


def test_kept_weights_follow_every_change():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    weights = Quantizer(Fixed(8), steps="real", granularity="channel", method="minmax")
    layer = ApproxLinear(6, 3, multiplier=S8, weights=weights)
    calibrate(layer, [x])
    layer.eval()

    def fresh():
        return copy.deepcopy(layer)(x)

    before = layer(x)
    kept = layer._kept.value
    assert torch.equal(layer(x), before) and layer._kept.value is kept
    changes = {
        "in place": lambda: layer.weight.mul_(0.5),
        "optimizer": lambda: torch.optim.SGD([layer.weight], lr=1.0).step(),
        "state": lambda: layer.load_state_dict(ApproxLinear(6, 3, multiplier=S8).state_dict(), strict=False),
        "data": lambda: setattr(layer.weight, "data", torch.randn(3, 6)),
        "parameter": lambda: setattr(layer, "weight", nn.Parameter(torch.randn(3, 6))),
        "anew": lambda: (delattr(layer, "weight"), setattr(layer, "weight", nn.Parameter(torch.randn(3, 6)))),
        "steps": lambda: layer.weight_quantizer.step.mul_(3),
    }
    for label, change in changes.items():
        layer.weight.grad = torch.ones(3, 6)
        with torch.no_grad():
            change()
        assert torch.equal(layer(x), fresh()), label
        assert not torch.equal(layer(x), before), label
        before = layer(x)
    layer.weight.data.mul_(-1)
    assert torch.equal(layer(x), before)  # nothing tells
    assert not torch.equal(layer.eval()(x), before)
    before = layer(x)
    with torch.inference_mode():
        assert torch.equal(layer(x), before)
        inside = copy.deepcopy(layer)
        assert torch.equal(inside(x), before)
    layer(x).sum().backward()  # in evaluation, with a gradient
    assert layer.weight.grad.any()


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed", "attention", "matmul"])
def test_autocast_and_dtypes(kind):
    torch.manual_seed(0)
    module, inputs = {
        "linear": lambda: (ApproxLinear(6, 3, multiplier=U8), (torch.randn(4, 6),)),
        "conv": lambda: (ApproxConv1d(2, 3, 3, multiplier=U8), (torch.randn(2, 2, 6),)),
        "transposed": lambda: (ApproxConvTranspose2d(2, 3, 3, multiplier=U8), (torch.randn(2, 2, 3, 3),)),
        "attention": lambda: (ApproxMultiheadAttention(4, 2, multiplier=U8), (torch.randn(3, 2, 4),) * 3),
        "matmul": lambda: (ApproxMatmul(multiplier=U8), (torch.randn(3, 4), torch.randn(4, 2))),
    }[kind]()

    def run(*inputs):
        result = module(*inputs)
        return result[0] if kind == "attention" else result

    want = run(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(*inputs)
        got.float().sum().backward() if got.requires_grad else None
    assert got.dtype == torch.bfloat16
    if kind != "attention":  # where halves go from layer to layer
        assert torch.equal(got, want.bfloat16())
    assert all(parameter.grad.dtype == torch.float32 for parameter in module.parameters())
    double = copy.deepcopy(module).double()
    assert run(*inputs).dtype == torch.float32 and double(*(x.double() for x in inputs))[0].dtype == torch.float64
    half = copy.deepcopy(module).half()
    result = half(*(x.half() for x in inputs))
    assert (result[0] if kind == "attention" else result).dtype == torch.float16


NETS = {
    "conv": lambda m: nn.Sequential(
        ApproxConv2d(1, 2, 3, padding=1, multiplier=m), nn.Flatten(), ApproxLinear(50, 3, multiplier=m)
    ),
    "transposed": lambda m: nn.Sequential(ApproxConvTranspose2d(1, 2, 3, stride=2, multiplier=m, gradient="lre")),
    "grouped": lambda m: nn.Sequential(
        ApproxConv2d(1, 4, 3, multiplier=m, gradient="date"), ApproxConv2d(4, 4, 2, groups=4, multiplier=m)
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch's own tracing
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("kind", NETS)
def test_compile_without_breaks(kind, backend):
    torch.manual_seed(0)
    torch._dynamo.reset()
    net, x = NETS[kind](U8 if kind == "conv" else DRUM), torch.randn(2, 1, 5, 5, requires_grad=True)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    goal = torch.randn_like(net(x))
    got, want = compiled(x), net(x)
    assert torch.equal(got, want)
    parameters = [x, *net.parameters()]
    for a, b in zip(*(torch.autograd.grad((y * goal).sum(), parameters) for y in (got, want))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    net.eval()
    with torch.no_grad():
        assert torch.equal(compiled(x), net(x))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch's own tracing
def test_exported_programs_need_their_multiplier(monkeypatch):
    multiplier = Multiplier(family="drum", signed=True, k=6)
    layer, x = ApproxLinear(3, 2, multiplier=multiplier).eval(), torch.randn(4, 3)
    stored = io.BytesIO()
    torch.export.save(torch.export.export(layer, (x,)), stored)
    stored.seek(0)
    program = torch.export.load(stored).module()
    assert torch.equal(program(x), layer(x))
    monkeypatch.delitem(sums._KNOWN, multiplier.digest)  # as in another process
    with pytest.raises(RuntimeError) as caught:
        program(x)
    assert str(caught.value).splitlines()[0] == (
        f"hwlut::approx_sums multiplier {multiplier.digest[:12]}... must be known to this process: make a layer of it "
        "first, such as hwlut.nn.ApproxMatmul(multiplier=...)"
    )
    ApproxMatmul(multiplier=multiplier)
    assert torch.equal(program(x), layer(x))


def test_functional_calls_with_a_whole_state():
    torch.manual_seed(0)
    module, other = (ApproxMultiheadAttention(4, 2, multiplier=S8) for _ in range(2))
    x = torch.randn(3, 2, 4)
    got, _ = torch.func.functional_call(module, other.state_dict(), (x, x, x))
    assert torch.equal(got, other(x, x, x)[0]) and not torch.equal(got, module(x, x, x)[0])
    with pytest.raises(AttributeError, match="multiplier_digest"):
        torch.func.functional_call(module, ApproxMultiheadAttention(4, 2, multiplier=DRUM).state_dict(), (x, x, x))


@pytest.mark.cuda
@pytest.mark.parametrize("multiplier", [U8, DRUM], ids=lambda unit: unit.name)
@pytest.mark.parametrize("gradient", ["ste", "date"])
def test_cuda_gives_the_same(gradient, multiplier):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Flatten(), nn.Linear(256, 3)
    )
    convert(net, Approximate(multiplier, gradient=gradient))
    moved, x = copy.deepcopy(net).cuda(), torch.randn(3, 2, 6, 6)
    want, got = net(x), moved(x.cuda())
    assert torch.equal(got.cpu(), want)
    assert torch.equal(copy.deepcopy(moved).eval()(x.cuda()).cpu(), want)
    for a, b in zip(
        *(torch.autograd.grad(y.square().sum(), layer.parameters()) for y, layer in ((got, moved), (want, net)))
    ):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-2, atol=1e-2 * float(b.abs().max()))


def halves():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 1, 6, 6, generator=generator)


def digits():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    convert(net, Approximate(DRUM, Quantizer(DRUM.a, steps="real", method="minmax")), [halves().flatten(0, 1)])
    return net


def train(rank, store, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    net = nn.parallel.DistributedDataParallel(digits())
    net(halves()[rank]).square().mean().backward()
    if rank == 0:
        torch.save([parameter.grad for parameter in net.parameters()], results)
    del net  # its threads, and those of the other process, are done before the group goes
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch.distributed, on the host's name
def test_gradients_are_averaged_over_processes(tmp_path):
    results = tmp_path / "gradients.pt"
    torch.multiprocessing.spawn(train, (str(tmp_path / "store"), str(results)), nprocs=2)
    net = digits()
    for half in halves():
        (net(half).square().mean() / 2).backward()
    for parameter, gradient in zip(net.parameters(), torch.load(results, weights_only=True)):
        torch.testing.assert_close(parameter.grad, gradient)


def test_bad_arguments_are_refused():
    def refused(make):
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        return str(caught.value)

    token = Quantizer(Fixed(8), steps="real", granularity="token", source="dynamic")
    other = Quantizer(Fixed(8), steps="real", granularity="channel", axis=1)
    assert (
        refused(lambda: ApproxLinear(2, 2, multiplier="exact"))
        == "Approximate multiplier must be a Multiplier, not 'exact'"
    )
    assert refused(lambda: ApproxLinear(2, 2, multiplier=S8, activations=8)) == (
        "Approximate activations must be a Quantizer, not int"
    )
    assert refused(lambda: ApproxLinear(2, 2, multiplier=U8, weights=Quantizer(Fixed(8)))) == (
        "Approximate weights must have the multiplier's format u8, not s8"
    )
    assert refused(lambda: ApproxConv2d(2, 2, 1, multiplier=S8, activations=token)) == (
        "ApproxConv2d activations must have a step for each tensor, not token"
    )
    assert refused(lambda: ApproxLinear(2, 2, multiplier=S8, weights=token)) == (
        "ApproxLinear weights must have a step for each tensor or channel, not token"
    )
    assert refused(lambda: ApproxLinear(2, 2, multiplier=S8, weights=other)) == (
        "ApproxLinear weights must have channels of axis 0, not 1"
    )
    linear, conv = ApproxLinear(2, 2, multiplier=S8), ApproxConv2d(2, 2, 3, multiplier=S8)
    assert refused(lambda: linear([1.0, 2.0])) == "ApproxLinear input must be a tensor, not list"
    assert refused(lambda: conv(None)) == "ApproxConv2d input must be a tensor, not NoneType"
    assert refused(lambda: conv.accumulators(3)) == "ApproxConv2d input must be a tensor, not int"
    assert refused(lambda: linear.accumulators(torch.ones(3))) == "ApproxLinear input must be [..., 2], not [3]"
    assert refused(lambda: linear(torch.ones(3))) == "ApproxLinear input must be [..., 2], not [3]"
    assert (
        refused(lambda: linear(torch.ones(2, 2).int())) == "ApproxLinear input must be floating point, not torch.int32"
    )
    assert refused(lambda: conv(torch.ones(1, 3, 4, 4))) == (
        "ApproxConv2d input must be [batch, 2, 2 sizes], the batch optional, not [1, 3, 4, 4]"
    )
    assert refused(lambda: conv(torch.ones(1, 2, 2, 4))) == (
        "ApproxConv2d input must be as large as the kernel, not of sizes [2, 4]"
    )


def test_empty_batches_pass():
    for layer, sizes in (
        (ApproxLinear(3, 2, multiplier=U8), (0, 3)),
        (ApproxConv2d(2, 4, 3, groups=2, multiplier=U8), (0, 2, 4, 4)),
        (ApproxConvTranspose2d(2, 4, 3, multiplier=S8), (0, 2, 4, 4)),
    ):
        x = torch.randn(sizes, requires_grad=True)
        y = layer(x)
        assert y.shape == layer.restored()(x).shape
        y.sum().backward()
        assert x.grad.shape == x.shape and not layer.weight.grad.any()


def test_tokens_have_steps_of_their_own():
    torch.manual_seed(0)
    token = Quantizer(U8.a, steps="real", symmetric=False, granularity="token", source="dynamic")
    layer = ApproxLinear(5, 3, multiplier=Multiplier(family="exact"), activations=token)
    x = (torch.randn(2, 4, 5) * torch.logspace(-3, 3, 8).view(2, 4, 1)).requires_grad_()
    y = layer(x)
    for index in ((0, 0), (1, 3)):
        assert torch.equal(layer(x[index][None])[0], y[index])
    weight, real = (q(v.detach().double()) for q, v in ((layer.weight_quantizer, layer.weight), (token, x)))
    want = real @ weight.t() + layer.bias.detach()
    torch.testing.assert_close(y.double(), want, rtol=1e-5, atol=1e-6)
    y.sum().backward()
    torch.testing.assert_close(x.grad.double(), weight.sum(0).expand(2, 4, 5), rtol=1e-4, atol=1e-5)
