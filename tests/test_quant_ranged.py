"""Quantizers with learned ranges: values, gradients and bits by hand, fixing, state, calibration, and whole models."""

import copy
import math

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.nn.quantized import (
    Operands,
    fix_ranges,
    integers,
    quantized_operations,
    ranged_quantizers,
    settle_ranges,
)
from hwlut.prune import quantize_ranged
from hwlut.quant import Quantizer, RangedQuantizer, calibrate
from hwlut.train.optimizers import optimizer_of
from hwlut.train.options import Finetune

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SIGNED = pytest.mark.parametrize("signed", [True, False])
POWERS = pytest.mark.parametrize("power", [1.0, 0.8, 1.3])
SPECIAL = [0.0, -0.0, 1.5, -1.5, 1.25, -1.25, 1e-30, 7.0, -7.0, math.inf, -math.inf, math.nan, 0.1, 0.3, -0.3]


def reals(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ranged(step=0.21, top=1.5, power=1.0, signed=True, **options):
    quantizer = RangedQuantizer(Fixed(4, signed=signed), powers=power != 1, **options)
    quantizer.observe(torch.tensor([1.0]))
    with torch.no_grad():
        quantizer.step.fill_(step)
        quantizer.top.fill_(top)
        quantizer.power.fill_(power)
    return quantizer


def by_hand(x, step, top, power, signed):
    """c and the value of one number, and what it gives to the gradients of x, step, top and power."""
    if math.isnan(x):
        return math.nan, math.nan, 0.0, math.nan, math.nan, math.nan
    sign = math.copysign(1.0, x) if x else 0.0
    if not signed and x < 0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if abs(x) <= top:
        c = abs(x) ** power
        of_x, of_top, of_power = 1.0, 0.0, sign * c * math.log(abs(x)) if x else 0.0
    else:
        c = top**power
        of_x, of_top, of_power = 0.0, sign * power * top ** (power - 1), sign * c * math.log(top)
    code = round(c / step)  # to even, as Python has it
    return sign * c, sign * step * code, of_x, sign * (code - c / step), of_top, of_power


@SIGNED
@POWERS
@pytest.mark.parametrize("device", DEVICES)
def test_values_are_those_of_a_plain_loop(signed, power, device):
    x = torch.cat([reals(200).double() * 1.3, torch.tensor(SPECIAL, dtype=torch.float64)])
    quantizer = ranged(power=power, signed=signed).to(device)
    step, top, used = (each.item() for each in (quantizer.step, quantizer.top, quantizer.power))
    wanted = [by_hand(each, step, top, used, signed) for each in x.tolist()]
    for dtype, error in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        out = quantizer(x.to(device, dtype))
        assert out.dtype == dtype
        assert out.tolist() == pytest.approx([value for _, value, *_ in wanted], rel=error, nan_ok=True)
    assert (out == 0).sum() >= 3 and not torch.signbit(out[out == 0]).any()
    codes, held, zero = quantizer.quantize(x.float().to(device))
    assert codes.dtype == torch.int32 and float(held) == step and int(zero) == 0
    assert codes.tolist() == [0 if math.isnan(value) else round(value / step) for _, value, *_ in wanted]
    assert torch.equal(quantizer.codes(x.float().to(device)), codes)
    assert torch.equal(quantizer.values(codes), out.detach().float().nan_to_num(0.0))
    folded = quantizer.folded(x.to(device))
    assert folded.tolist() == pytest.approx([c for c, *_ in wanted], rel=1e-12, nan_ok=True)


@SIGNED
@POWERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_gradients_are_those_of_the_formulas(signed, power, dtype, device):
    """Each by a sum over a plain loop; the straight-through one of x is a mask, without a factor of the power."""
    x = torch.cat([reals(300, seed=1) * 1.2, torch.tensor(SPECIAL)]).to(dtype)
    x = x[~x.isnan()]
    weights = reals(len(x), seed=2).to(dtype)
    quantizer = ranged(power=power, signed=signed).to(device)
    step, top, used = (each.item() for each in (quantizer.step, quantizer.top, quantizer.power))
    wanted = torch.tensor([by_hand(each, step, top, used, signed) for each in x.tolist()], dtype=torch.float64)
    real = x.to(device).requires_grad_()
    (quantizer(real) * weights.to(device)).nan_to_num(0.0).sum().backward()
    assert torch.equal(real.grad.cpu(), wanted[:, 2].to(dtype) * weights)
    given = weights.double()
    for parameter, column in ((quantizer.step, 3), (quantizer.top, 4), (quantizer.power, 5)):
        if parameter.requires_grad:
            assert float(parameter.grad) == pytest.approx(float((wanted[:, column] * given).sum()), rel=1e-4), column
    assert quantizer.power.requires_grad == (power != 1)


def test_the_gradient_of_a_range_that_holds_all_is_zero():
    quantizer = ranged(top=10.0)
    quantizer(reals(1000)).sum().backward()
    assert quantizer.top.grad.item() == 0 and quantizer.step.grad.item() != 0


def test_what_is_nan_gets_no_gradient():
    x = torch.tensor([math.nan, 1.0], requires_grad=True)
    out = ranged()(x)
    out.sum().backward()
    assert out[0].isnan() and x.grad.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_quantized_as_float32(dtype):
    quantizer = ranged().half()
    assert {value.dtype for value in quantizer.state_dict().values()} == {torch.float32, torch.int32}
    x = reals(100).to(dtype).requires_grad_()
    out = quantizer(x)
    assert torch.equal(out, quantizer(x.float()).to(dtype))
    out.sum().backward()
    assert x.grad.dtype == dtype and torch.equal(x.grad, (x.abs() <= 1.5).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(x), out)


@SIGNED
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_calibration_gives_the_range_and_the_bits_of_the_format(signed, bits):
    x = reals(1000).abs() if not signed else reals(1000)
    quantizer = RangedQuantizer(Fixed(bits, signed=signed))
    with pytest.raises(RuntimeError, match="^Quantizer scale must be calibrated first, by hwlut.quant.calibrate$"):
        quantizer(x)
    for call in (lambda: quantizer.bits, quantizer.fix, lambda: quantizer.hold(2, 8), lambda: quantizer.codes(x)):
        with pytest.raises(RuntimeError, match="calibrated"):
            call()
    quantizer.observe(x)
    levels = 2 ** (bits - signed) - 1
    assert quantizer.top.item() == x.abs().max().item() and quantizer.power.item() == 1
    assert quantizer.step.item() == pytest.approx(quantizer.top.item() / levels, rel=1e-6)
    assert quantizer.bits.item() == pytest.approx(bits, abs=1e-5) and not quantizer.bits.requires_grad
    assert quantizer.codes(x).abs().max() == levels


def test_ranges_come_from_all_batches_that_flow_through():
    model = nn.Sequential(RangedQuantizer(Fixed(8)), nn.Linear(3, 3), RangedQuantizer(Fixed(8)))
    calibrate(model, [torch.ones(1, 3), torch.full((1, 3), -5.0), torch.ones(1, 3)])
    assert model[0].top.item() == 5 and not model[0].observing
    quantizer = RangedQuantizer(Fixed(8), method="percentile", percentile=50)
    quantizer.observe(torch.arange(-4.0, 101.0))
    assert quantizer.top.item() == pytest.approx(48)  # of 105 magnitudes, the 53rd: 0, 1, 1, ..., 4, 4, 5, ..., 48
    assert quantizer.bits.item() == pytest.approx(8)
    quantizer = RangedQuantizer(Fixed(2), method="mse")
    quantizer.observe(torch.tensor([1.0] * 999 + [-20.0]))
    assert quantizer.top.item() < 20
    quantizer = RangedQuantizer(Fixed(8))
    quantizer.observe(torch.zeros(3))
    assert quantizer.bits.item() == pytest.approx(8) and quantizer(torch.zeros(2)).tolist() == [0, 0]


def test_the_sign_can_follow_the_data():
    quantizer = RangedQuantizer(Fixed(8), find_sign=True)
    quantizer.start()
    quantizer.observe(torch.tensor([0.0, 2.0]))
    assert not quantizer.format.signed and quantizer.bits.item() == pytest.approx(8)
    quantizer.observe(torch.tensor([1.0, -0.5]))
    quantizer.observe(torch.tensor([1.0]))
    assert quantizer.format.signed and quantizer.bits.item() == pytest.approx(8) and quantizer.top.item() == 2
    quantizer.freeze()
    calibrate(nn.Sequential(quantizer), [torch.tensor([1.0])])
    assert not quantizer.format.signed and quantizer(torch.tensor([-1.0, 1.0])).tolist() == [0, 1]
    other = RangedQuantizer(Fixed(8), find_sign=True)
    other.load_state_dict(quantizer.state_dict())
    assert other.format == Fixed(8, signed=False)


@SIGNED
@POWERS
def test_bits_are_held(signed, power):
    quantizer = ranged(step=1e-5, power=power, signed=signed)
    step, top, used = (each.item() for each in (quantizer.step, quantizer.top, quantizer.power))
    bits = math.log2(top**used / step + 1) + signed
    assert quantizer.bits.item() == pytest.approx(bits, rel=1e-6)
    for low, high in ((2, 8), (4.3, 6), (5, 5), (9, 9.5), (16, 16), (2, 24)):
        least, most = quantizer.step_range(low, high)
        assert float(least) == pytest.approx(top**used / (2 ** (high - signed) - 1), rel=1e-5)
        assert float(most) == pytest.approx(top**used / (2 ** (low - signed) - 1), rel=1e-5)
        quantizer.hold(low, high)
        assert low - 1e-5 <= quantizer.bits.item() <= high + 1e-5
        bits = min(max(bits, low), high)
        assert quantizer.bits.item() == pytest.approx(bits, rel=1e-5)
    assert quantizer.step.requires_grad and quantizer.step.grad is None
    for low, high in ((1, 4), (5, 4), (2, 25)):
        with pytest.raises(ValueError, match=r"^RangedQuantizer bits must be from 2 to 24 and ascending, not "):
            quantizer.hold(low, high)


@SIGNED
@POWERS
@pytest.mark.parametrize("bits", [2, 3, 7.6, 8, 16])
def test_fixing_changes_no_code(signed, power, bits):
    """The folded weight has by the ordinary quantizer the codes that the weight had at the same step."""
    weight = reals(4096, seed=3) * 1.3
    quantizer = ranged(power=power, signed=signed)
    whole = round(bits)
    quantizer.hold(whole, whole)
    codes, values = quantizer.codes(weight), quantizer(weight).detach()
    quantizer.hold(bits, bits)
    step = quantizer.step
    quantizer.fix(weight)
    assert quantizer.fixed and quantizer.format == Fixed(whole, signed=signed) and quantizer.bits.item() == whole
    assert quantizer.step is step and quantizer.power.item() == 1
    assert torch.equal(quantizer.codes(weight), codes)
    assert torch.allclose(quantizer(weight), values, rtol=1e-5, atol=0)
    plain = quantizer.plain()
    assert type(plain) is Quantizer and plain.step is step and plain.format == quantizer.format
    assert torch.equal(plain.codes(weight), codes) and torch.equal(plain(weight), quantizer(weight))
    assert torch.equal(plain.values(codes), plain(weight))
    held = weight.clone()
    quantizer.fix(weight)  # again
    assert torch.equal(weight, held)


def test_a_fixed_one_learns_its_step_as_any_other():
    quantizer = ranged()
    quantizer(reals(50)).sum().backward()
    quantizer.fix()
    assert quantizer.top.grad is None and not quantizer.top.requires_grad
    quantizer.step.grad = None
    other = Quantizer(quantizer.format, steps="real", source="learned")
    other.load_state_dict({"step": quantizer.step.detach().clone()})
    for each in (quantizer, other):
        (each(reals(50)) * reals(50, seed=1)).sum().backward()
    assert quantizer.step.grad.item() == other.step.grad.item() != 0 and quantizer.top.grad is None


def test_what_must_come_in_order():
    quantizer = ranged()
    with pytest.raises(RuntimeError, match="^RangedQuantizer plain must come after fix$"):
        quantizer.plain()
    quantizer.fix()
    for call, label in (
        (lambda: quantizer.hold(2, 4), "step_range"),
        (lambda: quantizer.step_range(2, 4), "step_range"),
    ):
        with pytest.raises(RuntimeError, match=f"^RangedQuantizer {label} must come before fix$"):
            call()
    with pytest.raises(ValueError, match="^RangedQuantizer fix must have the weight where the power is learned$"):
        ranged(power=0.9).fix()


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("power", [1.0, 0.9])
def test_states_round_trip(fixed, power):
    quantizer = ranged(step=0.1, top=1.3, power=power, signed=False)
    x = reals(100)
    if fixed:
        quantizer.fix(x)
    state = copy.deepcopy(quantizer.state_dict())
    assert set(state) == {"step", "top", "power", "sign", "fixed_bits"}
    fresh = RangedQuantizer(Fixed(4, signed=False), powers=power != 1)
    other = ranged(power=power, signed=False)
    other.fix(reals(3))
    for each in (fresh, other, copy.deepcopy(quantizer)):
        each.load_state_dict(state)
        assert each.fixed == fixed and each.format == quantizer.format and each.calibrated
        assert torch.equal(each(x), quantizer(x)) and torch.equal(each.bits, quantizer.bits)
        assert each.top.requires_grad != fixed
    uncalibrated = RangedQuantizer(Fixed(4))
    uncalibrated.load_state_dict(RangedQuantizer(Fixed(4)).state_dict())
    assert not uncalibrated.calibrated and not uncalibrated.fixed


def test_impossible_states_are_refused():
    quantizer = ranged()
    for name, value, wanted in (
        ("step", -1.0, "a finite positive number"),
        ("top", math.inf, "a finite positive number"),
        ("power", 0.5, "1"),
        ("sign", 2, "0 or 1"),
        ("fixed_bits", 30, "an integer from 2 to 24"),
    ):
        state = {**quantizer.state_dict(), name: torch.tensor(value)}
        with pytest.raises(RuntimeError, match=f"{name} must be {wanted}, not "):
            ranged().load_state_dict(state)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(TypeError, match=r"^RangedQuantizer format must be a Fixed, not 8$"):
        RangedQuantizer(8)
    with pytest.raises(ValueError, match="^RangedQuantizer format must be signed where find_sign is true, not u8$"):
        RangedQuantizer(Fixed(8, signed=False), find_sign=True)
    with pytest.raises(TypeError, match="^RangedQuantizer powers must be true or false, not 1$"):
        RangedQuantizer(Fixed(8), powers=1)
    with pytest.raises(ValueError, match="^Quantizer method must be one of minmax, percentile, mse where steps are"):
        RangedQuantizer(Fixed(8), method="ema")
    with pytest.raises(ValueError, match="^Operands activations powers must be left out"):
        Operands(activations={"source": "ranged", "powers": True})


def test_it_compiles_and_exports():
    quantizer = ranged()
    x = reals(20)
    compiled = torch.compile(quantizer, backend="aot_eager", fullgraph=True)
    real = x.clone().requires_grad_()
    out = compiled(real)
    assert torch.equal(out, quantizer(x))
    out.sum().backward()
    assert torch.equal(real.grad, (x.abs() <= 1.5).float())
    for each in (quantizer, ranged(power=0.9)):
        program = torch.export.export(nn.Sequential(each), (x,))
        assert torch.allclose(program.module()(x), each(x))


# ---------------------------------------------------------------- optimizers


def test_steps_and_ranges_are_changed_by_their_logarithms_and_powers_as_they_are():
    quantizer = ranged(step=0.21, top=1.5, power=0.9)
    model = nn.Sequential(quantizer)
    optimizer = optimizer_of(model, Finetune(optimizer="sgd", step_rate=0.01, weight_decay=0.5, learning_rate=1.0))
    (quantizer(reals(100)) * reals(100, seed=1)).sum().backward()
    wanted = [
        0.21 * math.exp(-0.01 * 0.21 * quantizer.step.grad.item()),
        1.5 * math.exp(-0.01 * 1.5 * quantizer.top.grad.item()),
        0.9 - 0.01 * quantizer.power.grad.item(),
    ]
    optimizer.step()
    assert [each.item() for each in (quantizer.step, quantizer.top, quantizer.power)] == pytest.approx(wanted, rel=1e-5)
    assert all(abs(a - b) > 1e-4 for a, b in zip(wanted, (0.21, 1.5, 0.9)))
    quantizer.fix(reals(3))
    before = quantizer.top.item()
    optimizer.step()
    assert quantizer.top.item() == before and quantizer.power.item() == 1


# ---------------------------------------------------------------- models


class Model(nn.Module):
    """A convolution, a rectifier, attention by a product of activations, and a table whose weight a layer shares."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = self.conv(self.table(tokens).transpose(1, 2)).relu().transpose(1, 2)
        return self.head(torch.matmul(torch.matmul(x, x.transpose(1, 2)).softmax(-1), x))


TOKENS = torch.arange(10).view(2, 5) % 7


def seeded():
    torch.manual_seed(0)
    return Model()


def test_weights_of_a_model_get_ranges():
    model = seeded()
    plain = model(TOKENS)
    space = quantize_ranged(model, TOKENS, [TOKENS])
    assert set(space.shapes) == {"table", "conv", "head"} and set(space.left) == {
        "quantized_products.0",
        "quantized_products.1",
    }
    assert space.shapes["conv"].macs == 2 * 5 * 6 * 6 * 3 // 2  # a batch of one would have half
    assert torch.allclose(model(TOKENS), plain, atol=1e-3)
    assert model.head.weight is model.table.weight and model.head.weight_choice is model.table.weight_choice
    assert len(ranged_quantizers(model)) == 2
    for quantizer in ranged_quantizers(model).values():
        assert quantizer.bits.item() == pytest.approx(16, abs=1e-4)
    assert model.conv.weight_choice.quantizer(Fixed(16)).top.item() == model.conv.weight.abs().max().item()


@pytest.mark.parametrize("powers", [False, True])
def test_activations_too_and_down_to_integers(powers):
    model = seeded()
    space = quantize_ranged(model, TOKENS, [TOKENS], activations=True, powers=powers)
    assert set(space.shapes) == {"table", "conv", "head", "quantized_products.0", "quantized_products.1"}
    assert space.owners == {"": 2} and not space.left
    operations = quantized_operations(model)
    signs = {
        name: each.input_choice.quantizer(Fixed(16)).format.signed
        for name, each in operations.items()
        if each.input_choice
    }
    assert signs == {"conv": True, "head": False, "quantized_products.0": False, "quantized_products.1": False}
    with pytest.raises(
        ValueError, match="^integers of 'table': weight must have a fixed number of bits, by hwlut.nn.qua"
    ):
        integers(model)
    with pytest.raises(
        ValueError, match="^settle_ranges quantizer '.*' must have a fixed number of bits, by fix_ranges"
    ):
        settle_ranges(model)
    for place, quantizer in enumerate(ranged_quantizers(model).values()):
        assert quantizer.power.requires_grad == (
            powers
            and quantizer
            in {
                operations["conv"].weight_choice.quantizer(Fixed(16)),
                operations["table"].weight_choice.quantizer(Fixed(16)),
            }
        )
        if powers and quantizer.powers:
            quantizer.power.data.fill_(0.9)
        quantizer.hold(5 + place % 3, 5 + place % 3)
    before = model(TOKENS)
    fix_ranges(model)
    assert torch.allclose(model(TOKENS), before, atol=1e-6)
    after, state = model(TOKENS), copy.deepcopy(model.state_dict())
    fresh = seeded()
    quantize_ranged(fresh, TOKENS, [TOKENS], activations=True, powers=powers)
    fresh.load_state_dict(state)
    for each in (model, fresh):
        settle_ranges(each)
        assert torch.equal(each(TOKENS), after) and not ranged_quantizers(each)
        choices = [
            choice for operation in quantized_operations(each).values() for choice in operation.choices if choice
        ]
        for choice in choices:
            assert choice.formats == (choice.selected,) and choice.quantizer(choice.selected).format == choice.selected
            assert choice.selected.bits in (5, 6, 7)
    exact = integers(model, TOKENS)
    conv = exact["conv"]
    assert conv.weight.format == model.conv.weight_choice.selected and not conv.activation.format.min == 0
    assert torch.equal(conv.codes.float() * conv.weight.steps[0], model.conv.weight_choice(model.conv.weight))
    assert exact["quantized_products.1"].activation.format.min == 0
    with pytest.raises(
        ValueError, match="^settle_ranges model must have a quantizer with a learned range; it has none$"
    ):
        settle_ranges(model)


def test_activations_alone():
    model = seeded()
    space = quantize_ranged(model, TOKENS, [TOKENS], weights=False, activations=True, exclude=["head"])
    assert set(space.shapes) == {"conv", "quantized_products.0", "quantized_products.1"}
    assert set(space.left) == {"table", "head"}
    assert type(model.table) is nn.Embedding and model.conv.weight_choice.selected is None
    assert len(ranged_quantizers(model)) == 5
    with pytest.raises(ValueError, match="^quantize_ranged must quantize weights or activations, not neither$"):
        quantize_ranged(seeded(), TOKENS, [TOKENS], weights=False)
    with pytest.raises(ValueError, match="^search include 'nothing' must match an operation"):
        quantize_ranged(seeded(), TOKENS, [TOKENS], include=["nothing"])


def test_ranges_of_activations_are_those_of_the_data():
    """Inputs far from the weights in size lose nothing at 16 bits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = reals(64, 8) * 1000
    plain = model(x)
    quantize_ranged(model, x, [x[:32], x[32:]], activations=True)
    assert model[0].input_choice.quantizer(Fixed(16)).top.item() == x.abs().max().item()
    assert torch.allclose(model(x), plain, rtol=1e-3, atol=0.1)
