"""Quantizers in training: running averages, freezing, learned steps, calibration, compiled and exported forwards."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.quant import Quantizer, calibrate

S8, U8, S4 = Fixed(8), Fixed(8, signed=False), Fixed(4)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
STATIC = [
    {"steps": steps, "symmetric": symmetric, "granularity": granularity, "axis": 1, "source": source}
    for steps in ("real", "power_of_two")
    for symmetric in (True, False)
    for granularity in ("tensor", "channel")
    for source in ("static", "learned")
]
DYNAMIC = [
    {"steps": steps, "symmetric": symmetric, "granularity": granularity, "axis": 1, "source": "dynamic"}
    for steps in ("real", "power_of_two")
    for symmetric in (True, False)
    for granularity in ("tensor", "channel", "token")
]


def named(options):
    kind = "symmetric" if options["symmetric"] else "affine"
    return "-".join((options["granularity"], options["source"], options["steps"], kind))


def reals(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 0.5


def full(value):
    return torch.tensor([value, 0.0])


def steps_of(quantizer):
    return quantizer.step.item() * 127


def test_averages_follow_training_until_they_are_frozen():
    quantizer = Quantizer(S8, steps="real", method="ema", momentum=0.5)
    with pytest.raises(RuntimeError, match="calibrated"):
        quantizer.eval()(full(1.0))
    quantizer.train()
    assert quantizer(full(8.0)).tolist() == pytest.approx([8.0, 0.0])  # with the step that this batch has brought
    quantizer(full(16.0))
    assert steps_of(quantizer) == pytest.approx(12)
    quantizer.eval()(full(100.0))
    assert steps_of(quantizer) == pytest.approx(12)
    quantizer.train().freeze()
    quantizer(full(100.0))
    assert steps_of(quantizer) == pytest.approx(12)
    quantizer.unfreeze()
    quantizer(full(20.0))
    assert steps_of(quantizer) == pytest.approx(16)


def test_asking_for_codes_moves_no_average():
    quantizer = Quantizer(S8, steps="real", method="ema", momentum=0.5)
    quantizer(full(8.0))
    for ask in (quantizer.codes, quantizer.quantize):
        ask(full(100.0))
        assert steps_of(quantizer) == pytest.approx(8)
    quantizer.follow(full(16.0))
    assert steps_of(quantizer) == pytest.approx(12)


def test_averages_leave_out_what_is_not_finite_in_training():
    quantizer = Quantizer(S8, steps="real", method="ema", momentum=0.5)
    quantizer(full(8.0))
    y = quantizer(torch.tensor([math.inf, math.nan, 16.0]))
    assert steps_of(quantizer) == pytest.approx(12) and y[1].isnan()
    quantizer(torch.empty(0))
    assert steps_of(quantizer) == pytest.approx(12)


def test_others_stay_where_calibration_put_them():
    for method in ("minmax", "percentile", "mse"):
        quantizer = Quantizer(S8, steps="real", method=method)
        quantizer.observe(full(8.0))
        before = quantizer.step.item()
        quantizer.unfreeze()
        quantizer.train()(full(100.0))
        assert quantizer.step.item() == before


def test_averages_go_on_from_a_saved_state():
    one, other = (Quantizer(S8, steps="real", method="ema", symmetric=False) for _ in range(2))
    for seed in range(3):
        one(reals(50, seed=seed))
    other.load_state_dict(one.state_dict())
    for quantizer in (one, other):
        quantizer(reals(50, seed=9))
    assert set(one.state_dict()) == {"step", "zero_point", "low", "high", "frozen"}
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_frozen_state_stays_frozen(device):
    """Calibrated, saved, loaded, trained: the step stays, until it is let go; and the other way round."""
    source = Quantizer(S8, steps="real", method="ema", momentum=0.5)
    calibrate(source, [full(8.0)])
    with torch.device(device):
        loaded = Quantizer(S8, steps="real", method="ema", momentum=0.5)
    loaded.load_state_dict(copy.deepcopy(source.state_dict()), assign=device == "meta")
    loaded.train()(full(100.0))
    assert steps_of(loaded) == pytest.approx(8)
    loaded.unfreeze()
    source.load_state_dict(loaded.state_dict())
    source.train()(full(16.0))
    assert steps_of(source) == pytest.approx(12)


def test_a_step_in_use_is_not_overwritten():
    """A module that runs twice before backward: the second forward moves the average, the first gradient holds."""
    quantizer = Quantizer(S8, steps="real", method="ema", granularity="channel")
    x = reals(4, 5).requires_grad_()
    (quantizer(x) + quantizer(x * 3)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    first = quantizer.quantize(x)
    held = first.values().clone()
    quantizer(x * 100)
    assert torch.equal(first.values(), held)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "affine"])
def test_gradient_of_a_learned_step_is_that_of_lsq(granularity, symmetric):
    quantizer = Quantizer(S4, steps="real", source="learned", granularity=granularity, axis=1, symmetric=symmetric)
    x = reals(6, 3)
    quantizer.observe(x * 0.6)
    x.requires_grad_()
    weights = reals(6, 3, seed=1)
    (quantizer(x) * weights).sum().backward()
    # Equation 3 of the paper, value by value, Q_N and Q_P counted from the zero point.
    wanted = torch.zeros(3)
    _, step, zero = quantizer.quantize(x)
    step, zero = step.broadcast_to(6, 3), zero.broadcast_to(6, 3)
    outside = 0
    for row in range(6):
        for column in range(3):
            lowest, highest = -8 - int(zero[row, column]), 7 - int(zero[row, column])
            v = x[row, column].item() / step[row, column].item()
            if v <= lowest or v >= highest:
                slope = lowest if v <= lowest else highest
                outside += 1
            else:
                slope = round(v) - v
            wanted[column] += slope * weights[row, column]
    assert outside > 2
    count = 18 if granularity == "tensor" else 6
    wanted = (wanted if granularity == "channel" else wanted.sum()) / math.sqrt(count * 7)
    torch.testing.assert_close(quantizer.step.grad, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "affine"])
def test_learned_steps_find_the_range(granularity, symmetric):
    x = reals(500, 3)
    quantizer = Quantizer(S4, steps="real", source="learned", granularity=granularity, axis=1, symmetric=symmetric)
    quantizer.observe(x)

    def error():
        return float((quantizer(x) - x).detach().square().mean())

    best = error()
    with torch.no_grad():
        quantizer.step.mul_(5)
    start = error()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (quantizer(x) - x).square().mean().backward()
        optimizer.step()
    assert start > 5 * best and error() < 1.15 * best


def test_a_learned_step_stays_positive():
    quantizer = Quantizer(S8, steps="real", source="learned")
    quantizer.observe(full(1.0))
    with torch.no_grad():
        quantizer.step.fill_(-3.0)
    x = torch.tensor([1.0, -1.0, 0.0])
    codes, step, _ = quantizer.quantize(x)
    assert (codes.tolist(), step.item()) == ([127, -128, 0], 2.0**-126)
    ((quantizer(x) - x).square().sum()).backward()
    assert quantizer.step.grad < 0  # descent makes it larger again


def test_learned_powers_of_two_of_channels():
    quantizer = Quantizer(S4, source="learned", granularity="channel", symmetric=False, method="minmax")
    x = torch.stack([reals(50), reals(50) * 10])
    quantizer.observe(x)
    assert quantizer.exponent.shape == (2,) and (quantizer.exponent[0] - quantizer.exponent[1]) in (3, 4)
    (quantizer(x) * reals(2, 50, seed=3)).sum().backward()
    for channel in range(2):
        alone = Quantizer(S4, source="learned", symmetric=False, method="minmax")
        alone.observe(x[channel])
        (alone(x[channel]) * reals(2, 50, seed=3)[channel]).sum().backward()
        torch.testing.assert_close(quantizer.exponent.grad[channel], alone.exponent.grad)


def test_parameters_survive_calibration():
    """An optimizer made before calibration trains the step that calibration has found."""
    quantizer = Quantizer(S8, steps="real", source="learned", granularity="channel")
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    x = reals(3, 20)
    quantizer.observe(x)
    before = quantizer.step.detach().clone()
    quantizer(x).sum().backward()
    optimizer.step()
    assert quantizer.step.shape == (3,) and not torch.equal(quantizer.step, before)


def net():
    return nn.Sequential(
        Quantizer(S8, steps="real", granularity="channel", axis=-1, method="percentile"),
        nn.Linear(3, 3),
        Quantizer(U8, steps="real", symmetric=False, method="ema"),
        Quantizer(S8, steps="real", source="dynamic", granularity="token"),
        Quantizer(S8, steps="real", source="learned"),
    )


def test_calibration_of_every_kind():
    model = net().train()
    calibrate(model, [reals(10, 3, seed=seed) for seed in range(3)])
    for quantizer in (model[0], model[2], model[3], model[4]):
        assert quantizer.calibrated and not quantizer.observing and not quantizer.following and quantizer.training
    before = copy.deepcopy(model.state_dict())
    model(reals(10, 3) * 9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model[2].unfreeze()
    model(reals(10, 3) * 9)
    assert not torch.equal(model.state_dict()["2.step"], before["2.step"])


def test_calibration_again_starts_afresh():
    for method in ("minmax", "ema", "percentile", "mse"):
        quantizer = Quantizer(S8, steps="real", method=method)
        calibrate(quantizer, [full(100.0)])
        calibrate(quantizer, [full(1.27)])
        assert quantizer.step.item() == pytest.approx(0.01, rel=0.01)


def test_calibration_leaves_a_quantizer_that_it_does_not_reach():
    used, unused = (Quantizer(S8, steps="real", symmetric=False, method="ema") for _ in range(2))
    unused.observe(reals(9))
    before = copy.deepcopy(unused.state_dict())
    with pytest.raises(ValueError) as caught:
        calibrate(used, [reals(5)], [used, unused])
    assert str(caught.value) == "calibration data must reach every quantizer, but not '?'"
    assert all(torch.equal(value, before[name]) for name, value in unused.state_dict().items() if name != "frozen")


def test_dynamic_quantizers_need_no_calibration():
    with pytest.raises(ValueError) as caught:
        calibrate(Quantizer(S8, steps="real", source="dynamic"), [reals(3)])
    assert str(caught.value) == "calibration needs a model with a Quantizer that chooses its scale"


@pytest.mark.parametrize("options", STATIC + DYNAMIC, ids=named)
def test_copies_and_pickles(options):
    quantizer = Quantizer(S8, **options)
    x = reals(4, 5, 3)
    quantizer.observe(x)
    for other in (copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        assert torch.equal(other(x), quantizer(x))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", STATIC[1::3] + DYNAMIC[::4], ids=named)  # every option with some of the others
def test_compile_and_export(options, device):
    x = reals(6, 5, 3).to(device)
    quantizer = Quantizer(S8, **options).to(device)
    quantizer.observe(x)
    wanted = quantizer(x)
    torch.compiler.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="aot_eager_decomp_partition")
    assert torch.equal(compiled(x), wanted)
    program = torch.export.export(quantizer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    for part in (x, x[:4]):
        assert torch.equal(program.module()(part), quantizer(part))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
def test_compiled_training_moves_averages():
    plain, other = (Quantizer(U8, steps="real", symmetric=False, method="ema") for _ in range(2))
    torch.compiler.reset()
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager_decomp_partition")
    for seed in range(4):
        x = reals(8, 3, seed=seed).requires_grad_()
        y = x.detach().clone().requires_grad_()
        if not seed:
            plain.observe(x)
            other.observe(x)
        assert torch.equal(plain(x), compiled(y))
        plain(x).sum().backward()
        compiled(y).sum().backward()
        assert torch.equal(x.grad, y.grad)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in plain.state_dict().items())


@pytest.mark.cuda
@pytest.mark.parametrize("options", STATIC + DYNAMIC, ids=named)
def test_forwards_do_not_wait_for_the_device(options):
    x = reals(6, 5, 3)
    quantizer = Quantizer(S8, **options)
    quantizer.observe(x)
    wanted = quantizer.quantize(x)
    quantizer, x = quantizer.cuda(), x.cuda().requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        quantizer(x).sum().backward()
        quantized = quantizer.quantize(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(quantized, wanted))


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["minmax", "ema", "percentile", "mse"])
def test_ranges_are_the_same_on_the_device(method):
    for symmetric in (True, False):
        here, there = (
            Quantizer(S8, steps="real", method=method, granularity="channel", axis=1, symmetric=symmetric).to(device)
            for device in ("cpu", "cuda")
        )
        for seed in range(3):
            here.observe(reals(500, 4, seed=seed))
            there.observe(reals(500, 4, seed=seed).cuda())
        torch.testing.assert_close(there.step.cpu(), here.step, rtol=1e-6, atol=0)
