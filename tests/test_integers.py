"""Quantized operations in integers: sums of codes are the layer's own output, and files hold them."""

import copy
import dataclasses
import itertools
import json
import re
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwlut import Fixed
from hwlut.nn.quantized import Operands, integers, product_name, quantize
from hwlut.quant import Quantizer, calibrate, parse_format
from hwlut.quant.precision import Precision
from hwlut.search import load_integers, save_integers

POWERS = {"steps": "power_of_two"}
MULTIPLIERS = {"steps": "multiplier", "granularity": "channel"}


def quantized(layer, precision, inputs, weights=POWERS, activations=POWERS, owners=None):
    """A model of one calibrated layer, at "0", or of products, in evaluation mode."""
    model = layer if owners else nn.Sequential(layer)
    name = product_name("", 0) if owners else "0"
    quantize(model, {name: [Precision.parse(precision)]}, Operands(weights, activations), owners)
    if any(module.calibrates for module in model.modules() if isinstance(module, Quantizer)):
        calibrate(model, [inputs])
    return model.eval()


def codes_of(values, operand, axis=None):
    """int64 codes of fake-quantized float64 values, by the numbers of the operand alone."""
    steps, zeros = torch.tensor(operand.steps, dtype=torch.float64), torch.tensor(operand.zero_points)
    if axis is not None and len(steps) > 1:
        shape = [-1 if each == axis else 1 for each in range(values.dim())]
        steps, zeros = steps.view(shape), zeros.view(shape)
    codes = values / steps + zeros
    assert torch.equal(codes, codes.round())
    assert int(codes.min()) >= operand.integers.min and int(codes.max()) <= operand.integers.max
    return codes.long()


def products(kind, a, w, geometry, zero):
    """Sums of products of int64 codes, by the definition of the layer."""
    if kind == "linear":
        return (a.unsqueeze(-2) * w).sum(-1)
    kernel, groups = w.shape[2:], geometry["groups"]
    a = F.pad(a, [each for padding in reversed(geometry["padding"]) for each in (padding, padding)], value=zero)
    spaces = list(zip(a.shape[2:], kernel, geometry["stride"], geometry["dilation"]))
    sizes = [(length - dilation * (taps - 1) - 1) // stride + 1 for length, taps, stride, dilation in spaces]
    out = torch.zeros(len(a), len(w), *sizes, dtype=torch.int64)
    for output, part in enumerate(w):
        first = output // (len(w) // groups) * w.shape[1]
        for place in itertools.product(*map(range, kernel)):
            window = [
                slice(tap * dilation, tap * dilation + (size - 1) * stride + 1, stride)
                for tap, size, (_, _, stride, dilation) in zip(place, sizes, spaces)
            ]
            for channel in range(w.shape[1]):
                out[:, output] += a[(slice(None), first + channel, *window)] * part[(channel, *place)]
    return out


def check_layer(model, inputs):
    """The integers of the layer at "0" give, times both steps, what the layer gives in float64 without its bias."""
    found = integers(model)["0"]
    layer = copy.deepcopy(model[0]).double()
    if getattr(layer, "bias", None) is not None:
        layer.bias.data.zero_()
    a = codes_of(layer.input_choice(inputs.double()), found.activation)
    w = found.codes.long()
    assert torch.equal(
        w, codes_of(layer.weight_choice(layer.weight), found.weight, layer.channel).movedim(layer.channel, 0)
    )
    axis = -1 if found.kind == "linear" else 1
    spread = [-1] + [1] * (0 if axis == -1 else inputs.dim() - 2)
    zero_a, zero_w = found.activation.zero_points[0], torch.tensor(found.weight.zero_points).view(spread)
    raw = products(found.kind, a, w, found.geometry, zero_a)
    sums = products(found.kind, a, torch.ones_like(w), found.geometry, zero_a)
    bias = 0 if found.bias is None else found.bias.long()
    total = raw - zero_w * sums + (found.constant.long() - bias).view(spread)
    unit = found.activation.steps[0] * torch.tensor(found.weight.steps, dtype=torch.float64)
    assert torch.equal(total.double() * unit.view(spread), layer(inputs.double()))
    held = found.accumulator
    for each in (raw, raw + found.constant.view(spread), total + (bias.view(spread) if found.bias is not None else 0)):
        assert held.min <= int(each.min()) and int(each.max()) <= held.max
    if found.bias is not None:
        assert bool(((found.bias * unit - model[0].bias.double()).abs() <= unit / 2).all())
    for operand in (found.weight, found.activation):
        if operand.multipliers is not None:
            exact = [Fraction(m) / Fraction(2) ** s for m, s in zip(operand.multipliers, operand.shifts)]
            assert exact == [Fraction(step) for step in operand.steps]
    return found


def numbers(*shape, positive=False):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(3))
    return x.abs() if positive else x


PRECISIONS = ["s2", "s3", "s4", "s5", "s6", "s7", "s8", "s4/u4", "s8/u2", "s2/u8", "u3/s4", "e2m1", "e4m3", "e2m1/s8"]


@pytest.mark.parametrize("weights", [POWERS, MULTIPLIERS], ids=["power", "multiplier"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sums_of_a_linear_layer(precision, weights):
    torch.manual_seed(1)
    x = numbers(5, 7, positive="/u" in precision)
    found = check_layer(quantized(nn.Linear(7, 3), precision, x, weights), x)
    assert found.codes.dtype == (torch.int32 if precision == "e4m3" else torch.int8)
    assert found.inputs == 7 and found.weight.integers.bits == {"e2m1": 5, "e4m3": 19}.get(
        precision.partition("/")[0], parse_format(precision.partition("/")[0]).bits
    )


LAYERS = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), dilation=(1, 2)), (2, 2, 5, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (2, 4, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, padding=1, bias=False), (1, 2, 3, 3, 2)),
    "linear": (lambda: nn.Linear(6, 4, bias=False), (3, 2, 6)),
}


@pytest.mark.parametrize("asymmetric", ["activations", "weights", "both"])
@pytest.mark.parametrize("kind", LAYERS)
def test_zero_points_of_every_layer(kind, asymmetric):
    """What a convolution pads with is the zero point; both operands may have one."""
    torch.manual_seed(2)
    make, shape = LAYERS[kind]
    x, layer = numbers(*shape) + 0.7, make()
    layer.weight.data += 0.2
    weights = MULTIPLIERS | ({} if asymmetric == "activations" else {"symmetric": False})
    activations = {"steps": "multiplier"} | ({} if asymmetric == "weights" else {"symmetric": False})
    found = check_layer(quantized(layer, "s4/u6", x, weights, activations), x)
    zeros = any(found.weight.zero_points), any(found.activation.zero_points)
    assert zeros == (asymmetric != "activations", asymmetric != "weights")


def test_a_transposed_layer():
    transformers = pytest.importorskip("transformers.pytorch_utils")
    torch.manual_seed(4)
    x = numbers(5, 6)
    found = check_layer(quantized(transformers.Conv1D(4, 6), "s4", x, POWERS | {"granularity": "channel"}), x)
    assert found.kind == "linear" and found.codes.shape == (4, 6) and len(found.weight.steps) == 4


def test_real_steps_are_exact_as_fractions():
    torch.manual_seed(5)
    x = numbers(4, 5)
    model = quantized(
        nn.Linear(5, 3),
        "s4/s8",
        x,
        *({"steps": "real", **each} for each in ({"granularity": "channel"}, {"symmetric": False})),
    )
    found, layer = integers(model)["0"], copy.deepcopy(model[0]).double()
    values, weights = layer.input_choice(x.double()), layer.weight_choice(layer.weight)
    a = layer.input_choice.quantizer(Fixed(8)).codes(x).tolist()
    assert found.weight.multipliers is None and found.activation.shifts is None
    for row, codes in zip(values.tolist(), a):
        for output, weight in enumerate(weights.tolist()):
            total = sum(c * w for c, w in zip(codes, found.codes[output].tolist()))
            total += int(found.constant[output]) - int(found.bias[output])
            unit = Fraction(found.activation.steps[0]) * Fraction(found.weight.steps[output])
            assert total * unit == sum(Fraction(v) * Fraction(w) for v, w in zip(row, weight))


def test_learned_steps_are_those_in_use():
    """A learned parameter need not be a step itself."""
    x = numbers(4, 5)
    model = quantized(
        nn.Linear(5, 2),
        "s4",
        x,
        {"steps": "multiplier", "multiplier_bits": 3, "source": "learned"},
        POWERS | {"source": "learned"},
    )
    choice = model[0].weight_choice.quantizer(Fixed(4)), model[0].input_choice.quantizer(Fixed(4))
    choice[0].step.data.fill_(0.3)
    choice[1].exponent.data.fill_(2.4)
    found = check_layer(model, x)
    assert (found.weight.multipliers, found.weight.shifts) == ((5,), (4,))  # 0.3125 of 0.25, 0.3125, 0.375
    assert found.activation.steps == (0.25,) and found.activation.shifts == (2,)


def test_an_embedding_has_codes_alone():
    layer = nn.Embedding(6, 3)
    model = nn.Sequential(layer)
    quantize(model, {"0": [Precision.parse("s4")]}, Operands(POWERS | {"symmetric": False, "granularity": "channel"}))
    places = torch.tensor([[4, 0], [2, 5]])
    calibrate(model, [places])
    found = integers(model)["0"]
    table = (found.codes - torch.tensor(found.weight.zero_points).view(-1, 1)) * torch.tensor(found.weight.steps).view(
        -1, 1
    )
    assert torch.equal(table[places], model(places))
    assert (found.kind, found.activation, found.accumulator, found.constant) == ("embedding", None, None, None)


class Scores(nn.Module):
    def forward(self, a, b):
        return a @ b


def test_a_product_of_activations():
    x, y = numbers(2, 3, 5), numbers(2, 5, 4) + 0.9
    model = quantized(Scores(), "s4/u5", (x, y), activations=POWERS | {"symmetric": False}, owners={"": 1})
    name = product_name("", 0)
    assert integers(model)[name].accumulator is None
    found, product = integers(model, (x, y))[name], model.quantized_products[0]
    a = codes_of(product.input_choice(x.double()), found.activation)
    w = codes_of(product.weight_choice(y.double()), found.weight)
    (zero_a,), (zero_w,) = found.activation.zero_points, found.weight.zero_points
    assert zero_a and zero_w and found.inputs == 5 and found.weight.format == Fixed(4)
    raw = (a.unsqueeze(-1) * w.unsqueeze(-3)).sum(-2)
    total = raw - zero_w * a.sum(-1, keepdim=True) - zero_a * w.sum(-2, keepdim=True) + found.inputs * zero_a * zero_w
    unit = found.activation.steps[0] * found.weight.steps[0]
    assert torch.equal(total.double() * unit, product(x.double(), y.double()))


def needed(values):
    bits = 1
    while not (-(1 << (bits - 1)) <= min(values) and max(values) < 1 << (bits - 1)):
        bits += 1
    return Fixed(bits)


def partial_sums(terms):
    return [sum(part) for count in range(len(terms) + 1) for part in itertools.combinations(terms, count)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weights", ["symmetric", "asymmetric"])
def test_the_accumulator_by_all_activations(weights, seed):
    """Of every activation, all partial sums in every order: as wide as any needs, and no wider."""
    torch.manual_seed(seed)
    x = numbers(9, 3) + 0.8
    options = POWERS | {"symmetric": weights == "symmetric"}
    found = check_layer(quantized(nn.Linear(3, 1), "s4/u2", x, options, POWERS | {"symmetric": False}), x)
    row, constant, (zero,) = found.codes[0].tolist(), int(found.constant), found.weight.zero_points
    values = [
        sums + start
        for a in itertools.product(range(4), repeat=3)
        for factors in (row, [w - zero for w in row])
        for sums in partial_sums([c * w for c, w in zip(a, factors)])
        for start in (0, constant)
    ]
    assert found.accumulator == needed(values)


@pytest.mark.parametrize("shift", [0.5, 9.0])
def test_the_accumulator_of_a_product(shift):
    x, y = numbers(2, 3) + shift, numbers(3, 2) - 0.5
    model = quantized(Scores(), "u5/s5", (x, y), activations=POWERS | {"symmetric": False}, owners={"": 1})
    found = integers(model, (x, y))[product_name("", 0)]
    (zero_a,), (zero_w,) = found.activation.zero_points, found.weight.zero_points
    terms = [(a - i) * (w - j) for a in range(-16, 16) for w in range(32) for i in (0, zero_a) for j in (0, zero_w)]
    assert found.accumulator == needed([3 * min(terms), 3 * max(terms)])


def fine(scale):
    return POWERS | {"scales": (scale,)}


def test_a_bias_of_many_steps():
    model = quantized(nn.Linear(2, 1), "s8", numbers(4, 2), fine(20), fine(20))
    nn.init.constant_(model[0].bias, -3.0)
    found = integers(model)["0"]
    assert found.bias.dtype == torch.int64 and int(found.bias) == -3 << 40 and found.accumulator == Fixed(43)


def dynamic(**options):
    return {"steps": "real", "source": "dynamic", **options}


def channels(model):
    choice = model[0].input_choice
    choice.quantizers["s8"] = Quantizer(Fixed(8), steps="real", granularity="channel", axis=-1)


def across(model):
    model[0].weight_choice.quantizers["s8"] = Quantizer(Fixed(8), steps="real", granularity="channel", axis=1)


def shared(model):
    model[0].weight_choice.shares = torch.ones(1)


def infinite(model):
    model[0].weight.data[0, 0] = torch.inf


def unbounded(model):
    model[0].bias.data[0] = torch.nan


def large(model):
    model[0].bias.data[0] = 1e30


@pytest.mark.parametrize(
    "precision, options, change, message",
    [
        ("s8/0", {}, None, "activation must be quantized, not left real"),
        ("0/s8", {}, None, "weight must be quantized, not left real"),
        (
            "s8",
            {"activations": dynamic()},
            None,
            "activation must have steps that are kept, not a dynamic one for each input",
        ),
        (
            "s8",
            {"activations": dynamic(granularity="token")},
            None,
            "activation must have steps that are kept, not a dynamic one for each token",
        ),
        (
            "s8",
            {"weights": dynamic(granularity="block", block=4)},
            None,
            "weight must have steps that are kept, not a dynamic one for each block",
        ),
        ("e5m2/s8", {}, None, "weight: Minifloat e5m2 must have integers of at most 32 bits, not 33"),
        ("s8/e5m2", {}, None, "activation: Minifloat e5m2 must have integers of at most 32 bits, not 33"),
        ("s8", {}, channels, "activation must have one step, not one for each channel"),
        ("s8", {}, across, "weight must have steps along its output channels, axis 0, not axis 1"),
        ("s8", {}, shared, "weight must have one format, not shares of several"),
        ("s8", {}, infinite, "weight must be finite"),
        ("s8", {}, unbounded, "bias must be finite"),
        ("s8", {}, large, "bias must be below 2^62 of the product of both steps, not 1..."),
        ("s8", {"weights": fine(-40)}, None, None),
    ],
)
def test_what_does_not_map_is_refused_by_name(precision, options, change, message):
    given = {"weights": POWERS, "activations": POWERS | {"symmetric": True}} | options
    model = nn.Sequential(nn.Linear(8, 3))
    quantize(model, {"0": [Precision.parse(precision)]}, Operands(**given))
    if any(module.calibrates for module in model.modules() if isinstance(module, Quantizer)):
        calibrate(model, [numbers(4, 8)])
    if change is not None:
        change(model)
    if message is None:
        found = integers(model)["0"].weight
        assert (found.multipliers, found.shifts, found.steps) == ((1,), (-40,), (2.0**40,))
        return
    with pytest.raises(ValueError, match=f"^integers of '0': {re.escape(message)}$".replace(r"1\.\.\.", ".*")):
        integers(model)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="^integers needs a model with quantized layers; "):
        integers(nn.Linear(2, 2))
    model = nn.Sequential(nn.Linear(2, 2))
    quantize(model, {"0": [Precision.parse("s8")]})
    with pytest.raises(ValueError, match=r"^integers of '0': weight must be calibrated, by hwlut\.quant\.calibrate$"):
        integers(model)


def test_steps_of_many_bits_have_no_shift():
    """A step below 2^-62 has a multiplier and no shift that hardware would have."""
    x = numbers(4, 2) * 2.0**-80
    model = quantized(nn.Linear(2, 1), "s8", x, POWERS, {"steps": "multiplier"})
    with pytest.raises(ValueError, match=r"^integers of '0': activation step must be m \* 2\^-shift with m from 1 "):
        integers(model)


class Mixed(nn.Module):
    """A layer of each kind of operand, and a product."""

    def __init__(self):
        super().__init__()
        self.table, self.conv, self.fc = (
            nn.Embedding(5, 4),
            nn.Conv1d(4, 4, 3, padding="same"),
            nn.Linear(4, 2, bias=False),
        )

    def forward(self, places):
        x = self.conv(self.table(places).mT).mT
        return self.fc(x @ x.mT @ x)


@pytest.fixture
def mixed():
    torch.manual_seed(6)
    model, places = Mixed(), torch.tensor([[0, 3, 4], [1, 1, 2]])
    names = {"table": "s8", "conv": "e2m1/s8", "fc": "s4/u3", product_name("", 0): "s8/e4m3", product_name("", 1): "s5"}
    operands = Operands(MULTIPLIERS, {"steps": "real", "symmetric": False})
    quantize(model, {name: [Precision.parse(each)] for name, each in names.items()}, operands, {"": 2})
    calibrate(model, [places])
    return model.eval(), places


def test_files_hold_it_all(mixed, tmp_path):
    model, places = mixed
    wanted = integers(model, places)
    path = save_integers(model, tmp_path / "new", places)
    assert path == tmp_path / "new" / "integers.json" and len(list(path.parent.iterdir())) == 2
    found = load_integers(path.parent)
    assert list(found) == list(wanted)
    for name, each in wanted.items():
        for field in dataclasses.fields(each):
            ours, theirs = (getattr(one, field.name) for one in (each, found[name]))
            if isinstance(ours, torch.Tensor):
                assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
            else:
                assert ours == theirs
    content = json.loads(path.read_text())
    assert content["schema"] == "hwlut.integers/1" and content["operations"]["conv"]["weight"]["format"] == "e2m1"
    assert content["operations"]["conv"]["geometry"]["padding"] == "same"


def test_wide_formats_in_files(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    quantize(model, {"0": [Precision(Fixed(20), Fixed(24, signed=False))]}, Operands(POWERS, POWERS))
    calibrate(model, [numbers(3, 2, positive=True)])
    save_integers(model, tmp_path)
    assert load_integers(tmp_path)["0"].activation == integers(model)["0"].activation
    assert load_integers(tmp_path)["0"].codes.dtype == torch.int32


def drop(content):
    del content["operations"]["fc"]["inputs"]


def alien(content):
    content["operations"]["fc"]["weight"]["format"] = "q9"


def fewer(content):
    del content["operations"]["fc"]


def older(content):
    content["schema"] = "hwlut.integers/0"


def empty(content):
    content["operations"]["fc"]["weight"] = None


@pytest.mark.parametrize(
    "change, message",
    [
        (drop, "'fc' must be an object of accumulator, activation, geometry, inputs, kind, weight"),
        (alien, "format must be int2 to int16"),
        (fewer, r"tensors must belong to an operation, but not \['fc\.codes', 'fc\.constant'\]"),
        (older, "integers must be an object of schema hwlut.integers/1, not"),
        (empty, "operations must be as save_integers writes them: "),
    ],
)
def test_files_that_are_none_are_refused(mixed, tmp_path, change, message):
    path = save_integers(*(mixed[0], tmp_path))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_integers(tmp_path)


def test_damaged_files_are_refused(mixed, tmp_path):
    path = save_integers(mixed[0], tmp_path)
    tensors = path.with_suffix(".safetensors")
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    with pytest.raises(ValueError, match="tensors must be as they were written; the digest of integers.safetensors is"):
        load_integers(tmp_path)
    tensors.unlink()
    with pytest.raises(ValueError, match="integers.safetensors: no such file$"):
        load_integers(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="integers must be a JSON object: "):
        load_integers(tmp_path)
