"""Products of activations and multi-head attention by approximate multipliers."""

import copy

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.nn import Approximate, ApproxLinear, ApproxMatmul, ApproxMultiheadAttention, approx_bmm, convert, restore
from hwlut.quant import Quantizer, calibrate
from hwlut.units import Multiplier

S8 = Multiplier(family="exact", signed=True, name="exact_s8")
U8 = Multiplier(family="exact", name="exact_u8")
S16 = Multiplier(family="exact", bits=16, signed=True, name="exact_s16")
DRUM = Multiplier(family="drum", signed=True, k=3, name="drum_8")

SHAPES = {
    "matrices": ((4, 5), (5, 3)),
    "batches": ((2, 3, 4, 5), (2, 3, 5, 2)),
    "x broadcasts": ((4, 5), (2, 5, 3)),
    "w broadcasts": ((2, 1, 4, 5), (3, 5, 3)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("multiplier", [S8, U8, DRUM], ids=lambda unit: unit.name)
def test_bmm_is_the_sum_of_products(shape, multiplier):
    torch.manual_seed(0)
    x, w = (torch.randn(sizes, requires_grad=True) for sizes in SHAPES[shape])
    module = ApproxMatmul(multiplier=multiplier)
    assert module.exact
    y = module(x, w)
    (cx, sx, zx), (cw, sw, zw) = module.activation_quantizer.quantize(x), module.weight_quantizer.quantize(w)
    a, b = cx[..., None].long(), cw[..., None, :, :].long()
    total = (multiplier(*torch.broadcast_tensors(a, b)).long() - zw * a - zx * b + zx * zw).sum(-2)
    assert torch.equal(y, total.float() * (sx * sw))
    assert torch.equal(approx_bmm(x, w, multiplier), y)
    y.square().sum().backward()
    got = x.grad, w.grad
    real_x, real_w = (torch.tensor(q.values().tolist(), requires_grad=True) for q in _quantized(module, x, w))
    ((real_x @ real_w) * 2 * y.detach()).sum().backward()
    for grad, want in zip(got, (real_x.grad, real_w.grad)):
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-4)


def _quantized(module, x, w):
    return module.activation_quantizer.quantize(x), module.weight_quantizer.quantize(w)


def test_bmm_with_steps_for_rows_and_columns():
    torch.manual_seed(0)
    x, w = torch.randn(2, 4, 5) * torch.logspace(-2, 2, 4)[:, None], torch.randn(5, 3) * torch.tensor([0.01, 1, 100])
    rows = Quantizer(U8.a, steps="real", symmetric=False, granularity="token", source="dynamic")
    columns = Quantizer(U8.b, steps="real", symmetric=False, granularity="channel", axis=-1, source="dynamic")
    want = (rows(x.double()) @ columns(w.double())).float()
    torch.testing.assert_close(approx_bmm(x, w, U8, rows, columns), want, rtol=1e-6, atol=1e-6)
    along = Quantizer(U8.b, steps="real", symmetric=False, granularity="channel", axis=0, source="dynamic")
    with pytest.raises(ValueError, match=r"^approx_bmm w must have one step along K, not 5$"):
        approx_bmm(x, w, U8, rows, along)
    with pytest.raises(ValueError, match=r"^approx_bmm x must have at least two dimensions, not \[5\]$"):
        approx_bmm(x[0, 0], w, U8)
    with pytest.raises(TypeError, match=r"^approx_bmm w must be floating point, not torch.int64$"):
        approx_bmm(x, w.long(), U8)
    with pytest.raises(TypeError, match=r"^approx_bmm x must be a tensor, not list$"):
        approx_bmm([[1.0]], w, U8)
    with pytest.raises(TypeError, match=r"^ApproxMatmul w must be a tensor, not NoneType$"):
        ApproxMatmul(multiplier=U8)(x, None)
    with pytest.raises(ValueError, match=r"^Approximate activations must have the multiplier's format u8, not s8$"):
        approx_bmm(x, w, U8, Quantizer(Fixed(8)))


def close(got, want, part=1e-3):
    """Close to torch's, at 16 bits."""
    assert got.shape == want.shape
    assert (got - want).abs().max() < part * want.abs().max() + 1e-6


ATTENTION = {
    "plain": {},
    "batch first": {"batch_first": True},
    "other sizes": {"kdim": 6, "vdim": 10, "bias": False},
    "kv bias": {"add_bias_kv": True, "add_zero_attn": True},
}


@pytest.mark.parametrize("shape", ATTENTION)
def test_attention_is_close_to_torch(shape):
    torch.manual_seed(0)
    options = ATTENTION[shape]
    plain = nn.MultiheadAttention(8, 2, **options)
    for bias in (plain.in_proj_bias, plain.out_proj.bias, plain.bias_k, plain.bias_v):
        if bias is not None:
            nn.init.normal_(bias, std=0.3)
    module = ApproxMultiheadAttention.of(copy.deepcopy(plain), Approximate(S16))
    sizes = (5, 3), (7, 3)
    if options.get("batch_first"):
        sizes = [size[::-1] for size in sizes]
    q = torch.randn(*sizes[0], 8)
    k, v = torch.randn(*sizes[1], options.get("kdim", 8)), torch.randn(*sizes[1], options.get("vdim", 8))
    hidden = torch.tensor([[0] * 7, [0] * 5 + [1] * 2, [1] * 3 + [0] * 4]).bool()
    for masks in (
        {},
        {"attn_mask": torch.ones(5, 7).triu(3).bool()},
        {"attn_mask": torch.randn(6, 5, 7), "key_padding_mask": -1e9 * hidden, "average_attn_weights": False},
        {"key_padding_mask": hidden, "need_weights": False},
        {"attn_mask": torch.zeros(5, 7).masked_fill(torch.ones(5, 7).triu(3).bool(), -torch.inf), "is_causal": True},
    ):
        want, shown = plain(q, k, v, **masks)
        got, weights = module(q, k, v, **masks)
        close(got, want)
        assert (weights is None) == (shown is None)
        if shown is not None:
            close(weights, shown)
    first = (lambda x: x[0]) if options.get("batch_first") else (lambda x: x[:, 0])
    (want, shown), (got, weights) = (layer(first(q), first(k), first(v)) for layer in (plain, module))
    close(got, want)
    close(weights, shown)


def test_attention_trains_like_torch():
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(8, 2, batch_first=True)
    module = ApproxMultiheadAttention.of(copy.deepcopy(plain), Approximate(S16))
    x = torch.randn(2, 5, 8, requires_grad=True)
    goal = torch.randn(2, 5, 8)
    grads = []
    for layer in (plain, module):
        x.grad = None
        (layer(x, x, x)[0] * goal).sum().backward()
        grads.append(x.grad)
    close(grads[1], grads[0], 0.01)
    joined = torch.cat([p.weight.grad for p in (module.q_proj, module.k_proj, module.v_proj)])
    close(joined, plain.in_proj_weight.grad, 0.01)
    close(module.q_proj.bias.grad, plain.in_proj_bias.grad[:8], 0.01)
    with pytest.raises(ValueError, match=r"^ApproxMultiheadAttention attn_mask must be given beside is_causal$"):
        module(x, x, x, is_causal=True)
    with pytest.raises(
        TypeError, match=r"^ApproxMultiheadAttention masks must be of bools or floats, not torch.int64$"
    ):
        module(x, x, x, attn_mask=torch.ones(5, 5).long())


WRONG = {
    "query of four dimensions": (((1, 2, 4, 8),) * 3, {}, "query must have two dimensions, or three with a batch, not"),
    "query": (((2, 4, 6), (2, 4, 8), (2, 4, 8)), {}, "query must be of shape [2, 4, 8], not [2, 4, 6]"),
    "key without a batch": (((2, 4, 8), (4, 8), (4, 8)), {}, "key must have 3 dimensions like query, not [4, 8]"),
    "key of one batch": (((3, 4, 8), (1, 4, 8), (1, 4, 8)), {}, "key must be of shape [3, 4, 8], not [1, 4, 8]"),
    "value of another length": (
        ((2, 4, 8), (2, 5, 8), (2, 6, 8)),
        {},
        "value must be of shape [2, 5, 8], not [2, 6, 8]",
    ),
    "row": (((3, 4, 8),) * 3, {"attn_mask": (1, 4)}, "attn_mask must be of shape [4, 4] or [6, 4, 4], not [1, 4]"),
    "column": (((3, 4, 8),) * 3, {"attn_mask": (4, 1)}, "attn_mask must be of shape [4, 4] or [6, 4, 4], not [4, 1]"),
    "one dimension": (((3, 4, 8),) * 3, {"attn_mask": (4,)}, "attn_mask must be of shape [4, 4] or [6, 4, 4], not [4]"),
    "batch of masks": (
        ((3, 4, 8),) * 3,
        {"attn_mask": (3, 4, 4)},
        "attn_mask must be of shape [4, 4] or [6, 4, 4], not [3, 4, 4]",
    ),
    "heads": (((4, 8),) * 3, {"attn_mask": (4, 4, 4)}, "attn_mask must be of shape [4, 4] or [2, 4, 4], not"),
    "padding of one": (
        ((3, 4, 8),) * 3,
        {"key_padding_mask": (1, 4)},
        "key_padding_mask must be of shape [3, 4], not [1, 4]",
    ),
    "short padding": (
        ((3, 4, 8),) * 3,
        {"key_padding_mask": (3, 1)},
        "key_padding_mask must be of shape [3, 4], not [3, 1]",
    ),
    "padding of a batch": (((4, 8),) * 3, {"key_padding_mask": (1, 4)}, "key_padding_mask must be of shape [4], not"),
}


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "length first"])
@pytest.mark.parametrize("label", WRONG)
def test_attention_refuses_what_torch_refuses(label, batch_first):
    shapes, masks, message = WRONG[label]
    inputs = [torch.randn(shape) for shape in shapes]
    masks = {name: torch.zeros(shape) for name, shape in masks.items()}
    module = ApproxMultiheadAttention(8, 2, batch_first=batch_first, multiplier=S8)
    if not batch_first:  # all that is shown has the batch second
        inputs = [x.transpose(0, 1) if x.dim() == 3 else x for x in inputs]
        message = message.split(" must ")[0]
    with pytest.raises(ValueError) as caught:
        module(*inputs, **masks)
    assert str(caught.value).startswith(f"ApproxMultiheadAttention {message}")
    with pytest.raises((AssertionError, RuntimeError)):
        module.restored()(*inputs, **masks)
    with pytest.raises(TypeError, match=r"^ApproxMultiheadAttention value must be a tensor, not list$"):
        module(inputs[0], inputs[1], [1.0])
    with pytest.raises(TypeError, match=r"^ApproxMultiheadAttention attn_mask must be a tensor, not bool$"):
        module(*[torch.randn(4, 8)] * 3, attn_mask=True)


@pytest.mark.parametrize("multiplier", [S8, U8, DRUM], ids=lambda unit: unit.name)
def test_attention_multiplies_by_the_multiplier_alone(multiplier):
    module = ApproxMultiheadAttention(8, 2, batch_first=True, multiplier=multiplier)
    parts = [type(child) for child in module.modules() if getattr(child, "multiplier", None) == multiplier]
    assert parts == [ApproxLinear] * 4 + [ApproxMatmul] * 2 and module.exact
    x = torch.randn(2, 5, 8)
    assert torch.equal(module(x, x, x)[0], module.eval()(x, x, x)[0])
    if multiplier is DRUM:
        exact = ApproxMultiheadAttention.of(module.restored(), Approximate(S8))
        assert not torch.equal(exact(x, x, x)[0], module(x, x, x)[0])


def test_static_attention_is_calibrated():
    quantizer = Quantizer(Fixed(8), steps="real", method="minmax")
    module = ApproxMultiheadAttention(8, 2, batch_first=True, multiplier=S8, activations=quantizer)
    assert module.scores.weight_quantizer.method == "minmax" and not module.scores.weight_quantizer.calibrated
    x = torch.randn(2, 5, 8)
    calibrate(module, [(x, x, x)])
    assert module.scores.weight_quantizer.calibrated and module.context.activation_quantizer.calibrated
    assert module(x, x, x)[0].isfinite().all()


@pytest.mark.parametrize("shape", ATTENTION)
def test_attention_is_restored(shape):
    plain = nn.Sequential(nn.MultiheadAttention(8, 2, dropout=0.3, **ATTENTION[shape]))
    state, before = copy.deepcopy(plain.state_dict()), repr(plain)
    convert(plain, S8)
    assert type(plain[0]) is ApproxMultiheadAttention
    restore(plain)
    assert repr(plain) == before and plain.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    assert plain[0].dropout == 0.3 and plain[0].batch_first == ATTENTION[shape].get("batch_first", False)


@pytest.mark.parametrize("key", ["multiplier", "type", "name"])
def test_attention_is_converted_again_as_a_whole(key):
    torch.manual_seed(0)
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "product": ApproxMatmul(multiplier=S8)})
    convert(model, S8)
    fresh = nn.ModuleDict({"attention": model["attention"].restored()})
    parameters = dict(model.named_parameters())
    mapping = {"multiplier": DRUM, "type": {nn.MultiheadAttention: DRUM}, "name": {"attention": DRUM}}[key]
    report = convert(model, mapping)
    assert [entry.name for entry in report.replaced] == ["attention", "product"][: 1 + (key == "multiplier")]
    parts = [child.multiplier for child in model["attention"].modules() if hasattr(child, "multiplier")]
    assert parts == [DRUM] * 6
    assert model["product"].multiplier == (DRUM if key == "multiplier" else S8)
    after = dict(model.named_parameters())
    assert after.keys() == parameters.keys() and all(after[name] is parameters[name] for name in after)
    convert(fresh, DRUM)
    x = torch.randn(3, 2, 8)
    assert torch.equal(model["attention"](x, x, x)[0], fresh["attention"](x, x, x)[0])


def test_parts_of_an_attention_are_found_by_name():
    model = nn.ModuleDict({"attention": ApproxMultiheadAttention(8, 2, multiplier=S8)})
    convert(model, {"attention.*_proj": DRUM, "attention.scores": DRUM})
    parts = {name: child.multiplier for name, child in model["attention"].named_children()}
    assert parts.pop("context") is S8 and set(parts.values()) == {DRUM} and len(parts) == 5


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
@pytest.mark.parametrize("shape", ATTENTION)
def test_attention_loads_a_state_of_torch(shape, strict):
    plain = nn.Sequential(nn.MultiheadAttention(8, 2, **ATTENTION[shape]))
    module = nn.Sequential(ApproxMultiheadAttention(8, 2, multiplier=S8, **ATTENTION[shape]))
    state = plain.state_dict()
    keys = list(state)
    module.load_state_dict(state, strict=strict)
    assert list(state) == keys
    back = module[0].restored().state_dict()
    assert back.keys() == plain[0].state_dict().keys()
    assert all(torch.equal(value, state[f"0.{name}"]) for name, value in back.items())
    with pytest.raises(RuntimeError, match="size mismatch for 0.q_proj.weight"):
        module.load_state_dict(nn.Sequential(nn.MultiheadAttention(4, 2, **ATTENTION[shape])).state_dict())


@pytest.mark.filterwarnings("ignore:.*nested tensor:UserWarning")
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("what", ["all", "linear"])
def test_transformers_compute_with_the_new_layers_in_evaluation(what, padded):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 2)}).eval()
    x = torch.randn(2, 5, 8)
    options = {"src_key_padding_mask": torch.tensor([[0] * 5, [0] * 3 + [1] * 2]).bool()} if padded else {}
    with torch.no_grad():
        before = model["encoder"](x, **options)
        report = convert(model, DRUM if what == "all" else {nn.Linear: DRUM})
        names = [entry.name.rpartition(".")[2] for entry in report.replaced]
        assert names == ["self_attn", "linear1", "linear2"][what == "linear" :] * 2
        after = model["encoder"](x, **options)
        want = model.train()["encoder"](x, **options)  # never by a kernel of its own
    visible = ~options["src_key_padding_mask"] if padded else torch.ones(2, 5).bool()
    torch.testing.assert_close(after[visible], want[visible], rtol=0, atol=1e-5)
    before, after = before[visible], after[visible]
    assert not torch.allclose(before, after, atol=1e-3)


KERNELS = ["activation_relu_or_gelu", "use_nested_tensor", "enable_nested_tensor"]


def kernels(model):
    """What torch's encoders choose their kernels by."""
    return [{name: getattr(module, name, None) for name in KERNELS} for module in model.modules()]


def test_restored_encoders_have_their_kernels_again():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    model = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 2)}).eval()
    state, x = copy.deepcopy(vars(model["encoder"])), torch.randn(2, 5, 8)
    known = kernels(model)
    with torch.no_grad():
        want = model["encoder"](x)
        convert(model, S8)
        convert(model, DRUM)
        replaced = kernels(model)
        assert known != replaced
        with pytest.raises(ValueError, match="calibration data must reach every quantizer"):
            convert(model, Approximate(S8, Quantizer(Fixed(8))), [])
        assert kernels(model) == replaced
        model = copy.deepcopy(model)
        restore(model)
        assert kernels(model) == known and vars(model["encoder"]).keys() == state.keys()
        assert torch.equal(model["encoder"](x), want)
    with pytest.raises(ValueError, match="calibration data must reach every quantizer"):
        convert(model, Approximate(S8, Quantizer(Fixed(8))), [])
    assert kernels(model) == known and vars(model["encoder"]).keys() == state.keys()


def test_restored_encoders_call_what_else_was_replaced():
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True)
    model = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 2)}).eval()
    known = kernels(model)
    convert(model, {"encoder.layers.0.norm1": lambda norm: nn.Identity()})
    replaced = kernels(model)
    convert(model, {nn.Linear: S8})
    with pytest.raises(ValueError, match="calibration data must reach every quantizer"):
        convert(model, {nn.Linear: Approximate(S8, Quantizer(Fixed(8)))}, [])
    restore(model)
    assert kernels(model) == replaced != known
    with torch.no_grad():
        model["encoder"](torch.randn(2, 5, 8))
