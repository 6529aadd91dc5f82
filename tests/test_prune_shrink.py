"""Masked and smaller models of groups written by hand: against slices by hand, and against each other."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwlut.graph import trace
from hwlut.nn.quantized import Operands, quantize, quantized_operations
from hwlut.prune import Coupling, Groups, Mask, Part, difference, mask_, mismatches, shrink
from hwlut.prune import groups as find
from hwlut.prune.places import kept_of
from hwlut.prune.tried_attributes import settle_attributes
from hwlut.prune.unquantized import unquantized
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision


def part(tensor, dim, groups):
    return Part(tensor, dim, torch.tensor(list(groups), dtype=torch.int64))


def coupling(name, size, parts, results):
    """Parts and results as (name, dimension, group at each place)."""
    return Coupling(
        name=name,
        size=size,
        parts=tuple(part(*each) for each in parts),
        results=tuple(part(*each) for each in results),
    )


def grouped(model, sample, *couplings):
    return Groups(couplings={each.name: each for each in couplings}, left={}, graph=trace(model, sample))


def each(groups, places):
    """Every group on as many places in a row."""
    return [group for group in range(groups) for _ in range(places)]


class Maps(nn.Module):
    """Six channels: convolution, normalizations, one of groups of two, a depthwise and a grouped one, flattened."""

    def __init__(self, between=None):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 9, 1, groups=3)
        self.groups = nn.GroupNorm(3, 9)
        self.last = nn.Linear(9 * 4, 5)

    def forward(self, x):
        x = self.groups(self.grouped(self.depthwise(torch.relu(self.norm(self.first(x))))))
        return self.last(x.flatten(1))


def maps():
    torch.manual_seed(0)
    model = Maps().eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.3, 1.2)
    sample = torch.randn(2, 3, 2, 2)
    twos, threes = each(3, 2), each(3, 3)
    parts = [("first.weight", 0, twos), ("first.bias", 0, twos)]
    parts += [(f"norm.{name}", 0, twos) for name in ("weight", "bias", "running_mean", "running_var")]
    parts += [("depthwise.weight", 0, twos), ("depthwise.bias", 0, twos)]
    parts += [(f"{name}.{kind}", 0, threes) for name in ("grouped", "groups") for kind in ("weight", "bias")]
    parts += [("last.weight", 1, each(3, 12))]
    results = [(name, 1, twos) for name in ("conv2d", "batch_norm", "relu", "conv2d_1")]
    results += [("conv2d_2", 1, threes), ("group_norm", 1, threes), ("flatten", 1, each(3, 12))]
    return model, grouped(model, sample, coupling("first", 3, parts, results)), sample


def test_what_a_part_keeps():
    places = part("weight", 0, [0, 1, -1, 2, 1])
    assert kept_of([(places, [1])])["weight"][0].tolist() == [0, 2, 3]
    assert kept_of([(places, [])]) == {}
    assert kept_of([(places, [1]), (part("weight", 0, [-1, 0, -1, 0, 0]), [0])])["weight"][0].tolist() == [0, 2]


def test_a_mask_is_zero_along_every_part_and_leaves_what_would_be_divided_by():
    model, groups, _ = maps()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask_(model, groups, {"first": [1]})
    after = model.state_dict()
    assert after["first.weight"][:, 0, 0, 0].ne(0).tolist() == [True, True, False, False, True, True]
    assert after["last.weight"].ne(0).all(0).tolist() == [True] * 12 + [False] * 12 + [True] * 12
    assert after["norm.running_mean"].ne(0).tolist() == [True, True, False, False, True, True]
    assert torch.equal(after["norm.running_var"], before["norm.running_var"])
    for name in ("first.weight", "first.bias", "norm.weight", "norm.bias", "depthwise.weight", "depthwise.bias"):
        assert not after[name][2:4].any() and torch.equal(after[name][[0, 1, 4, 5]], before[name][[0, 1, 4, 5]])
    for name in ("grouped.weight", "grouped.bias", "groups.weight", "groups.bias"):
        assert not after[name][3:6].any() and torch.equal(after[name][6:], before[name][6:])
    assert torch.equal(after["last.bias"], before["last.bias"])


def test_a_mask_can_be_kept_and_zeroes_again():
    model, groups, _ = maps()
    mask = Mask(model, groups, {"first": [2]})
    assert model.first.weight[4:].all()
    mask.zero_()
    with torch.no_grad():
        model.first.weight.add_(1)
    mask.zero_()
    assert not model.first.weight[4:].any() and model.first.weight[:4].all()


@pytest.mark.parametrize(
    "removed, message",
    [
        ({"second": [0]}, "removed must name couplings of the model, not 'second'"),
        ({"first": [3]}, "removed groups of 'first' must be from 0 to 2, not 3"),
        ({"first": [-1]}, "removed groups of 'first' must be from 0 to 2, not -1"),
        ({"first": [0, 1, 2, 0]}, "removed groups of 'first' must leave one at least, not be all 3"),
    ],
)
def test_groups_that_cannot_be_removed(removed, message):
    model, groups, sample = maps()
    for act in (lambda: mask_(model, groups, removed), lambda: shrink(model, groups, removed, sample)):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            act()


def test_groups_of_another_model_and_groups_that_are_no_numbers():
    model, groups, sample = maps()
    message = "groups must be of the model: 'first.weight' must have 6 places along dimension 0, but is of shape (7, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        shrink(nn.ModuleDict({"first": nn.Linear(3, 7)}), groups, {"first": [0]}, sample)
    with pytest.raises(ValueError, match="^groups must be of the model: 'first.weight' .*, but is not there$"):
        mask_(nn.Linear(2, 2), groups, {"first": [0]})
    with pytest.raises(TypeError, match=r"^removed groups of 'first' must be integers, not 0\.5$"):
        mask_(model, groups, {"first": [0.5]})


def test_a_smaller_model_is_what_slices_by_hand_make():
    model, groups, sample = maps()
    model.first.weight.requires_grad_(False)
    model(sample).sum().backward()
    smaller = shrink(model, groups, {"first": [1]}, sample)
    stay, out, flat = [0, 1, 4, 5], [0, 1, 2, 6, 7, 8], [*range(12), *range(24, 36)]
    state = smaller.state_dict()
    assert torch.equal(state["first.weight"], model.first.weight[stay])
    assert torch.equal(state["norm.running_var"], model.norm.running_var[stay])
    assert torch.equal(state["depthwise.weight"], model.depthwise.weight[stay])
    assert torch.equal(state["grouped.weight"], model.grouped.weight[out])
    assert torch.equal(state["last.weight"], model.last.weight[:, flat])
    assert (smaller.first.out_channels, smaller.norm.num_features, smaller.last.in_features) == (4, 4, 24)
    depthwise, grouped_, groups_ = smaller.depthwise, smaller.grouped, smaller.groups
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (4, 4, 4)
    assert (grouped_.in_channels, grouped_.out_channels, grouped_.groups) == (4, 6, 2)
    assert (groups_.num_groups, groups_.num_channels) == (2, 6)
    assert not smaller.first.weight.requires_grad and smaller.last.weight.requires_grad
    assert all(parameter.grad is None for parameter in smaller.parameters())
    assert model.last.in_features == 36 and model.last.weight.grad is not None

    mask_(model, groups, {"first": [1]})
    assert torch.allclose(smaller(sample), model(sample), atol=1e-5)
    assert difference(model, smaller, sample) < 1e-12
    smaller.train()(sample).sum().backward()


def test_a_difference_is_seen():
    model, groups, sample = maps()
    smaller = shrink(model, groups, {"first": [1]}, sample)
    assert difference(model, smaller, sample) > 1e-3
    mask_(model, groups, {"first": [1]})
    with torch.no_grad():
        smaller.last.bias[0] += 1
    gap = difference(model, smaller, sample)
    assert gap == pytest.approx(1 / float(model(sample).detach().abs().max()), rel=1e-4)
    assert difference(nn.Linear(2, 3), nn.Linear(2, 4), torch.ones(1, 2)) == float("inf")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(self.inner(self.table(x)))


def test_tied_parameters_stay_tied():
    model, sample = Tied(), torch.tensor([[1, 2, 3]])
    parts = [("table.weight", 1, range(4)), ("inner.weight", 1, range(4)), ("inner.weight", 0, range(4))]
    parts.append(("inner.bias", 0, range(4)))
    results = [("embedding", 2, range(4)), ("linear", 2, range(4))]
    groups = grouped(model, sample, coupling("table", 4, parts, results))
    smaller = shrink(model, groups, {"table": [0, 2]}, sample)
    assert smaller.head.weight is smaller.table.weight
    assert torch.equal(smaller.table.weight, model.table.weight[:, [1, 3]])
    assert torch.equal(smaller.inner.weight, model.inner.weight[[1, 3]][:, [1, 3]])
    assert (smaller.table.embedding_dim, smaller.head.in_features, smaller.head.out_features) == (2, 2, 7)
    assert len(list(smaller.parameters())) == 3


def test_features_and_heads_of_attention_whose_weights_nobody_reads():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Linear(3, 8), nn.Linear(8, 1)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            x = self.first(x)
            return self.out(x + self.attention(x, x, x)[0])

    model, sample = Block(), torch.randn(2, 5, 3)
    smaller = shrink(model, find(model, sample), {"first": [0, 1, 6], "attention.q_proj": [1]}, sample)
    attention = smaller.attention
    assert (attention.embed_dim, attention.kdim, attention.vdim, attention.num_heads) == (5, 5, 5, 1)
    assert tuple(attention.q_proj.weight.shape) == (4, 5)


def test_a_model_that_makes_real_numbers_of_bytes():
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 1, 1)

        def forward(self, x):
            return self.out(self.first(x.to(torch.float32) / 255).relu().float())

    torch.manual_seed(0)
    model, sample = Images(), torch.randint(0, 256, (2, 1, 5, 5), dtype=torch.uint8)
    assert shrink(model, find(model, sample), {"first": [2, 5]}, sample).first.out_channels == 4


MOVED = {
    "channel shuffle": lambda y: F.channel_shuffle(y, 2),
    "pixel shuffle": lambda y: F.pixel_shuffle(y, 2),
    "flip": lambda y: y.flip(1),
    "padding": lambda y: F.pad(y, (0, 0, 0, 0, 1, 2)),
    "repeat": lambda y: y.repeat(1, 2, 1, 1),
}


@pytest.mark.parametrize("kind", MOVED)
def test_what_moves_channels_moves_those_that_stay(kind):
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 16, 1)
            self.out = nn.LazyConv2d(1, 1)

        def forward(self, x):
            return self.out(MOVED[kind](self.first(x)))

    model, sample = Moving(), torch.randn(2, 3, 4, 4)
    model(sample)
    found = find(model, sample)
    size = len(found)
    for removed in ([0], [1, 2]):
        smaller = shrink(model, found, {"first": removed}, sample)
        assert smaller.first.out_channels == 16 // size * (size - len(removed))


def test_couplings_that_share_a_dimension():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(6, 2)

        def forward(self, x):
            return self.c(torch.cat([self.a(x), self.b(x)], -1))

    model, sample, no = Joined(), torch.randn(4, 2), [-1, -1, -1]
    couplings = [
        coupling(
            name,
            3,
            [(f"{name}.weight", 0, range(3)), (f"{name}.bias", 0, range(3)), ("c.weight", 1, row)],
            [(linear, 1, range(3)), ("cat", 1, row)],
        )
        for name, linear, row in (("a", "linear", [0, 1, 2, *no]), ("b", "linear_1", [*no, 0, 1, 2]))
    ]
    smaller = shrink(model, grouped(model, sample, *couplings), {"a": [0], "b": [1, 2]}, sample)
    assert torch.equal(smaller.c.weight, model.c.weight[:, [1, 2, 3]])
    assert (smaller.a.out_features, smaller.b.out_features, smaller.c.in_features) == (2, 1, 3)


class Attention(nn.Module):
    """Heads that the forward reshapes to: of the module, or of its config."""

    def __init__(self, config, own=True):
        super().__init__()
        self.config = config
        self.width, self.inner, self.unread = 8, 8, 4
        if own:
            self.heads = config.heads
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        batch, tokens, _ = x.shape
        heads = self.heads if "heads" in vars(self) else self.config.heads
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, heads, self.inner // heads).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-1, -2)).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(batch, tokens, self.inner))


def heads_of(path, number, later=""):
    """The coupling of four heads of two in an `Attention`, and the names that its operations have in the graph."""
    rows, four, two = each(4, 2) * 3, range(4), each(4, 2)
    parts = [(f"{path}.qkv.weight", 0, rows), (f"{path}.qkv.bias", 0, rows), (f"{path}.out.weight", 1, two)]
    operations = [("linear", 2 * number, 2, rows), ("reshape", 2 * number, 3, four), ("permute", number, 2, four)]
    operations += [("unbind", number, 1, four), ("transpose", 2 * number, 1, four), ("softmax", number, 1, four)]
    operations += [("matmul", 2 * number, 1, four), ("matmul", 2 * number + 1, 1, four)]
    operations += [("transpose", 2 * number + 1, 2, four), ("reshape", 2 * number + 1, 2, two)]
    results = [(f"{kind}_{count}" if count else kind, dim, row) for kind, count, dim, row in operations]
    return coupling(f"{path}.qkv", 4, parts, results)


def attentions(own=True):
    torch.manual_seed(1)
    config = SimpleNamespace(heads=4, depth=2)
    model, sample = nn.Sequential(Attention(config, own), Attention(config, own)), torch.randn(2, 3, 8)
    return model, grouped(model, sample, heads_of("0", 0), heads_of("1", 1)), sample


def test_modules_of_a_class_keep_numbers_of_heads_of_their_own():
    model, groups, sample = attentions()
    removed = {"0.qkv": [0, 2], "1.qkv": [3]}
    smaller = shrink(model, groups, removed, sample)
    assert [(block.heads, block.inner, block.width, block.unread) for block in smaller] == [(2, 4, 8, 4), (3, 6, 8, 4)]
    assert smaller[0].config is smaller[1].config and smaller[0].config.heads == 4
    assert [block.heads for block in model] == [4, 4]
    mask_(model, groups, removed)
    assert torch.allclose(smaller(sample), model(sample), atol=1e-6)


def test_a_config_that_is_read_becomes_the_modules_own():
    model, groups, sample = attentions(own=False)
    smaller = shrink(model, groups, {"1.qkv": [1]}, sample)
    assert [block.config.heads for block in smaller] == [4, 3]
    assert smaller[1].config.depth == 2 and model[1].config.heads == 4


def test_a_size_written_into_the_code_is_refused_with_its_line():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 6), nn.Linear(6, 1)
            self.six = 6

        def forward(self, x):
            return self.b(self.a(x).view(-1, 2, 3).flatten(1))

    model, sample = nn.Sequential(Fixed()), torch.randn(4, 2)
    parts = [("0.a.weight", 0, range(6)), ("0.a.bias", 0, range(6)), ("0.b.weight", 1, range(6))]
    results = [("linear", 1, range(6)), ("view", 2, range(3)), ("flatten", 1, range(6))]
    groups = grouped(model, sample, coupling("0.a", 6, parts, results))
    view = groups.graph["view"]
    message = (
        f"shrink module '0' (Fixed) must keep the sizes of view ({view.line}), 4x2x3 to be 4x2x2, in attributes that"
        " can be changed; none helps (shape "
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        shrink(model, groups, {"0.a": [2]}, sample)


def test_what_was_tried_in_vain_is_undone():
    model, groups, sample = attentions()
    before = copy.deepcopy([vars(block)["inner"] for block in model])
    with pytest.raises(ValueError, match="none helps"):
        settle_attributes(model, groups, {"0.qkv": (0,)}, sample)
    assert [(block.heads, block.inner) for block in model] == [(4, inner) for inner in before]


def test_a_difference_is_refused_with_the_first_operation():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    sample = torch.randn(5, 3)
    parts = [(f"{name}.{kind}", 0, range(4)) for name in "01" for kind in ("weight", "bias")]
    parts.append(("2.weight", 1, range(4)))
    groups = grouped(model, sample, coupling("0", 4, parts, [("linear", 1, range(4)), ("layer_norm", 1, range(4))]))
    message = r"^shrink result must be equal to the masked model, but differs by .*e.*, first in layer_norm of '1' \("
    with pytest.raises(ValueError, match=message):
        shrink(model, groups, {"0": [0]}, sample)


@pytest.mark.parametrize("source", ["static", "learned"])
def test_steps_of_channels_go_with_them(source):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))
    weights = {"steps": "real", "granularity": "channel", "source": source}
    activations = {"steps": "real", "source": source, "symmetric": False}
    quantize(model, {name: [Precision.parse("8")] for name in "02"}, Operands(weights, activations))
    sample = torch.randn(16, 3)
    calibrate(model, [sample])
    parts = [("0.weight", 0, range(6)), ("0.bias", 0, range(6)), ("2.weight", 1, range(6))]
    with unquantized(model):
        groups = grouped(model, sample, coupling("0", 6, parts, [("linear", 1, range(6)), ("relu", 1, range(6))]))
    smaller = shrink(model, groups, {"0": [1, 4]}, sample)

    def steps(model, path):
        [quantizer] = quantized_operations(model)[path].weight_choice.quantizers.values()
        return quantizer.step

    assert torch.equal(steps(smaller, "0"), steps(model, "0")[[0, 2, 3, 5]])
    assert isinstance(steps(smaller, "0"), nn.Parameter) == (source == "learned")
    assert torch.equal(steps(smaller, "2"), steps(model, "2"))
    before = steps(model, "0").clone()
    mask_(model, groups, {"0": [1, 4]})
    assert torch.equal(steps(model, "0"), before)
    assert difference(model, smaller, sample, quantized=True) < 1e-10
    assert mismatches(model, smaller, sample, groups, {"0": [1, 4]}) == 0
    with torch.no_grad():
        smaller[0].bias[1] += 10
    assert mismatches(model, smaller, sample, groups, {"0": [1, 4]}) > 0.05
    smaller(sample).sum().backward()
