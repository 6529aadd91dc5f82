"""The graph of a model: products counted as hooks and torch's counter count them, edges, names, refusals."""

import copy
import functools
import inspect
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import hwlut
from examples.models import LeNet5, QuantizedLinear, ResNet, VisionTransformer
from hwlut.graph import Graph, Source, trace
from hwlut.nn import convert
from hwlut.quant import calibrate
from hwlut.units import Multiplier

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
IMAGE = {"image_size": 32}


def hugging_face(kind, auto="AutoModel", attention="eager", **options):
    """A model of a small configuration, with random weights."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**options)
    return getattr(transformers, auto).from_config(config, attn_implementation=attention)


def tokens(batch=2):
    return torch.randint(3, 50, (batch, 7))


def images(batch=2):
    return torch.randn(batch, 3, 32, 32)


def gpt2():
    return hugging_face("GPT2", "AutoModelForCausalLM", **TEXT, n_embd=16, n_layer=2, n_head=2, use_cache=False)


def t5():
    options = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return hugging_face("T5", "AutoModelForSeq2SeqLM", **options, use_cache=False)


def segformer():
    sizes = {"depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "num_attention_heads": [1, 2]}
    convolutions = {"patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2]}
    return hugging_face("Segformer", num_encoder_blocks=2, **sizes, **convolutions)


def llama():
    options = {**SMALL, **TEXT, "num_key_value_heads": 1, "use_cache": False}
    return hugging_face("Llama", "AutoModelForCausalLM", **options)


def swin():
    options = {"patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
    return hugging_face("Swin", **IMAGE, **options)


def efficientnet():
    return hugging_face("EfficientNet", **IMAGE, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320)


HUGGING_FACE = {
    "BERT": (lambda: hugging_face("Bert", **SMALL, **TEXT), tokens),
    "BERT sdpa": (lambda: hugging_face("Bert", attention="sdpa", **SMALL, **TEXT), tokens),
    "RoBERTa": (lambda: hugging_face("Roberta", **SMALL, **TEXT, max_position_embeddings=20), tokens),
    "GPT-2": (gpt2, tokens),
    "Llama": (llama, tokens),
    "T5": (t5, lambda: {"input_ids": tokens(), "decoder_input_ids": tokens()}),
    "ViT": (lambda: hugging_face("ViT", **SMALL, **IMAGE, patch_size=8), images),
    "DeiT": (lambda: hugging_face("DeiT", **SMALL, **IMAGE, patch_size=8), images),
    "Swin": (swin, images),
    "ConvNeXt": (lambda: hugging_face("ConvNext", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), images),
    "Segformer": (segformer, images),
    "ResNet": (lambda: hugging_face("ResNet", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]), images),
    "MobileNetV2": (lambda: hugging_face("MobileNetV2", **IMAGE, depth_multiplier=0.25), images),
    "EfficientNet": (efficientnet, images),
}


class Convolutions(nn.Module):
    """Every kind of convolution, with groups, and shapes that differ in each dimension."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(4, 6, 3, groups=2, stride=2, padding=2)
        self.back_one = nn.ConvTranspose1d(6, 4, 3, groups=2, stride=2)
        self.two = nn.Conv2d(4, 8, (1, 3), groups=4, padding="same")
        self.back_two = nn.ConvTranspose2d(8, 6, (3, 2), groups=2, stride=(1, 2), bias=False)
        self.three = nn.Conv3d(1, 2, (1, 2, 3))
        self.back_three = nn.ConvTranspose3d(2, 1, 2, output_padding=0)

    def forward(self, x):
        y = self.back_one(self.one(x.flatten(2)))[..., : x[0, 0].numel()].view_as(x)
        return self.back_three(self.three(self.back_two(self.two(y)).unsqueeze(1)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


OWN = {
    "LeNet5": (LeNet5, lambda: torch.randn(2, 1, 28, 28)),
    "examples.ResNet": (ResNet, lambda: torch.randn(2, 1, 28, 28)),
    "examples.ViT": (VisionTransformer, lambda: torch.randn(2, 1, 28, 28)),
    "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), lambda: (torch.randn(2, 5, 8),) * 3),
    "cross attention": (
        lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True),
        lambda: (torch.randn(2, 5, 8), torch.randn(2, 3, 6), torch.randn(2, 3, 4)),
    ),
    "encoder": (encoder, lambda: torch.randn(2, 5, 8)),
    "masked encoder": (encoder, lambda: {"src": torch.randn(2, 5, 8), "src_key_padding_mask": PADDED}),
    "convolutions": (Convolutions, lambda: torch.randn(3, 4, 5, 7)),
    "tied": (Tied, lambda: torch.randint(0, 9, (2, 5))),
}
MODELS = HUGGING_FACE | OWN
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@functools.cache
def traced(name):
    """The model of that name in evaluation mode, its sample, and its graph."""
    make, sample = MODELS[name]
    torch.manual_seed(0)
    model, sample = make().eval(), sample()
    return model, sample, trace(model, sample)


@pytest.fixture(params=MODELS)
def name(request, need):
    if request.param in HUGGING_FACE:
        need("transformers")
    return request.param


def call(model, sample):
    """With gradients, so that no fast path is taken, and attention as the products that torch's counter knows."""
    with sdpa_kernel(SDPBackend.MATH):
        if isinstance(sample, dict):
            return model(**sample)
        return model(*sample) if isinstance(sample, tuple) else model(sample)


def batch_size(sample):
    if isinstance(sample, dict):
        sample = tuple(sample.values())
    return len(sample[0] if isinstance(sample, tuple) else sample)


def products_of(layer, x, y):
    """Multiply-accumulates of one call of a layer, from the shapes of what goes in and out."""
    if isinstance(layer, nn.Linear):
        return y.numel() * layer.in_features
    if not isinstance(layer, LAYERS):  # transformers' Conv1D
        return y.numel() * layer.weight.shape[0]
    taps = math.prod(layer.kernel_size)
    if layer.transposed:
        return x.numel() * layer.out_channels // layer.groups * taps
    return y.numel() * layer.in_channels // layer.groups * taps


def test_total_is_what_torch_counts(name):
    model, sample, graph = traced(name)
    with FlopCounterMode(display=False) as counter:
        call(model, sample)
    assert counter.get_total_flops() > 0
    assert 2 * batch_size(sample) * sum(each.macs for each in graph) == counter.get_total_flops()


def test_layers_are_what_hooks_count(name):
    model, sample, graph = traced(name)
    counted, calls, hooks = {}, {}, []
    for path, layer in model.named_modules():
        if isinstance(layer, LAYERS) or type(layer).__name__ == "Conv1D":

            def hook(layer, inputs, output, path=path):
                counted[path] = counted.get(path, 0) + products_of(layer, inputs[0], output)
                calls[path] = calls.get(path, 0) + 1

            hooks.append(layer.register_forward_hook(hook))
    call(model, sample)
    for hook in hooks:
        hook.remove()
    for path, layer in model.named_modules():
        found = [each for each in graph.of(path) if each.kind == "linear" or each.kind.startswith("conv")]
        if path in counted:
            assert sum(each.macs for each in found) * batch_size(sample) == counted[path], path
            assert [each.call for each in found] == list(range(calls[path])), path
            assert {each.weights for each in found} == {layer.weight.numel()}, path
            assert {each.module for each in found} == {type(layer).__name__}, path
    assert {path for path in counted if not graph.of(path)} == set()


def test_graph_is_closed(name):
    model, sample, graph = traced(name)
    paths = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    known = set(graph.inputs) | set(model.state_dict()) | {name for name, _ in model.named_buffers()}
    sources = {operation.name for operation in graph}
    for operation in graph:
        lifted = {each for each in operation.inputs if each not in known}
        assert all(each.startswith("lifted_tensor") for each in lifted), operation
        assert operation.name not in known
        known.add(operation.name)
        assert paths[operation.path].__class__.__name__ == operation.module
        assert set(operation.parameters) <= set(parameters)
        assert ".py:" in operation.line
        assert operation.kind not in ("to", "dropout", "contiguous", "assert_tensor_metadata", "getitem")
    assert {source.name for source in graph.outputs} <= sources
    assert len(sources) == len(graph)


def test_only_layers_and_products_count(name):
    kinds = {"linear", "matmul", "attention"}
    for operation in traced(name)[2]:
        assert (operation.macs > 0) == (operation.kind in kinds or operation.kind.startswith("conv")), operation


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "attention", "encoder", "examples.ResNet"])
def test_model_is_as_it_was(name, need):
    if name in HUGGING_FACE:
        need("transformers")
    torch.manual_seed(1)
    model, sample = MODELS[name][0](), MODELS[name][1]()
    model.train()
    next(iter(model.children())).eval()
    modes = [module.training for module in model.modules()]
    parameters = dict(model.named_parameters())
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    graph = trace(model, sample)
    assert [module.training for module in model.modules()] == modes
    assert all(parameters[name] is parameter for name, parameter in model.named_parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert "dropout" not in {operation.kind for operation in graph}


def test_macs_are_of_one_sample(need):
    need("transformers")
    for name, sample in [("BERT", tokens), ("Swin", images)]:
        model, _, graph = traced(name)
        for batch in (1, 3):
            assert [each.macs for each in trace(model, sample(batch))] == [each.macs for each in graph]


def test_products_belong_to_the_module_that_calls_them(need):
    need("transformers")
    attention = ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    _, _, graph = traced("BERT")
    assert [(each.path, each.place) for each in graph.products] == [(path, at) for path in attention for at in (0, 1)]
    assert {each.module for each in graph.products} == {"BertSelfAttention"}
    assert {each.kind for each in graph.products} == {"matmul"}
    [softmax] = [each for each in graph.of(attention[0]) if each.kind == "softmax"]
    assert softmax.name in graph.products[1].inputs
    whole = traced("BERT sdpa")[2].products
    assert [(each.path, each.kind, each.place) for each in whole] == [(path, "attention", 0) for path in attention]
    assert whole[0].macs == graph.products[0].macs + graph.products[1].macs


def test_transposed_weights_are_linear(need):
    need("transformers")
    _, _, graph = traced("GPT-2")
    [layer] = [each for each in graph.of("transformer.h.0.mlp.c_fc") if each.macs]
    assert (layer.kind, layer.module, layer.shape, layer.weights) == ("linear", "Conv1D", (14, 64), 16 * 64)
    assert layer.parameters == ("transformer.h.0.mlp.c_fc.bias", "transformer.h.0.mlp.c_fc.weight")
    assert layer.macs == 7 * 16 * 64
    assert layer.line.startswith("transformers/pytorch_utils.py:")


def test_padding_stands_by_itself_or_in_the_convolution(need):
    need("transformers")
    kinds = [each.kind for each in traced("MobileNetV2")[2]]
    assert kinds.count("pad") == kinds.count("conv2d") == 52
    assert "same" in {each.arguments.get("padding") for each in traced("EfficientNet")[2]}


def test_tied_weights_have_one_name():
    _, _, graph = traced("tied")
    embedding, head = graph
    assert embedding.kind == "embedding" and head.kind == "linear" and head.path == "head"
    assert embedding.parameters == head.parameters == ("embedding.weight",)
    assert embedding.weights == head.weights == 36 and embedding.macs == 0


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.second = self.first
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.last = self.layers[1]

    def forward(self, x):
        x = self.first(self.second(self.first(x)))
        for layer in self.layers[1:]:
            x = layer(x)
        return self.last(x)


def test_shared_modules_join():
    graph = trace(Shared(), torch.randn(2, 4))
    linear = [(each.path, each.call) for each in graph if each.kind == "linear"]
    assert linear == [("first.0", 0), ("first.0", 1), ("first.0", 2), ("layers.1", 0), ("layers.2", 0), ("layers.1", 1)]
    assert graph.of("second.0") == graph.of("first.0") and len(graph.of("first.1")) == 3
    assert graph.of("last") == graph.of("layers.1")
    assert graph.of("layers.0") == graph.of("first") == ()
    assert {each.place for each in graph} == {0}
    with pytest.raises(ValueError, match=r"^Graph path must be that of a module of the model, not 'firs'$"):
        graph.of("firs")


class Written(nn.Module):
    """Writes in place, through views, and under other modes."""

    def forward(self, x, y):
        a, b = (x * 2).split([1, 3], dim=1)
        x.relu_()
        c = x.sin()
        d = torch.zeros(2, 4)
        d[:, 0] = y.cos()
        with torch.autocast("cpu", enabled=False):
            e = d.exp()
        with torch.enable_grad():
            f = e.tan()
        return a.tanh(), b.float().clone().neg(), c, f


def test_values_are_followed_through_writes_views_and_modes():
    graph = trace(Written(), (torch.randn(2, 4), torch.randn(2)))
    by_kind = {operation.kind: operation for operation in graph}
    fed = {kind: operation.inputs for kind, operation in by_kind.items()}
    assert graph.inputs == ("x", "y")
    assert fed["mul"] == fed["relu"] == ("x",)
    assert fed["tanh"] == fed["neg"] == (by_kind["split"].name,)
    assert by_kind["tanh"].arguments["self"] == Source(by_kind["split"].name, 0)
    assert by_kind["neg"].arguments["self"] == Source(by_kind["split"].name, 1)
    assert by_kind["split"].arguments["split_sizes"] == (1, 3) and by_kind["split"].arguments["dim"] == 1
    assert fed["sin"] == (by_kind["relu"].name,)
    assert by_kind["cos"].name in fed["copy"]
    assert fed["exp"] == (by_kind["copy"].name,)
    assert fed["tan"] == (by_kind["exp"].name,)
    assert [source.name for source in graph.outputs] == [by_kind[kind].name for kind in ("tanh", "neg", "sin", "tan")]


def test_views_read_what_is_written_to_their_base():
    class Viewed(nn.Module):
        def forward(self, x):
            column, row = x[:, 0], x[0].exp()
            x.add_(1)
            return column.sin() + row.cos()

    by_kind = {operation.kind: operation for operation in trace(Viewed(), torch.randn(4, 4))}
    assert by_kind["sin"].inputs == ("add_",)
    assert by_kind["cos"].inputs == (by_kind["exp"].name,)


class Partly(nn.Module):
    def forward(self, x, y):
        x, y = x + 1, y + 1
        x.relu_()
        part, rest = y.split([1, 3], 1)
        part.mul_(2)
        y.T.neg_()
        return torch.stack([x, y]), rest


def test_shapes_of_arguments_and_results_and_writes_to_parts():
    graph = trace(Partly(), (torch.randn(2, 4), torch.randn(2, 4)))
    by_kind = {operation.kind: operation for operation in graph}
    split, stack = by_kind["split"], by_kind["stack"]
    assert (split.operator, split.sizes, split.shapes) == ("aten::split_with_sizes", {"self": (2, 4)}, ((2, 1), (2, 3)))
    assert split.shape == (2, 1) and stack.shapes == ((2, 2, 4),)
    assert stack.sizes == {"tensors": ((2, 4), (2, 4))}
    assert {kind: each.partial for kind, each in by_kind.items() if each.operator.endswith("_")} == {
        "relu": False,
        "mul": True,
        "neg": True,
    }
    assert stack.arguments["tensors"][1] == Source(by_kind["neg"].name) and by_kind["neg"].shape == (4, 2)


@pytest.mark.parametrize("copied", ["clone", "double", "contiguous", "flatten"])
def test_copies_are_not_what_they_copy(copied):
    class Copied(nn.Module):
        def forward(self, x):
            turned = x.mT
            y = getattr(turned, copied)()
            y.add_(1)
            return turned.sin(), y.cos()

    by_kind = {operation.kind: operation for operation in trace(Copied(), torch.randn(2, 4))}
    assert by_kind["sin"].inputs == (by_kind["mT"].name,) and by_kind["cos"].inputs == (by_kind["add"].name,)


def test_numbers_hand_on_what_they_come_from():
    class Scaled(nn.Module):
        def forward(self, x):
            return x * x.max().item()

    largest, product = trace(Scaled(), torch.randn(2, 4))
    assert largest.kind == "max" and product.inputs == ("x", largest.name)


class Products(nn.Module):
    """Every way to multiply matrices, of [batch, 3, 4] by [batch, 4, 5] or by weights of 4 x 5."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))
        self.experts = nn.Parameter(torch.randn(2, 4, 5))
        self.register_buffer("fixed", torch.randn(4, 5))

    def forward(self, x, y):
        flat, square = x.reshape(-1, 4), torch.zeros(2, 3, 5)
        return (
            *(x @ y, torch.bmm(x, y), torch.baddbmm(square, x, y), torch.einsum("bij,bjk->bik", x, y)),
            *(torch.addbmm(square[0], x, y), torch.tensordot(x, y, ([0, 2], [0, 1]))),
            *(
                x @ self.experts,
                x @ self.fixed,
                x[0] @ y[0],
                torch.mv(x[0], y[0, :, 0]),
                torch.dot(x[0, 0], y[0, :, 0]),
            ),
            *(x @ self.weight, torch.mm(flat, self.weight), torch.addmm(square[0, 0], flat, self.weight)),
            *(F.linear(x, self.weight.T), self.weight.T @ x.mT, F.linear(x, y[0].T)),
            torch.einsum("bij,jk->bik", x, self.weight),
        )


def test_products_and_their_weights():
    graph = trace(Products(), (torch.randn(2, 3, 4), torch.randn(2, 4, 5)))
    products = [each for each in graph if each.macs]
    whole, one = 3 * 4 * 5, 3 * 4 * 5 // 2
    kinds = ["matmul"] * 11 + ["linear"] * 5 + ["matmul"] * 2
    assert [each.kind for each in products] == kinds
    assert [each.macs for each in products] == [whole] * 8 + [one, 6, 2] + [whole] * 7
    assert [each.weights for each in products] == [0] * 6 + [40] + [0] * 4 + [20] * 5 + [0, 20]
    assert [each.parameters for each in products[11:16]] == [("weight",)] * 5
    assert products[6].parameters == ("experts",) and products[7].parameters == ()
    assert [each.place for each in products] == [*range(11), *range(5), 11, 12]


def test_both_products_of_attention_count():
    class Attending(nn.Module):
        def forward(self, query, key, value):
            return F.scaled_dot_product_attention(query, key, value)

    sample = torch.randn(2, 7, 3, 4), torch.randn(2, 7, 5, 4), torch.randn(2, 7, 5, 6)
    [operation] = trace(Attending(), sample)
    assert operation.kind == "attention" and operation.macs == 7 * (3 * 5 * 4 + 3 * 5 * 6)


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_networks(kind, gates):
    model = getattr(nn, kind)(4, 5, 2, bidirectional=True, batch_first=True)
    graph = trace(model, torch.randn(2, 3, 4))
    macs = 0
    for width in (4, 10):  # of what enters each layer
        for _direction in range(2):
            for _step in range(3):
                macs += gates * 5 * (width + 5)
    [operation] = [each for each in graph if each.macs]
    assert (operation.macs, operation.weights) == (macs, macs // 3)
    assert sorted(operation.parameters) == sorted(name for name, _ in model.named_parameters())


def test_line_is_the_models_own():
    graph = trace(Tied(), torch.randint(0, 9, (2, 5)))
    source, start = inspect.getsourcelines(Tied.forward)
    assert {operation.line.rpartition("tests/")[2] for operation in graph} == {f"test_graph.py:{start + 1}"}
    assert "self.head" in source[1]


def test_table():
    model = nn.Sequential(nn.Linear(10, 200), nn.ReLU(), nn.Linear(200, 3))
    assert str(trace(model, torch.randn(2, 10))).splitlines() == [
        "path  kind    shape   MACs",
        "0     linear  2x200  2,000",
        "1     relu    2x200      0",
        "2     linear  2x3      600",
        "                     2,600",
    ]


def test_graph_is_a_read_only_sequence():
    graph = trace(nn.Linear(3, 2), torch.randn(1, 3))
    assert isinstance(graph, Graph) and len(graph) == 1 and list(graph) == [graph["linear"]]
    assert graph["linear"].path == "" and graph["linear"].module == "Linear"
    assert graph["linear"].dtype == torch.float32
    assert graph.outputs == (Source("linear"),) and hash(graph) == hash(copy.copy(graph))
    with pytest.raises(KeyError):
        graph["input"]
    with pytest.raises(AttributeError):
        graph["linear"].macs = 0
    with pytest.raises(TypeError):
        graph["linear"].arguments["bias"] = None


def test_names_do_not_clash():
    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.add = nn.Parameter(torch.zeros(4))
            self.x = nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return x + self.add + self.x

    graph = trace(Clash(), torch.randn(2, 4))
    assert graph.inputs == ("x_",) and [each.inputs for each in graph] == [("x_", "add"), ("add_", "x")]


def test_layers_on_units():
    data = [torch.randn(4, 6) for _ in range(2)]
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    dense = trace(model, data[0])
    multiplier = Multiplier(family="drum", k=4, signed=True)
    convert(model, {nn.GELU: hwlut.load("pretrained/gelu_8.json"), nn.Linear: multiplier}, data)
    graph = trace(model, data[0])
    assert "quantized_lookup" in {each.kind for each in graph.of("1")}
    for path in ("0", "2"):
        [layer] = [each for each in graph.of(path) if each.macs]
        [plain] = dense.of(path)
        assert (layer.kind, layer.macs, layer.weights) == ("linear", plain.macs, plain.weights)
        assert f"{path}.weight" in layer.parameters


def test_quantized_weights_keep_their_parameters():
    model, data = QuantizedLinear(nn.Linear(6, 8)), torch.randn(4, 6)
    calibrate(model, [data])
    [layer] = [each for each in trace(model, data) if each.macs]
    assert layer.kind == "linear" and layer.weights == 48
    assert layer.parameters == ("linear.parametrizations.weight.original", "linear.bias")


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x


class Choosing(nn.Module):
    def forward(self, x):
        return x[x > 0]


class Conditional(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


class Escaping(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() + 1)


class Opaque(nn.Module):
    def forward(self, x):
        return object()


@pytest.mark.parametrize(
    "model, line, text",
    [
        (Branching, 1, r"if x.sum\(\) > 0: \(what runs depends on the values of a tensor\)"),
        (Choosing, 1, r"return x\[x > 0\] \(the shape of index depends on the values of a tensor\)"),
        (Conditional, 1, r"return torch.cond\(.*\) \(cond leaves open which operations run\)"),
        (Escaping, 1, r"return torch.from_numpy\(x.numpy\(\) \+ 1\) \(.*numpy.*\)"),
    ],
)
def test_what_cannot_be_captured_is_told_with_its_line(model, line, text, capfd):
    start = inspect.getsourcelines(model.forward)[1]
    where = rf"[\w/.]*test_graph\.py:{start + line}"
    expected = rf"^trace model must be one that torch\.export captures, unlike {where}: {text}$"
    with pytest.raises(ValueError, match=expected):
        trace(nn.Sequential(model()), torch.randn(2, 4))
    assert capfd.readouterr() == ("", "")


def test_output_that_holds_no_tensors():
    with pytest.raises(ValueError, match=r"^trace model must be one that torch\.export captures: .*object.*$"):
        trace(Opaque(), torch.randn(2, 4))


@pytest.mark.parametrize(
    "error, text, model, sample",
    [
        (TypeError, "trace model must be a torch.nn.Module, not <built-in", torch.sin, torch.randn(2)),
        (ValueError, "trace sample must hold a tensor, not 3", nn.ReLU(), 3),
        (ValueError, "trace sample must hold a tensor, not {}", nn.ReLU(), {}),
        (ValueError, "trace sample must have a batch of at least 1 in front, not ()", nn.ReLU(), torch.tensor(1.0)),
        (ValueError, "trace sample must have a batch of at least 1 in front, not (0, 4)", nn.ReLU(), torch.ones(0, 4)),
        (
            TypeError,
            "trace sample must be what the model is called with: too many positional arguments",
            nn.ReLU(),
            (torch.ones(2), torch.ones(2)),
        ),
        (
            TypeError,
            "trace sample must be what the model is called with: missing a required argument: 'input'",
            nn.ReLU(),
            {"x": torch.ones(2)},
        ),
    ],
)
def test_refusals(error, text, model, sample):
    with pytest.raises(error) as raised:
        trace(model, sample)
    assert str(raised.value).startswith(text)


def test_what_a_call_notes_is_not_kept():
    class Noting(nn.Module):
        def forward(self, x):
            warnings.warn("take care", stacklevel=1)
            self.last, self.seen = x, x
            return x + 1

    model = Noting()
    model.seen = None
    with pytest.warns(UserWarning, match="^take care$"):
        trace(nn.Sequential(model), torch.randn(2))
    assert not hasattr(model, "last") and model.seen is None
