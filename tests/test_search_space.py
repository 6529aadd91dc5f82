"""What a search decides: every family of models found, quantized and searched; names, groups, what is left."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from examples.models import LeNet5, ResNet, SeriesTransformer, VisionTransformer
from hwlut.nn.quantized import product_name, quantize, quantized_operations
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.search import Search, bit_operations, memory, open_search, search, space_of
from hwlut.train import Finetune, Task

FORMATS = tuple(Precision.parse(each).weight for each in ("s2", "s4", "s8"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------- families

_BERT = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
_GPT2 = {"n_layer": 1, "n_embd": 16, "n_head": 2}
_EFFICIENTNET = {
    **{"width_coefficient": 0.2, "depth_coefficient": 1.0, "hidden_dim": 256},
    **{"num_block_repeats": [1, 1], "strides": [1, 2], "in_channels": [8, 8], "out_channels": [8, 16]},
    **{"kernel_sizes": [3, 5], "expand_ratios": [1, 2]},
}
_RESNET = {"depths": [1, 2], "hidden_sizes": [8, 16], "embedding_size": 8}
CONFIGS = {
    **dict.fromkeys(["bert-tiny", "bert-mini", "bert-small", "bert-medium", "bert-base", "bert", "roberta"], _BERT),
    **dict.fromkeys(["gpt2", "gpt2-medium", "gpt2-large"], _GPT2),
    **dict.fromkeys(["deit-tiny", "deit-small", "deit-base"], _BERT),
    **dict.fromkeys([f"efficientnet-b{number}" for number in range(8)], _EFFICIENTNET),
    "resnet18": _RESNET,
    "resnet50": _RESNET,
    "mobilenetv2": {"depth_multiplier": 0.1, "min_depth": 4, "depth_divisible_by": 4},
    "series-transformer": {"width": 8, "depth": 1, "heads": 2},
}
ATTENTION = {**dict.fromkeys(CONFIGS, 0), **{name: 1 for name in CONFIGS if CONFIGS[name] in (_BERT, _GPT2)}}
ATTENTION["series-transformer"] = 1
SEARCHED = ("bert-tiny", "roberta", "gpt2", "deit-tiny", "efficientnet-b0", "resnet18", "resnet50", "mobilenetv2")
OWN = {
    "LeNet5": (LeNet5, 0),
    "ResNet": (lambda: ResNet(4), 0),
    "VisionTransformer": (lambda: VisionTransformer(8, 2, 2), 2),
    "SeriesTransformer": (lambda: SeriesTransformer(3, 6, 4, width=8, depth=1, heads=2), 1),
}


def named(name):
    """A small model of a name, and a batch of it."""
    pytest.importorskip("transformers", reason="needs transformers")
    from hwlut.train.models import Images, Series, Tokens, model
    from hwlut.train.models.named import published

    kind = {"bert": "text", "robe": "text", "gpt2": "text", "seri": "series"}.get(name[:4], "images")
    torch.manual_seed(0)
    if kind == "text":
        made = model(name, Tokens(20, 6), 4, config=CONFIGS[name])
    elif kind == "series":
        made = model(name, Series(3, 6), 4, config=CONFIGS[name])
    else:
        made = model(name, Images(1, 8, 8), 4, config=CONFIGS[name])
    assert name == "bert" or kind == "series" or published(name) is not None
    return made, inputs_of(kind, 4)


def inputs_of(kind, count):
    torch.manual_seed(1)
    if kind == "text":
        ids = torch.randint(1, 20, (count, 6))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if kind == "series":
        return torch.randn(count, 3, 6), torch.arange(6) < torch.arange(count)[:, None] % 5 + 2
    return torch.rand(count, 1, *([8, 8] if kind == "images" else [28, 28]))


def counted(model, attentions):
    """How many operations there are to quantize: modules by their types, and two products an attention layer."""
    layers = sum(
        isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)) or type(module).__name__ == "Conv1D"
        for module in model.modules()
    )
    return layers + 2 * attentions


def called(model, batch):
    output = model(**batch) if isinstance(batch, dict) else model(*batch) if isinstance(batch, tuple) else model(batch)
    return getattr(output, "logits", output)


def first(batch, count=1):
    if isinstance(batch, dict):
        return {name: each[:count] for name, each in batch.items()}
    return tuple(each[:count] for each in batch) if isinstance(batch, tuple) else batch[:count]


class Samples(Dataset):
    """Rows of a batch, with classes of no meaning."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        whole = self.batch
        while not isinstance(whole, torch.Tensor):
            whole = next(iter(whole.values())) if isinstance(whole, dict) else whole[0]
        return len(whole)

    def __getitem__(self, place):
        if isinstance(self.batch, dict):
            return {name: each[place] for name, each in self.batch.items()}, torch.tensor(place % 4)
        if isinstance(self.batch, tuple):
            return tuple(each[place] for each in self.batch), torch.tensor(place % 4)
        return self.batch[place], torch.tensor(place % 4)


def quantized(model, space, precision="s8"):
    chosen = {name: (Precision.parse(precision),) for name in space.shapes}
    quantize(model, chosen, None, space.owners)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_model_is_found_whole(name):
    model, batch = named(name)
    expected = counted(model, ATTENTION[name])
    space = space_of(model, first(batch), FORMATS)
    assert len(space.shapes) == len(space.decisions) == expected and not space.left
    assert all(shape.macs or shape.weights for shape in space.shapes.values())
    modules = dict(model.named_modules())
    for path, shape in space.shapes.items():
        assert shape.weights == (modules[path].weight.numel() if path in modules else 0)
    model.eval()
    plain = called(model, batch)
    quantized(model, space)
    seen = set()
    for path, operation in quantized_operations(model).items():
        operation.register_forward_hook(lambda *_, path=path: seen.add(path))
    calibrate(model, [batch])
    assert seen == set(space.shapes)
    found = called(model, batch)
    assert not torch.equal(found, plain)
    torch.testing.assert_close(found, plain, rtol=0.3, atol=0.3)
    for operation in quantized_operations(model).values():
        for choice in operation.choices:
            if choice is not None:
                choice.select(None)
    torch.testing.assert_close(called(model, batch), plain)


def test_no_name_is_left_out():
    from hwlut.train import MODELS

    assert set(CONFIGS) == set(MODELS)


def searched(model, batch, tests, tmp_path):
    task = Task(name="small", model=model, train=Samples(batch), test=Samples(tests))
    options = Search(formats=FORMATS[1:], target_bits=6, calibration=8, held_out=0.2, held_out_batch=4)
    return task, search(task, options, Finetune(steps=8, batch=4), tmp_path / "found", device="cpu")


@pytest.mark.parametrize("name", SEARCHED)
def test_every_family_is_searched(name, tmp_path):
    made, batch = named(name)
    kind = "text" if isinstance(batch, dict) else "images"
    task, found = searched(lambda: named(name)[0], inputs_of(kind, 24), batch, tmp_path)
    configuration = found.configuration
    assert len(configuration.operations) == counted(made, ATTENTION[name])
    assert configuration.cost <= configuration.target
    with torch.no_grad():
        logits = called(found.model, batch)
    labels = torch.arange(4)
    assert configuration.metric == (logits.argmax(-1) == labels).double().mean()
    again, _, opened = open_search(tmp_path / "found", task)
    with torch.no_grad():
        assert torch.equal(called(opened, batch), logits)
    assert again.operations == configuration.operations


@pytest.mark.parametrize("name", OWN)
def test_the_models_of_the_examples_are_searched(name, tmp_path):
    make, attentions = OWN[name]
    kind = "series" if name == "SeriesTransformer" else "digits"
    batch = inputs_of(kind, 4)
    task, found = searched(make, inputs_of(kind, 24), batch, tmp_path)
    assert len(found.configuration.operations) == counted(make(), attentions)
    _, _, opened = open_search(tmp_path / "found", task)
    with torch.no_grad():
        logits = called(opened, batch)
        assert torch.equal(called(found.model, batch), logits)
    assert found.configuration.metric == (logits.argmax(-1) == torch.arange(4)).double().mean()


# ---------------------------------------------------------------- names and groups


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.output = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x):
        q, k, v = self.inputs(x).chunk(3, -1)
        return self.output((q @ k.mT).softmax(-1) @ v)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.mlp = Attention(), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.mlp(x + self.attention(x))


class Model(nn.Module):
    """Two blocks between layers, with what has no quantized form beside them."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


IDS = torch.tensor([[0, 1, 4]])
BLOCK = ["attention.inputs", "attention.quantized_products.0", "attention.quantized_products.1"]
BLOCK += ["attention.output", "mlp"]
NAMES = ["table", *(f"blocks.{place}.{name}" for place in range(2) for name in BLOCK), "head"]


def space(model=None, sample=IDS, formats=FORMATS, **options):
    return space_of(model or Model(), sample, formats, **options)


def groups(**options):
    return {decision.name: list(decision.operations) for decision in space(**options).decisions}


def test_shapes_and_costs_are_counted():
    found = space()
    assert list(found.shapes) == NAMES and found.left == {}
    assert found.owners == {"blocks.0.attention": 2, "blocks.1.attention": 2}
    sizes = {"table": (0, 20), "head": (8, 8), "mlp": (3 * 16, 16), "inputs": (3 * 48, 48), "output": (3 * 16, 16)}
    products = 3 * 3 * 4, 0
    for name, shape in found.shapes.items():
        assert (shape.macs, shape.weights) == sizes.get(name.rpartition(".")[2], products), name
    formats = dict(zip(("s2", "s4", "s8"), FORMATS))
    costs = found.costs(bit_operations(found.shapes))
    assert costs["head", Precision(formats["s4"], formats["s4"])] == 8 * 16
    assert space(decide="all").costs(memory(found.shapes))["all", Precision(formats["s2"], formats["s2"])] == 2 * (
        20 + 8 + 2 * (16 + 48 + 16)
    )


def test_a_layer_that_is_called_twice_counts_its_products_twice():
    layer = nn.Linear(4, 4)
    found = space(nn.Sequential(layer, nn.ReLU(), layer), torch.ones(1, 4))
    assert {name: (each.macs, each.weights) for name, each in found.shapes.items()} == {"0": (32, 16)}


def test_decisions_are_of_layers_blocks_all_or_expressions():
    assert groups() == {name: [name] for name in NAMES}
    blocks = {f"blocks.{place}": NAMES[1 + 5 * place : 6 + 5 * place] for place in range(2)}
    assert groups(decide="block") == {"table": ["table"], **blocks, "head": ["head"]}
    assert groups(decide="all") == {"all": NAMES}
    found = groups(decide=[r"quantized_products", r"(blocks)\.\d\.(mlp|attention)"])
    assert sorted(map(sorted, found.values())) == sorted(
        [
            ["head"],
            ["table"],
            sorted(name for name in NAMES if "products" in name),
            sorted(name for name in NAMES if "attention" in name and "products" not in name),
            ["blocks.0.mlp", "blocks.1.mlp"],
        ]
    )
    assert groups(decide=[]) == groups()


def test_layers_in_lists_are_no_blocks_by_themselves():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    found = {
        decision.name: decision.operations for decision in space(model, torch.ones(1, 4), decide="block").decisions
    }
    assert found == {"0": ("0",), "2": ("2.0", "2.1")}


def test_operations_are_included_and_excluded():
    found = space(include=["blocks.*", "head"], exclude=["*.mlp", "blocks.1.*products*"])
    kept = [name for name in NAMES if name != "table" and not name.endswith("mlp")]
    kept = [name for name in kept if not (name.startswith("blocks.1") and "products" in name)]
    assert list(found.shapes) == kept
    assert found.left["table"] == "not included" and found.left["blocks.0.mlp"] == "excluded"
    assert found.owners == {"blocks.0.attention": 2}
    assert set(found.left) == set(NAMES) - set(kept)
    assert "table: left, not included" in str(found).splitlines()
    one = space(exclude=["blocks.0.*products.0"])
    assert one.owners["blocks.0.attention"] == 2  # the second is still the second
    model = Model().eval()
    chosen = space(model, exclude=["blocks.0.*products.0"])
    quantized(model, chosen)
    calibrate(model, [IDS])
    assert set(quantized_operations(model)) == set(chosen.shapes)


def test_operands_have_one_format_separate_ones_or_weights_alone():
    two, four, eight = FORMATS
    same = space(formats=(two, eight)).decisions[0]
    assert same.choices == (Precision(two, two), Precision(eight, eight)) and same.heads == (2,)
    separate = space(formats=(two, eight, None), operands="separate").decisions[0]
    assert separate.heads == (3, 3)
    assert separate.choices == tuple(Precision(w, a) for w in (two, eight, None) for a in (two, eight, None))
    found = space(operands="weights", activation=four)
    assert found.decisions[0].choices == tuple(Precision(each, four) for each in FORMATS)
    assert found.decisions[0].heads == (3, 1)
    assert {found.left[name] for name in NAMES if "products" in name} == {"a product of activations"}
    assert list(found.shapes) == [name for name in NAMES if "products" not in name] and found.owners == {}
    assert space(operands="weights").decisions[0].choices[0] == Precision(two, None)


class Odd(nn.Module):
    """Products in ways that have no quantized form."""

    def __init__(self):
        super().__init__()
        self.up, self.bank = nn.ConvTranspose1d(4, 4, 2), nn.LSTM(4, 4, batch_first=True)
        self.matrix, self.head = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 2)
        self.own = Tied()

    def forward(self, x):
        x = self.up(x.mT).mT
        x, _ = self.bank(x)
        x = x @ self.matrix
        x = torch.einsum("bij,bkj->bik", x, x) @ x
        return self.head(self.own(x))


class Tied(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


def test_what_is_left_is_named_with_the_reason():
    torch.manual_seed(0)
    model, x = Odd().eval(), torch.randn(2, 3, 4)
    found = space(model, x[:1])
    assert list(found.shapes) == [product_name("", 0), "head"]
    reasons = {
        "up": "conv_transpose1d of ConvTranspose1d has no quantized form",
        "bank": "lstm of LSTM has no quantized form",
        "own": "linear of Tied has no quantized form",
    }
    assert {name: reason for name, reason in found.left.items() if name in reasons} == reasons
    beside = {reason for name, reason in found.left.items() if name not in reasons}
    assert beside == {"linear of Odd has no quantized form", "matmul of Odd has no quantized form"}
    plain = model(x)
    quantized(model, found)
    calibrate(model, [x])
    assert not torch.equal(model(x), plain)
    for operation in quantized_operations(model).values():
        for choice in operation.choices:
            choice.select(None)
    torch.testing.assert_close(model(x), plain)


def test_attention_of_torch_is_split():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 2)
    found = space(model, torch.randn(1, 3, 8))
    names = ["q_proj", "k_proj", "v_proj", *(f"quantized_products.{n}" for n in range(2)), "out_proj"]
    each = [*(f"self_attn.{name}" for name in names), "linear1", "linear2"]
    assert set(found.shapes) == {f"layers.{place}.{name}" for place in range(2) for name in each} and not found.left


def test_wrong_spaces_are_refused():
    def refused(message, model=None, sample=IDS, error=ValueError, **options):
        with pytest.raises(error, match=f"^{message}") as told:
            space(model, sample, **options)
        assert "\n" not in str(told.value)

    refused("search must leave something to quantize; it leaves out all there is$", nn.ReLU(), torch.ones(1, 2))
    refused(r"search must leave something to quantize; it leaves out \['0'\]", nn.Sequential(Tied()), torch.ones(1, 4))
    refused(r"search must leave something to quantize; it leaves out \[", exclude=["*"])
    refused(r"search include 'decoder\.\*' must match an operation; there are \['table'", include=["decoder.*"])
    refused(r"search exclude 'decoder' must match an operation", exclude=["decoder"])
    refused(r"search decide must be layer, block, all or a list of expressions, not 'stage'", decide="stage")
    refused(r"search decide 'stage' must be found in an operation", decide=["stage"])
    refused(r"search decide must be regular expressions, not '\(': ", decide=["("])
    refused("search operands must be one of same, separate, weights, not 'both'", operands="both")
    refused("search activation must be left out unless operands are weights, not s2", activation=FORMATS[0])
    refused("search formats must be at least one and all different, not ", formats=())
    refused("search formats must be at least one and all different, not ", formats=(FORMATS[0], FORMATS[0]))
    with pytest.raises(TypeError, match=re.escape("Search include must be a list of patterns, not 'blocks.*'")):
        Search(formats=FORMATS, target_bits=4, include="blocks.*")
