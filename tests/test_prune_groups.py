"""Groups of channels: hand-worked tables of every rule, families of models, another tool's counts."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.quantized import QuantizedLayer, quantize, quantized_operations
from hwlut.plot.prune import groups_figure, stages_figure
from hwlut.prune import groups
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from tests.pruning import check_removable, table
from tests.test_graph import MODELS, hugging_face


class Net(nn.Module):
    """Layers by name, and what is computed with them."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *x):
        return self.run(self, *x)


def image(channels=3, batch=2):
    return torch.randn(batch, channels, 6, 6)


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def sizes(found):
    return {each.name: each.size for each in found}


def checked(model, *sample):
    torch.manual_seed(0)
    return check_removable(model, sample)


def test_a_channel_is_a_row_its_bias_and_a_column():
    found = groups(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), torch.randn(2, 3))
    assert table(found) == {
        "0": (4, {"0.weight:0": [0, 1, 2, 3], "0.bias:0": [0, 1, 2, 3], "2.weight:1": [0, 1, 2, 3]})
    }
    [coupling] = found
    made = [(part.tensor, part.dim, part.groups.tolist()) for part in coupling.results]
    assert made == [("linear", 1, [0, 1, 2, 3]), ("gelu", 1, [0, 1, 2, 3])]
    assert len(found) == 4 and found.left == {"2": "they are the model's output"}


def test_what_is_added_goes_together_with_its_normalization():
    model = Net(
        lambda m, x: m.out((lambda y: y + m.norm(m.second(F.relu(y))))(m.first(x)).mean((2, 3))),
        first=conv(3, 4),
        second=conv(4, 4, bias=False),
        norm=nn.BatchNorm2d(4),
        out=nn.Linear(4, 2),
    )
    every = [0, 1, 2, 3]
    names = ("first.weight:0", "first.bias:0", "second.weight:0", "second.weight:1", "out.weight:1")
    norms = ("norm.weight:0", "norm.bias:0", "norm.running_mean:0", "norm.running_var:0")
    [(name, (size, parts))] = table(checked(model, image())).items()
    assert (name, size) == ("first", 4) and parts == dict.fromkeys([*names, *norms], every)


def test_filters_of_one_channel_go_with_it():
    model = Net(
        lambda m, x: m.out(m.deep(m.first(x))),
        first=nn.Conv2d(3, 2, 1),
        deep=conv(2, 6, groups=2),
        out=nn.Conv2d(6, 1, 1),
    )
    found = checked(model, image())
    three = [0, 0, 0, 1, 1, 1]
    two = [0, 1]
    first = {"first.weight:0": two, "first.bias:0": two, "deep.weight:0": three, "deep.bias:0": three}
    assert table(found) == {"first": (2, first | {"out.weight:1": three})}


def test_positions_in_groups_of_convolutions_go_together():
    model = Net(
        lambda m, x: m.out(m.deep(m.first(x))),
        first=nn.Conv2d(3, 6, 1, bias=False),
        deep=conv(6, 4, groups=2, bias=False),
        out=nn.Conv2d(4, 1, 1),
    )
    assert table(checked(model, image())) == {
        "first": (3, {"first.weight:0": [0, 1, 2, 0, 1, 2], "deep.weight:1": [0, 1, 2]}),
        "deep": (2, {"deep.weight:0": [0, 1, 0, 1], "out.weight:1": [0, 1, 0, 1]}),
    }


def test_transposed_convolutions():
    model = Net(
        lambda m, x: m.out(m.third(m.second(m.first(x)))),
        first=nn.ConvTranspose2d(3, 4, 2, bias=False),
        second=nn.ConvTranspose2d(4, 6, 2, groups=2, bias=False),
        third=nn.ConvTranspose2d(6, 12, 2, groups=6, bias=False),
        out=nn.Conv2d(12, 1, 1),
    )
    third = [0, 1, 2, 0, 1, 2]
    twice = [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    assert table(groups(model, image())) == {
        "first": (2, {"first.weight:1": [0, 1, 0, 1], "second.weight:0": [0, 1, 0, 1]}),
        "second": (3, {"second.weight:1": [0, 1, 2], "third.weight:0": third, "out.weight:1": twice}),
    }


def test_what_is_concatenated_stays_apart():
    model = Net(
        lambda m, x: m.out(torch.cat([m.a(x), m.b(x), x], 1)),
        a=conv(3, 2, bias=False),
        b=conv(3, 3, bias=False),
        out=conv(8, 1),
    )
    found = checked(model, image())
    assert table(found) == {
        "a": (2, {"a.weight:0": [0, 1], "out.weight:1": [0, 1, -1, -1, -1, -1, -1, -1]}),
        "b": (3, {"b.weight:0": [0, 1, 2], "out.weight:1": [-1, -1, 0, 1, 2, -1, -1, -1]}),
    }
    cat = {each.name: [part for part in each.results if part.tensor == "cat"] for each in found}
    assert [part.groups.tolist() for part in cat["b"]] == [[-1, -1, 0, 1, 2, -1, -1, -1]]


def test_flattened_channels_are_several_columns_each():
    model = Net(lambda m, x: m.out(m.first(x).flatten(1)), first=nn.Conv2d(1, 2, 2, bias=False), out=nn.Linear(8, 1))
    columns = [0, 0, 0, 0, 1, 1, 1, 1]
    expected = {"first": (2, {"first.weight:0": [0, 1], "out.weight:1": columns})}
    assert table(checked(model, torch.randn(2, 1, 3, 3))) == expected


def test_rows_that_become_places_go_with_their_channel():
    model = Net(
        lambda m, x: m.out(m.first(x).view(2, 3, 2, 2)), first=nn.Linear(5, 12, bias=False), out=nn.Conv2d(3, 1, 1)
    )
    rows = [0] * 4 + [1] * 4 + [2] * 4
    expected = {"first": (3, {"first.weight:0": rows, "out.weight:1": [0, 1, 2]})}
    assert table(checked(model, torch.randn(2, 5))) == expected


def attend(q, k, v):
    return (q @ k.transpose(-1, -2) * 0.7).softmax(-1) @ v


def heads(x, count):
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


ATTENTIONS = {
    "written": attend,
    "whole": F.scaled_dot_product_attention,
    "einsum": lambda q, k, v: torch.einsum("bhlm,bhmd->bhld", torch.einsum("bhld,bhmd->bhlm", q, k).softmax(-1), v),
}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_heads_go_whole(kind):
    def run(m, x):
        q, k, v = m.inputs(x).view(2, 5, 3, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
        return m.out(ATTENTIONS[kind](q, k, v).transpose(1, 2).flatten(2))

    model = Net(run, inputs=nn.Linear(4, 18), out=nn.Linear(6, 1))
    head = [0, 0, 0, 1, 1, 1]
    expected = {"inputs.weight:0": head * 3, "inputs.bias:0": head * 3, "out.weight:1": head}
    assert table(checked(model, torch.randn(2, 5, 4))) == {"inputs": (2, expected)}


@pytest.mark.parametrize("repeated", [True, False])
def test_queries_that_share_keys_go_with_them(repeated):
    def run(m, x):
        q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
        if not repeated:
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = (each[:, :, None].expand(2, 2, 2, 5, 3).reshape(2, 4, 5, 3) for each in (k, v))
            y = attend(q, k, v)
        return m.out(y.transpose(1, 2).reshape(2, 5, 12))

    options = {"q": nn.Linear(4, 12, bias=False), "k": nn.Linear(4, 6, bias=False), "v": nn.Linear(4, 6, bias=False)}
    model = Net(run, **options, out=nn.Linear(12, 1))
    wide, narrow = [0] * 6 + [1] * 6, [0] * 3 + [1] * 3
    expected = {"q.weight:0": wide, "k.weight:0": narrow, "v.weight:0": narrow, "out.weight:1": wide}
    assert table(checked(model, torch.randn(2, 5, 4))) == {"q": (2, expected)}


@pytest.mark.parametrize("kind", ["written", "whole"])
def test_of_a_single_head_only_values_go(kind):
    layers = {name: nn.Linear(4, 3, bias=False) for name in "qkv"}
    model = Net(lambda m, x: m.out(ATTENTIONS[kind](m.q(x), m.k(x), m.v(x))), **layers, out=nn.Linear(3, 1))
    found = checked(model, torch.randn(2, 5, 4))
    assert table(found) == {"v": (3, {"v.weight:0": [0, 1, 2], "out.weight:1": [0, 1, 2]})}
    assert set(found.left) == {"q", "k", "out"} and "summed up" in found.left["k"]


def test_heads_stay_where_what_they_are_weighed_by_stays():
    def run(m, x, scores):
        return m.out((scores @ heads(m.v(x), 2)).transpose(1, 2).flatten(2))

    model = nn.Sequential(Net(run, v=nn.Linear(4, 6), out=nn.Linear(6, 5)))
    model = Net(lambda m, *x: m.last(m.of[0](*x)), of=model, last=nn.Linear(5, 1))
    found = groups(model, (torch.randn(2, 3, 4), torch.rand(2, 2, 3, 3)))
    assert sizes(found) == {"of.0.out": 5} and set(found.left) == {"of.0.v", "last"}


def test_what_goes_is_a_slab_of_every_result():
    model = Net(lambda m, x: m.out(m.first(x).view(2, 2, 3).mT.flatten(1)), first=nn.Linear(4, 6), out=nn.Linear(6, 1))
    rows = [0, 1, 2, 0, 1, 2]
    expected = {"first.weight:0": rows, "first.bias:0": rows, "out.weight:1": [0, 0, 1, 1, 2, 2]}
    assert table(checked(model, torch.randn(2, 4))) == {"first": (3, expected)}


def test_normalized_heads_go_whole():
    def run(m, x):
        q, k, v = (heads(each(x), 2) for each in (m.q, m.k, m.v))
        q = m.scale * (q * torch.rsqrt(q.pow(2).mean(-1, keepdim=True) + 1e-6))
        return m.out(attend(q, F.layer_norm(k, (3,)), v).transpose(1, 2).flatten(2))

    layers = {name: nn.Linear(4, 6, bias=False) for name in "qkv"}
    model = Net(run, **layers, scale=nn.Parameter(torch.randn(3)), out=nn.Linear(6, 1))
    head = [0, 0, 0, 1, 1, 1]
    names = ("q.weight:0", "k.weight:0", "v.weight:0", "out.weight:1")
    assert table(checked(model, torch.randn(2, 5, 4))) == {"q": (2, dict.fromkeys(names, head))}


LEFT = {
    "layer norm": (lambda m, x: F.layer_norm(x, (4,)), "layer_norm of Net normalizes over all of them"),
    "RMS norm": (lambda m, x: F.rms_norm(x, (4,)), "rms_norm of Net normalizes over all of them"),
    "written RMS norm": (
        lambda m, x: x * x.pow(2).mean(-1, keepdim=True).rsqrt(),
        "mean of Net depends on all of them",
    ),
    "softmax": (lambda m, x: x.softmax(-1), "softmax of Net depends on all of them"),
    "sorted": (lambda m, x: x.sort(-1)[0], "sort of Net depends on all of them"),
    "sum": (lambda m, x: x.sum(-1, keepdim=True).expand(2, 4), "sum of Net depends on all of them"),
    "constant": (lambda m, x: x * torch.arange(4.0), "they meet what does not shrink in mul of Net"),
    "selected": (lambda m, x: x[:, 1:2].expand(2, 4) + x[:, 2, None], "select of Net takes them by number"),
    "read": (lambda m, x: x[:, torch.tensor([0, 2, 1, 1])], "index of Net reads them by number"),
    "gathered": (lambda m, x: x.gather(1, torch.tensor([[0, 2, 1, 1]] * 2)), "gather of Net reads them by number"),
    "product": (lambda m, x: (x @ x.T) @ torch.ones(2, 4), "they are summed up in matmul of Net"),
    "turned": (lambda m, x: x.roll(1, 1), "roll of Net moves them by a number"),
    "einsum": (lambda m, x: torch.einsum("...i,...i->...", x, x)[:, None].expand(2, 4), "einsum of Net is"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_depends_on_all_channels_is_left_alone(case):
    run, reason = LEFT[case]
    layers = {"first": nn.Linear(3, 5), "second": nn.Linear(5, 4), "out": nn.Linear(4, 1)}
    found = groups(Net(lambda m, x: m.out(run(m, m.second(m.first(x)))), **layers), torch.randn(2, 3))
    assert sizes(found) == {"first": 5} and set(found.left) == {"second", "out"}
    assert found.left["second"].startswith(reason)


def test_norm_groups_go_whole():
    norm = nn.GroupNorm(2, 6)
    model = Net(lambda m, x: m.out(m.norm(m.first(x))), first=conv(3, 6, bias=False), norm=norm, out=conv(6, 1))
    places = [0, 0, 0, 1, 1, 1]
    names = ("first.weight:0", "norm.weight:0", "norm.bias:0", "out.weight:1")
    assert table(checked(model, image())) == {"first": (2, dict.fromkeys(names, places))}
    model.norm = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    assert sizes(checked(model, image())) == {"first": 6}


GATED = {
    "chunk": lambda y: torch.mul(*y.chunk(2, -1)),
    "glu": lambda y: F.glu(y, -1),
    "split": lambda y: torch.mul(*y.split([3, 3], -1)),
    "slices": lambda y: y[..., :3] * y[..., 3:],
    "unbind": lambda y: torch.mul(*y.unflatten(-1, (2, 3)).unbind(-2)),
    "stack": lambda y: torch.stack(y.chunk(2, -1), -1).prod(-1),
    "tail": lambda y: y.narrow(-1, 0, 3) + y[..., -3:],
}


@pytest.mark.parametrize("kind", GATED)
def test_gates_go_with_what_they_gate(kind):
    model = Net(lambda m, x: m.out(GATED[kind](m.first(x))), first=nn.Linear(4, 6, bias=False), out=nn.Linear(3, 1))
    expected = {"first": (3, {"first.weight:0": [0, 1, 2, 0, 1, 2], "out.weight:1": [0, 1, 2]})}
    assert table(checked(model, torch.randn(2, 4))) == expected


MOVED = {
    "pixel shuffle": (lambda y: F.pixel_shuffle(y, 2), 2, [0] * 4 + [1] * 4, [0, 1]),
    "channel shuffle": (lambda y: F.channel_shuffle(y, 2), 4, [*range(4)] * 2, [0, 0, 1, 1, 2, 2, 3, 3]),
    "repeat": (lambda y: y.repeat(1, 2, 1, 1), 8, list(range(8)), [*range(8)] * 2),
    "repeat_interleave": (lambda y: y.repeat_interleave(2, 1), 8, list(range(8)), [each // 2 for each in range(16)]),
    "flip": (lambda y: y.flip(1), 8, list(range(8)), [7, 6, 5, 4, 3, 2, 1, 0]),
    "padding": (lambda y: F.pad(y, (1, 1, 0, 0, 2, 1)), 8, list(range(8)), [-1, -1, *range(8), -1]),
    "pooling": (lambda y: F.interpolate(F.avg_pool2d(F.max_pool2d(y, 2), 3), 4), 8, list(range(8)), list(range(8))),
    "channels last": (lambda y: y.permute(0, 2, 3, 1).flatten(1, 2).mT, 8, list(range(8)), list(range(8))),
}


@pytest.mark.parametrize("kind", MOVED)
def test_labels_move_as_channels_do(kind):
    move, size, rows, columns = MOVED[kind]
    out = nn.Conv2d if kind != "channels last" else nn.Conv1d
    model = Net(lambda m, x: m.out(move(m.first(x))), first=nn.Conv2d(3, 8, 1, bias=False), out=out(len(columns), 1, 1))
    expected = {"first": (size, {"first.weight:0": rows, "out.weight:1": columns})}
    assert table(checked(model, image())) == expected


PRODUCTS = {
    "transposed": lambda m, x: F.linear(x, m.weight.T),
    "matmul": lambda m, x: x @ m.weight,
    "mm": lambda m, x: torch.mm(x, m.weight),
    "addmm": lambda m, x: torch.addmm(torch.zeros(()), x, m.weight),
    "einsum": lambda m, x: torch.einsum("bi,io->bo", x, m.weight),
    "turned": lambda m, x: (m.weight.T @ x.T).T,
    "inner": lambda m, x: torch.inner(x, m.weight.T),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_with_weights(kind):
    weight = nn.Parameter(torch.randn(3, 4))
    layers = {"first": nn.Linear(5, 3, bias=False), "weight": weight, "out": nn.Linear(4, 1)}
    found = groups(Net(lambda m, x: m.out(PRODUCTS[kind](m, m.first(x))), **layers), torch.randn(2, 5))
    assert table(found) == {
        "first": (3, {"first.weight:0": [0, 1, 2], "weight:0": [0, 1, 2]}),
        "weight": (4, {"weight:1": [0, 1, 2, 3], "out.weight:1": [0, 1, 2, 3]}),
    }


def test_weights_that_are_not_zero_where_parameters_are_stay():
    run = {"kept": lambda m, x: m.first(x) @ m.weight.exp(), "gone": lambda m, x: m.first(x) @ m.weight.tanh()}
    layers = {"first": nn.Linear(5, 3), "weight": nn.Parameter(torch.randn(3, 4))}
    assert sizes(groups(Net(run["gone"], **layers), torch.randn(2, 5))) == {"first": 3}
    with pytest.raises(ValueError, match=r"^groups model must have channels that can be removed, but all stay"):
        groups(Net(run["kept"], **layers), torch.randn(2, 5))


def test_an_embedding_and_the_layer_that_shares_its_weight():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(self.embedding(x))

    found = groups(Tied(), torch.randint(0, 9, (2, 5)))
    assert table(found) == {"embedding": (4, {"embedding.weight:1": [0, 1, 2, 3]})}


def test_two_couplings_of_one_layer_have_names_of_their_own():
    def run(m, x):
        a, b = m.first(x).split([2, 3], -1)
        return m.out(a) + m.other(b)

    model = Net(run, first=nn.Linear(4, 5, bias=False), out=nn.Linear(2, 1), other=nn.Linear(3, 1))
    assert table(checked(model, torch.randn(2, 4))) == {
        "first": (2, {"first.weight:0": [0, 1, -1, -1, -1], "out.weight:1": [0, 1]}),
        "first#2": (3, {"first.weight:0": [-1, -1, 0, 1, 2], "other.weight:1": [0, 1, 2]}),
    }


def recurrent():
    layers = {"before": nn.Linear(3, 4), "first": nn.GRU(4, 5, batch_first=True), "out": nn.Linear(5, 1)}
    return Net(lambda m, x: m.out(m.first(m.before(x))[0]), **layers)


def test_unknown_operators_are_refused_or_left_alone():
    told = (
        r"^groups model must be of operators whose channels are followed, unlike gru at first \(\S+\.py:\d+\), which "
    )
    with pytest.raises(ValueError, match=told + "has no rule; allow_unknown=True leaves alone what it is reached by$"):
        groups(recurrent(), torch.randn(2, 6, 3))
    model = nn.Sequential(recurrent(), nn.Linear(1, 6), nn.ReLU(), nn.Linear(6, 1))
    found = groups(model, torch.randn(2, 6, 3), allow_unknown=True)
    assert sizes(found) == {"1": 6} and re.match(r"gru at 0.first \(.*\) has no rule", found.left["0.before"])


class Written(nn.Module):
    """Writes to a part of what a layer gives, or to all of it."""

    def __init__(self, part):
        super().__init__()
        self.first, self.out, self.part = nn.Linear(3, 4), nn.Linear(4, 1), part

    def forward(self, x):
        y = self.first(x)
        y[:, : self.part].mul_(2)
        return self.out(y)


def test_writing_to_a_part_of_a_tensor():
    with pytest.raises(
        ValueError, match=r"^groups model .* unlike mul at Written .*, which writes to a part of a tensor"
    ):
        groups(Written(2), torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"^groups model must have channels that can be removed, but all stay"):
        groups(Written(2), torch.randn(2, 3), allow_unknown=True)
    assert sizes(groups(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)), torch.randn(2, 3))) == {
        "0": 4
    }


def test_include_and_exclude():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 1))
    x = torch.randn(2, 3)
    assert sizes(groups(model, x, include=("0", "2"))) == {"0": 4, "2": 6}
    found = groups(model, x, exclude=["2"])  # as a producer and as a consumer
    assert sizes(found) == {"0": 4} and found.left["1"] == found.left["2"] == "excluded"
    assert groups(model, x, include=["[01]"]).left["2"] == "not included"
    for options, label in (({"include": ["4"]}, "include '4'"), ({"exclude": ["1", "x*"]}, "exclude 'x\\*'")):
        with pytest.raises(ValueError, match=rf"^groups {label} must match a coupling; there are \['0', '1', '2'\]$"):
            groups(model, x, **options)
    with pytest.raises(TypeError, match=r"^groups include must be a collection of patterns, not '0'$"):
        groups(model, x, include="0")
    told = r"^groups model must have channels that can be removed, but all stay \(0: excluded; .*; and 1 more layers\)$"
    with pytest.raises(ValueError, match=told):
        groups(model, x, exclude=["*"])
    with pytest.raises(ValueError, match="but has no layer with weights$"):
        groups(nn.Tanh(), x)


def test_text():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 9), nn.Linear(9, 1)
    )
    assert str(groups(model, torch.randn(2, 1, 6, 6))).splitlines() == [
        "coupling  groups  layers",
        "0              4  0[0] 1[0] 4[1]",
        "4              9  4[0] 5[1]",
        "              13",
        "",
        "left alone",
        "5  it is the only one",
    ]


def test_picture():
    picture = groups_figure({"first": 4, "second": 12}, {"second": 5})
    [axes] = picture.axes
    assert [bar.get_width() for bar in axes.patches] == [4, 7, 0, 5]
    assert [text.get_text().strip() for text in axes.texts] == ["4 of 4", "7 of 12"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"] and axes.yaxis_inverted()
    assert axes.get_title() == "2 couplings, 16 groups"
    assert groups_figure({"first": 4}).axes[0].get_title() == "1 coupling, 4 groups"


def test_picture_of_stages():
    lines = [{"step": step, "loss": 1 / step, "stage": "joint", "removed": step} for step in (4, 8, 20)]
    panels = stages_figure(lines, {"warm_up": 1, "projection": 5, "joint": 7, "cool_down": 7}).axes
    assert [axes.get_ylabel() for axes in panels] == ["training loss", "groups removed"]
    spans = [(span.get_x(), span.get_width()) for span in panels[0].patches]
    assert spans == [(0, 1), (1, 5), (6, 7), (13, 7)]
    with pytest.raises(ValueError, match="^stages must be told of in the log, which has none$"):
        stages_figure([{"step": 1, "loss": 1.0}], {})


class DenseNet(nn.Module):
    """Blocks whose layers read all before them."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 6)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(6 + 4 * at), nn.ReLU(), conv(6 + 4 * at, 4)) for at in range(3)
        )
        self.shrink = nn.Sequential(nn.BatchNorm2d(18), nn.ReLU(), nn.Conv2d(18, 8, 1), nn.AvgPool2d(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(self.shrink(x).mean((2, 3)))


class UNet(nn.Module):
    """Down and up again, with what was there on the way down beside what comes up."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Sequential(conv(3, 4), nn.ReLU()), nn.Sequential(conv(4, 6), nn.SiLU())
        self.deep = conv(6, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.joined, self.out = conv(12, 5), conv(9, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        up = self.joined(torch.cat([self.up(F.max_pool2d(self.deep(second), 2)), second[:, :, :2, :2]], 1))
        return self.out(torch.cat([F.interpolate(up, scale_factor=3.0, mode="bilinear"), first], 1))


class Vgg(nn.Sequential):
    def __init__(self):
        block = (conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 12), nn.ReLU(), nn.MaxPool2d(2))
        super().__init__(*block, nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 10))


def llama():
    options = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "use_cache": False, "pad_token_id": 2}
    return hugging_face("Llama", "AutoModelForCausalLM", **options, **heads)


EXPECTED = {  # groups of each coupling: heads of attention and channels between the layers of blocks, and so on
    "BERT": [2, 32, 2, 32],
    "GPT-2": [2, 64, 2, 64],
    "T5": [2, 32, 32, 2, 32, 32],  # heads of all layers share the bias of their positions
    "Swin": [2, 32, 2, 32, 2, 64, 2, 64],
    "ConvNeXt": [32, 64],
    "ResNet": [8, 4, 4, 16, 8, 8],
    "LeNet5": [6, 16, 120, 84],
    "encoder": [2, 16, 2, 16],
    "DenseNet": [6, 4, 4, 4, 8],
    "U-Net": [4, 6, 8, 6, 5],
    "VGG": [8, 12, 20],
    "shared keys": [2, 32],
}
FAMILIES = {
    **MODELS,
    "DenseNet": (DenseNet, image),
    "U-Net": (UNet, image),
    "VGG": (Vgg, lambda: torch.randn(2, 3, 8, 8)),
    "shared keys": (llama, lambda: torch.randint(3, 50, (2, 7))),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_families(name, need):
    if name not in ("LeNet5", "encoder", "DenseNet", "U-Net", "VGG"):
        need("transformers")
    torch.manual_seed(0)
    make, sample = FAMILIES[name]
    found = check_removable(make().eval(), sample())
    assert [each.size for each in found] == EXPECTED[name]
    assert len(found) == sum(EXPECTED[name]) and set(found.couplings) == {each.name for each in found}
    for each in found:
        for part in (*each.parts, *each.results):
            assert set(part.groups.tolist()) - {-1} == set(range(each.size)), (each.name, part)
    assert not set(found.left) & set(found.couplings)


@pytest.mark.parametrize("name", ["examples.ResNet", "VGG", "MobileNetV2", "EfficientNet", "DenseNet"])
def test_torch_pruning_finds_the_same_groups(name, need):
    """It also has those that are the model's output."""
    need("torch_pruning", *(["transformers"] if name.endswith(("V2", "cientNet")) else []))
    import torch_pruning

    torch.manual_seed(0)
    make, sample = FAMILIES[name]
    model, x = make().eval(), sample()
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(model, x)
    names = {layer: path for path, layer in model.named_modules()}
    theirs = {}
    for group in graph.get_all_groups():
        producers = {
            names[each.dep.target.module]: len(each.idxs)
            for each in group
            if "out_channels" in each.dep.handler.__name__
            and isinstance(each.dep.target.module, (nn.Conv2d, nn.Linear))
        }
        theirs[frozenset(producers)] = max(producers.values())
    ours = {}
    layers = dict(model.named_modules())
    found = groups(model, x)
    for each in found:
        rows = {
            part.tensor.rpartition(".")[0] for part in each.parts if part.dim == 0 and part.tensor.endswith(".weight")
        }
        ours[frozenset(path for path in rows if isinstance(layers[path], (nn.Conv2d, nn.Linear)))] = each.size
    assert len(ours) > 2 and ours.items() <= theirs.items()
    assert all(producers & set(found.left) for producers in theirs.keys() - ours.keys())


@pytest.mark.parametrize("name", ["examples.ResNet", "GPT-2"])
def test_quantizers_belong_to_the_layer_that_they_feed(name, need):
    if name == "GPT-2":
        need("transformers")
    torch.manual_seed(0)
    make, sample = FAMILIES[name]
    model, x = make().eval(), sample()
    plain = table(groups(model, x))
    paths = [
        path
        for path, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) or "Conv1D" in str(type(layer))
    ]
    quantize(model, {path: [Precision.parse("s8")] for path in paths})
    calibrate(model, [x])
    assert isinstance(model.get_submodule(paths[0]), QuantizedLayer)
    assert table(groups(model, x)) == plain
    [selected] = {choice.selected for layer in quantized_operations(model).values() for choice in layer.choices}
    assert str(selected) == "s8"
