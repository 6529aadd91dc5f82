"""Layers of look-ups: every kind equal to its unit bit for bit, gradients, learning, state, refusals."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwlut import Fixed, LutMatmul
from hwlut.codebooks.reservoir import Reservoir
from hwlut.nn import Lookup, LutConv1d, LutConv2d, LutLinear, LutMultiheadAttention, convert
from hwlut.nn.lut.soft import Rows, looked_up, soft_leaves, soft_nearest
from hwlut.quant import Quantizer

ENCODERS = ["l2", "l1", "chebyshev", "tree"]
LOOKUPS = {
    **{encoder: Lookup(k=8, v=3, encoder=encoder) for encoder in ENCODERS},
    "int4": Lookup(k=4, v=5, table_bits=4),
    "int4 tree, one scale": Lookup(k=4, v=2, encoder="tree", table_bits=4, per_output=False),
    "per output": Lookup(k=16, v=4, per_output=True),
    "tied": Lookup(k=8, v=3, tied=True),
    "symmetric power of two": Lookup(k=4, v=3, activations=Quantizer(Fixed(8))),
    "learned": Lookup(k=4, v=3, activations=Quantizer(Fixed(8), steps="real", symmetric=False, source="learned")),
}
each_lookup = pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS)


def made(dense, lookup, *shape, seed=0):
    """The layer that learned from `dense` on random inputs of this shape, and such inputs."""
    torch.manual_seed(seed)
    model = nn.Sequential(dense)
    convert(model, {"0": lookup}, [torch.randn(shape) for _ in range(4)])
    return model[0], torch.randn(shape) * 1.5


def by_the_unit(layer, rows):
    """Results of real rows [n, features] by the layer's unit and the quantizer alone."""
    codes = layer.activation_quantizer.codes(rows)
    return layer.unit()(codes).float() * layer.sum_step()


@each_lookup
@pytest.mark.parametrize("training", [False, True])
def test_linear_layers_are_their_unit(lookup, training):
    layer, x = made(nn.Linear(11, 7), lookup, 3, 16, 11)
    layer.train(training)
    expected = by_the_unit(layer, x.flatten(0, 1)).view(3, 16, 7)
    assert isinstance(layer, LutLinear) and layer.exact
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x.requires_grad_()), expected)
    with torch.no_grad():
        assert torch.equal(layer(x), expected)
    unit = layer.unit("seven")
    assert (unit.name, unit.features, unit.v, unit.k, unit.table_bits) == (
        "seven", 11, lookup.v, lookup.k, lookup.table_bits,
    )  # fmt: skip
    assert torch.equal(layer.indices(x.detach()).long(), unit.encode(layer.activation_quantizer.codes(x.flatten(0, 1))))


CONVOLUTIONS = {
    "3x3": (nn.Conv2d(3, 5, 3, padding=1), (4, 3, 6, 7), 9, 9),
    "1x1": (nn.Conv2d(6, 5, 1, bias=False), (4, 6, 5, 5), 4, 6),
    "stride, dilation": (nn.Conv2d(2, 5, (3, 2), stride=2, dilation=(1, 2), padding=(2, 1)), (4, 2, 9, 8), 6, 6),
    "same, reflect": (nn.Conv2d(2, 5, 3, padding="same", padding_mode="reflect"), (4, 2, 6, 6), 9, 9),
    "1d": (nn.Conv1d(3, 5, 3, padding=1, padding_mode="circular"), (4, 3, 12), 3, 9),
    "1d valid": (nn.Conv1d(5, 2, 1, padding="valid"), (6, 5, 12), 4, 5),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("dense, shape, v, _", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_are_their_unit(dense, shape, v, _, encoder):
    layer, x = made(copy.deepcopy(dense), Lookup(k=8, encoder=encoder), *shape)
    assert isinstance(layer, LutConv1d if len(shape) == 3 else LutConv2d)
    assert layer.v == v
    # Rows by a convolution with the identity, whose order of inputs is that of the weights.
    identity = torch.eye(layer.features).view(layer.features, *dense.weight.shape[1:])
    gather = copy.deepcopy(dense)
    gather.weight, gather.bias = nn.Parameter(identity), None
    rows = gather(x).detach()
    expected = by_the_unit(layer, rows.movedim(1, -1).flatten(0, -2))
    expected = expected.view(*rows.movedim(1, -1).shape[:-1], -1).movedim(-1, 1)
    for training in (False, True):
        layer.train(training)
        assert torch.equal(layer(x), expected)
        assert torch.equal(layer(x[0]), expected[0])
    assert layer(x).shape == dense(x).shape


def test_attention_projects_by_look_ups():
    torch.manual_seed(0)
    dense = nn.MultiheadAttention(12, 3, batch_first=True)
    model = nn.ModuleDict({"attention": dense})
    model.forward = lambda x: model["attention"](x, x, x)[0]
    x = torch.randn(4, 10, 12)
    report = convert(model, {nn.MultiheadAttention: Lookup(k=16, v=3)}, [x])
    layer = model["attention"]
    assert isinstance(layer, LutMultiheadAttention) and layer.exact and "attention" in str(report)
    q, k, v = (by_the_unit(part, x.flatten(0, 1)).view(4, 10, 3, 4).transpose(1, 2)
               for part in (layer.q_proj, layer.k_proj, layer.v_proj))  # fmt: skip
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(40, 12)
    expected = by_the_unit(layer.out_proj, attended).view(4, 10, 12)
    found, weights = layer(x, x, x)
    # The softmax of torch's two ways to it differs in its last bits, which may move a code.
    assert (found - expected).abs().mean() < 0.01 * expected.abs().mean()
    assert weights.shape == (4, 10, 10)
    assert (found - dense(x, x, x)[0]).square().mean() < 0.5 * dense(x, x, x)[0].square().mean()


@pytest.mark.parametrize("encoder", ["l2", "l1", "chebyshev"])
def test_soft_choices_sharpen_to_the_nearest(encoder):
    torch.manual_seed(0)
    x, prototypes = torch.randn(20, 3, 4), torch.randn(3, 8, 4)
    away = (x[:, :, None] - prototypes).abs()
    distance = {"l2": away.square().sum(-1), "l1": away.sum(-1), "chebyshev": away.amax(-1)}[encoder]
    soft = soft_nearest(x, prototypes, torch.tensor(1.5), encoder).permute(2, 0, 1)
    torch.testing.assert_close(soft, (-1.5 * distance).softmax(-1))
    sharp = soft_nearest(x, prototypes, torch.tensor(1e4), encoder).permute(2, 0, 1)
    assert torch.equal(sharp.argmax(-1), distance.argmin(-1)) and sharp.amax(-1).mean() > 0.99


def test_soft_leaves_by_hand():
    # One codebook, two levels: input 1 against 0.5; then input 0 against -1 on the left, 2 on the right.
    x = torch.tensor([[[3.0, 1.0]]])
    thresholds, dimensions = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[1, 0]])

    def right(h):
        return (1 + torch.tanh(torch.tensor(2.0 * h))) / 2

    expected = [(1 - right(0.5)) * (1 - right(4.0)), (1 - right(0.5)) * right(4.0),
                right(0.5) * (1 - right(1.0)), right(0.5) * right(1.0)]  # fmt: skip
    torch.testing.assert_close(
        soft_leaves(x, thresholds, dimensions, torch.tensor(2.0)).flatten(), torch.stack(expected)
    )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_are_those_of_the_soft_product(encoder):
    torch.manual_seed(0)
    n, c, k, v, m = 6, 3, 4, 2, 5
    x, bias = torch.randn(n, c, v), torch.randn(m)
    numbers = torch.randn(c, k - 1) if encoder == "tree" else torch.randn(c, k, v)
    dimensions = torch.randint(0, v, (c, 2))
    table, sharpness, g = torch.randn(c, k, m), torch.tensor(0.7), torch.randn(n, m)

    def soft(x, numbers, sharpness):
        if encoder == "tree":
            return soft_leaves(x, numbers, dimensions, sharpness)
        return soft_nearest(x, numbers, sharpness, encoder)

    direct = [each.clone().requires_grad_() for each in (x, numbers, sharpness, table, bias)]
    # As published: an N x M product of each codebook, held for all of them.
    products = torch.einsum("nck,ckm->cnm", soft(*direct[:3]).permute(2, 0, 1), direct[3])
    (products.sum(0) + direct[4]).backward(g)
    flat = [each.clone().requires_grad_() for each in (x, numbers, sharpness, table, bias)]
    value = torch.randn(n, m)
    rows = Rows(lambda x: x, lambda g: g.permute(2, 0, 1))
    y = looked_up(lambda: value.clone(), soft, rows, *flat)
    assert torch.equal(y, value)
    y.backward(g)
    for ours, theirs in zip(flat, direct):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dense, shape, v, _", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_the_gradient_of_rows_is_that_of_cutting_them(dense, shape, v, _):
    layer = (LutConv1d if len(shape) == 3 else LutConv2d).like(dense, Lookup())
    x = torch.randn(shape, requires_grad=True)
    padded = layer._padded(x, 0.0)
    rows = layer._sub_vectors(layer._rows(padded))
    g = torch.randn_like(rows)
    (wanted,) = torch.autograd.grad(rows, padded, g)
    torch.testing.assert_close(layer._joined(g.permute(1, 2, 0), padded.shape), wanted)


@each_lookup
def test_every_parameter_is_trained(lookup):
    layer, x = made(nn.Linear(11, 7), lookup, 64, 11)
    layer.train()
    x.requires_grad_()
    layer(x).square().mean().backward()
    assert x.grad.abs().max() > 0
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
    names = {name for name, _ in layer.named_parameters() if "quantizer" not in name}
    own = {"thresholds"} if lookup.encoder == "tree" else {"prototypes"}
    assert names == {"temperature", "bias", "weight" if lookup.tied else "table"} | own


def test_padded_inputs_stay_at_zero():
    layer, x = made(nn.Linear(10, 4), Lookup(k=8, v=4), 64, 10)
    assert layer.prototypes[-1, :, 2:].abs().max() == 0
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
    assert layer.prototypes[-1, :, 2:].abs().max() == 0
    assert layer.unit().zero_point == int(layer.activation_quantizer.zero_point)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_training_lowers_the_error(encoder):
    dense = nn.Linear(16, 8)
    layer, x = made(dense, Lookup(k=8, v=4, encoder=encoder), 256, 16)
    optimizer = torch.optim.Adam(layer.parameters(), lr=5e-3)
    with torch.no_grad():
        target = dense(x)
    losses = []
    for _ in range(40):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.9 * losses[0]


def test_learned_numbers_approximate_the_layer():
    torch.manual_seed(0)
    centres = torch.randn(6, 12) * 3
    x = centres[torch.randint(0, 6, (500,))] + 0.01 * torch.randn(500, 12)
    dense = nn.Linear(12, 5)
    for lookup in (Lookup(k=16, v=4), Lookup(k=16, v=4, encoder="tree"), Lookup(k=16, v=4, tied=True)):
        model = nn.Sequential(copy.deepcopy(dense))
        convert(model, {nn.Linear: lookup}, list(x.split(100)))
        error = (model(x) - dense(x)).square().mean() / dense(x).var()
        assert error < 0.02  # six clusters fit sixteen prototypes


def test_the_refit_table_is_better():
    torch.manual_seed(0)
    x = torch.randn(2000, 16) @ torch.randn(16, 16)  # sub-vectors that depend on each other
    dense = nn.Linear(16, 8)
    errors = {}
    for refit in (False, True):
        model = nn.Sequential(copy.deepcopy(dense))
        convert(model, {nn.Linear: Lookup(k=8, v=4, refit=refit)}, [x[:1500]])
        errors[refit] = (model(x[1500:]) - dense(x[1500:])).square().mean().item()
    assert errors[True] < 0.9 * errors[False]


@each_lookup
def test_states_load_into_new_layers(lookup):
    layer, x = made(nn.Linear(11, 7), lookup, 64, 11)
    new = LutLinear(11, 7, lookup=lookup)
    with pytest.raises(RuntimeError, match="^LutLinear must be calibrated first, by hwlut.nn.convert with data$"):
        new(x)
    new.load_state_dict(layer.state_dict())
    assert torch.equal(new.eval()(x), layer.eval()(x)) and new.unit().digest == layer.unit().digest
    assert copy.deepcopy(layer).unit().digest == layer.unit().digest
    conv, images = made(nn.Conv2d(2, 3, 3), lookup, 4, 2, 6, 6)
    again = LutConv2d(2, 3, 3, lookup=lookup)
    again.load_state_dict(conv.state_dict())
    assert torch.equal(again.eval()(images), conv.eval()(images))


def test_kept_tables_follow_every_change():
    layer, x = made(nn.Linear(8, 4), Lookup(k=4, v=4), 32, 8)
    layer.eval()
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before)
        for change in ("table", "prototypes", "bias"):
            getattr(layer, change).mul_(1.7)
            assert not torch.equal(layer(x), before), change
            assert torch.equal(layer(x), by_the_unit(layer, x))
            before = layer(x)
        layer.activation_quantizer.step.mul_(2)
        assert torch.equal(layer(x), by_the_unit(layer, x))


def test_results_as_codes_of_an_output_quantizer():
    for lookup in (Lookup(k=8, v=4), Lookup(k=8, v=4, per_output=True)):
        layer, x = made(nn.Linear(8, 4), lookup, 200, 8)
        after = Quantizer(Fixed(8), steps="real", symmetric=False)
        after.observe(layer(x))
        unit = layer.unit(output=after)
        assert unit.requantize.channels == (4 if lookup.per_output else 1) and unit.output == Fixed(8)
        codes = unit(layer.activation_quantizer.codes(x))
        # The rounding of the ratio to 31 bits and of halves may move a code by one, rarely.
        away = (codes - after.codes(layer(x))).abs()
        assert away.max() <= 1 and (away > 0).float().mean() < 0.02


def test_dtypes_and_autocast():
    layer, x = made(nn.Linear(8, 4), Lookup(k=8, v=4), 32, 8)
    assert layer(x.double()).dtype == torch.float64 and layer(x.half()).dtype == torch.float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16 and torch.equal(found, layer(x).bfloat16())


def test_empty_and_single_rows():
    layer, x = made(nn.Linear(8, 4), Lookup(k=8, v=4), 32, 8)
    assert layer(x[:0]).shape == (0, 4) and layer(x[0]).shape == (4,)


def test_the_sample_is_uniform_and_bounded():
    sample = Reservoir(50, seed=3)
    for start in range(0, 1000, 40):
        sample.take(torch.arange(start, start + 40.0)[:, None])
    rows = sample.rows().flatten()
    assert len(rows) == 50 and len(rows.unique()) == 50 and torch.equal(rows, rows.sort().values)
    assert 350 < float(rows.mean()) < 650
    few = Reservoir(50, seed=3)
    few.take(torch.ones(7, 2))
    assert few.rows().shape == (7, 2)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"k": 3}, ValueError, "k must be a power of two, not 3"),
        ({"k": 512}, ValueError, "k must be from 2 to 256, not 512"),
        ({"v": 0}, ValueError, "v must be from 1 to 4096, not 0"),
        ({"v": 1.5}, TypeError, "v must be an integer, not 1.5"),
        ({"encoder": "cosine"}, ValueError, "encoder must be one of l2, l1, chebyshev, tree, not 'cosine'"),
        ({"table_bits": 6}, ValueError, "table_bits must be 4 or 8, not 6"),
        ({"tied": True, "encoder": "tree"}, ValueError, "tied must not be with encoder tree, whose tables have no"),
        ({"refit": 1}, TypeError, "refit must be true or false, not 1"),
        ({"activations": Fixed(8)}, TypeError, "activations must be a Quantizer, not Fixed"),
        ({"activations": Quantizer(Fixed(4))}, ValueError, "activations must have the format s8, not s4"),
        (
            {"activations": Quantizer(Fixed(8), source="dynamic", steps="real")},
            ValueError,
            "activations must have a static or learned step, which prototypes share, not dynamic",
        ),
        (
            {"activations": Quantizer(Fixed(8), granularity="channel")},
            ValueError,
            "activations must have a step for the tensor, not each channel",
        ),
    ],
)
def test_impossible_lookups_are_refused(options, error, message):
    with pytest.raises(error, match=f"^Lookup {message}"):
        Lookup(**options)


def test_impossible_conversions_are_refused_and_change_nothing():
    dense = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    layers = list(dense)
    cases = [
        ({nn.ReLU: Lookup()}, [torch.randn(32, 8)], "convert module '1': a layer of look-ups must be made of one of"),
        ({"0": Lookup()}, [torch.randn(8, 8)], "calibration of '0': .*at least K rows, 16, not 8"),
        ({"0": Lookup()}, [torch.full((32, 8), torch.nan)], "calibration values must be finite"),
        ({"0": Lookup()}, [], "calibration data must reach every quantizer"),
    ]
    for mapping, data, message in cases:
        with pytest.raises(ValueError, match=message):
            convert(dense, mapping, data)
        assert list(dense) == layers
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ValueError, match="^convert module '0': LutConv2d groups must be 1, not 2$"):
        convert(grouped, {nn.Conv2d: Lookup()}, [torch.randn(1, 4, 5, 5)])
    layer, _ = made(nn.Linear(8, 4), Lookup(k=8, v=4), 32, 8)
    with pytest.raises(ValueError, match=r"^LutLinear input must be \[..., 8\], not \[3, 7\]$"):
        layer(torch.randn(3, 7))
    with pytest.raises(TypeError, match="^LutLinear input must be floating point, not torch.int64$"):
        layer(torch.zeros(3, 8, dtype=torch.int64))


def test_units_are_files_and_hardware_units(tmp_path):
    from hwlut import load

    layer, x = made(nn.Linear(64, 40), Lookup(), 64, 64)
    unit = load(layer.unit("layer").save(tmp_path / "layer.json"))
    assert isinstance(unit, LutMatmul) and unit.digest == layer.unit().digest
    assert torch.equal(unit(layer.activation_quantizer.codes(x)), layer.accumulators(x))
