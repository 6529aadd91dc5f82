"""Models by name: of the published sizes, fitted to what they are given, with weights from disk or refused."""

import re
import socket

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="needs transformers")
import transformers
from safetensors.torch import save_file

from hwlut.train import MODELS, Task, finetune, load_state, save_state
from hwlut.train.models import Images, Series, Tokens, model
from hwlut.train.options import Finetune

WORDS = Tokens(40, 12)
SMALL = {
    "bert-tiny": {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "bert": {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "roberta": {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "gpt2": {"n_layer": 1, "n_embd": 32, "n_head": 2},
    "resnet18": {"depths": [1, 1, 1, 1], "hidden_sizes": [4, 4, 8, 8], "embedding_size": 4},
    "resnet50": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 16], "embedding_size": 4},
    "efficientnet-b0": {"width_coefficient": 0.25, "hidden_dim": 320},
    "mobilenetv2": {"depth_multiplier": 0.35},
    "deit-tiny": {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "series-transformer": {"width": 16, "depth": 1, "heads": 2},
}
TEXT = {"bert-tiny", "bert", "roberta", "gpt2"}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("no connection must be tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def inputs_of(name, side=28):
    if name in TEXT:
        return WORDS
    return Series(3, 9) if name == "series-transformer" else Images(1, side, side)


def batch_of(inputs, count=3):
    """Arguments by position and by keyword, for a batch of this size."""
    if isinstance(inputs, Images):
        return (torch.rand(count, inputs.channels, inputs.height, inputs.width),), {}
    if isinstance(inputs, Series):
        mask = torch.arange(inputs.length) < torch.arange(count)[:, None] + 2
        return (torch.randn(count, inputs.channels, inputs.length), mask), {}
    ids = torch.randint(1, inputs.vocabulary, (count, inputs.length))
    return (), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(built, inputs, batch=None):
    arguments, named = batch or batch_of(inputs)
    output = built(*arguments, **named)
    return getattr(output, "logits", output)


def built(name, side=28, classes=5, **options):
    return model(name, inputs_of(name, side), classes, config=SMALL[name], **options)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_every_family_is_built(name):
    torch.manual_seed(0)
    net = built(name)
    found = logits(net, inputs_of(name))
    assert found.shape == (3, 5) and found.isfinite().all()
    found.square().sum().backward()
    unused = {key for key, parameter in net.named_parameters() if parameter.grad is None}
    assert not unused


@pytest.mark.parametrize("name", [name for name in SMALL if name not in TEXT and name != "series-transformer"])
@pytest.mark.parametrize("side", [8, 16, 18, 32, 45])
def test_images_of_every_size(name, side):
    torch.manual_seed(0)
    found = logits(built(name, side), Images(1, side, side))
    assert found.shape == (3, 5) and found.std(0).mean() > 1e-3  # images are told apart from the start


def test_names_are_those_that_users_know():
    known = "bert-tiny bert-mini bert-small bert-medium bert roberta gpt2 gpt2-medium gpt2-large resnet18 resnet50"
    known += " mobilenetv2 deit-tiny deit-small deit-base " + " ".join(f"efficientnet-b{n}" for n in range(8))
    assert set(known.split()) | {"bert-base", "series-transformer"} == set(MODELS)
    assert len(MODELS) == len(set(MODELS))


# Parameters as torchvision's tables of weights state them for ImageNet's thousand classes.
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenetv2": 3_504_872,
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "efficientnet-b3": 12_233_232,
    "efficientnet-b4": 19_341_616,
    "efficientnet-b5": 30_389_784,
    "efficientnet-b6": 43_040_704,
    "efficientnet-b7": 66_347_960,
}
# timm's, without the distillation token, which has a place of its own: twice the width more.
DEIT = {"deit-tiny": (5_717_416, 192), "deit-small": (22_050_664, 384), "deit-base": (86_567_656, 768)}
# Millions, with the heads of pre-training: Turc et al. (arXiv 1908.08962), table 1.
BERT = {"bert-tiny": 4.4, "bert-mini": 11.3, "bert-small": 29.1, "bert-medium": 41.7, "bert-base": 110.1, "bert": 110.1}
# Millions, as OpenAI's README of GPT-2 states them, and fairseq's of RoBERTa.
MILLIONS = {"gpt2": 124, "gpt2-medium": 355, "gpt2-large": 774, "roberta": 125}


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        for name, published in TORCHVISION.items():
            assert count(model(name, Images(3, 224, 224), 1000)) == published, name
        for name, (published, width) in DEIT.items():
            assert count(model(name, Images(3, 224, 224), 1000)) == published + 2 * width, name
        for name, published in BERT.items():
            config = model(name, Tokens(30_522, 512), 2).config
            assert round(count(transformers.BertForPreTraining(config)) / 1e6, 1) == published, name
        for name, published in MILLIONS.items():
            words = Tokens(50_265, 512, 1) if name == "roberta" else Tokens(50_257, 1024)
            assert round(count(model(name, words, 2)) / 1e6) == published, name
    assert {*TORCHVISION, *DEIT, *BERT, *MILLIONS} == {*MODELS} - {"series-transformer"}


def test_paddings_of_efficientnet_are_those_of_the_published_weights():
    # As the conversion of the released weights to transformers lists them, for the released sizes.
    known = {1: (240, [16]), 2: (260, [5, 8, 16]), 3: (300, [5, 18]), 4: (380, [6]), 5: (456, [13, 27]), 6: (528, [31])}
    for number, (side, blocks) in (known | {0: (224, []), 7: (600, [18])}).items():
        with torch.device("meta"):
            assert model(f"efficientnet-b{number}", Images(3, side, side), 10).config.depthwise_padding == blocks


@pytest.mark.parametrize("side, patch", [(224, 16), (112, 16), (64, 8), (45, 5), (32, 4), (28, 4), (8, 2), (5, 1)])
def test_patches_fit_the_image(side, patch):
    net = built("deit-tiny", side)
    assert net.deit.embeddings.patch_embeddings.projection.kernel_size == (patch, patch)
    assert net.deit.embeddings.position_embeddings.shape[1] == (side // patch) ** 2 + 2


@pytest.mark.parametrize("name, stem", [("resnet18", 4), ("efficientnet-b0", 2), ("mobilenetv2", 2)])
def test_stems_of_small_images_halve_nothing(name, stem):
    for side, factor in ((32, stem), (16, 1)):
        seen = []
        net = built(name, side)
        second = [module for module in net.modules() if isinstance(module, nn.Conv2d)][1]
        second.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0].shape[-1]))
        logits(net, Images(1, side, side))
        assert abs(seen[0] - side / factor) <= 2, (side, seen)  # tensorflow's padding is up to two beyond


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-b0", "mobilenetv2"])
def test_batch_normalization_keeps_a_tenth_of_each_batch(name):
    net = built(name).train()
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    seen = []
    norm.register_forward_hook(lambda module, given, output: seen.append(given[0].mean((0, 2, 3))))
    logits(net, inputs_of(name))
    torch.testing.assert_close(norm.running_mean, 0.1 * seen[0])


@pytest.mark.parametrize("name", ["bert-tiny", "roberta", "gpt2"])
def test_padding_of_a_text_changes_nothing(name):
    torch.manual_seed(0)
    net = built(name).eval()
    ids = torch.randint(1, 40, (2, 7))
    alone = logits(net, WORDS, ((), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}))
    longer = nn.functional.pad(ids, (0, 5))
    padded = logits(net, WORDS, ((), {"input_ids": longer, "attention_mask": (longer > 0).long()}))
    torch.testing.assert_close(padded, alone)


def test_steps_beyond_a_series_change_nothing():
    torch.manual_seed(0)
    long, short = (model("series-transformer", Series(3, length), 4) for length in (9, 6))
    state = long.state_dict()
    short.load_state_dict(state | {"positions": state["positions"][:6]})
    series = torch.randn(2, 3, 6)
    alone = short(series, torch.ones(2, 6, dtype=torch.bool))
    mask = (torch.arange(9) < 6).expand(2, 9)
    for beyond in (torch.zeros(2, 3, 3), 100 * torch.randn(2, 3, 3)):
        torch.testing.assert_close(long(torch.cat([series, beyond], 2), mask), alone)
    more = long(torch.cat([series, torch.ones(2, 3, 3)], 2), torch.ones(2, 9, dtype=torch.bool))
    assert not torch.allclose(more, alone)


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_back(name, tmp_path):
    torch.manual_seed(0)
    net, said = built(name), []
    file = tmp_path / "state.safetensors"
    save_state(file, net)
    again = [built(name, weights=file, told=said.append)]
    if name != "series-transformer":
        net.save_pretrained(tmp_path / "folder")
        again.append(built(name, weights=tmp_path / "folder", told=said.append))
    batch = batch_of(inputs_of(name))
    expected = logits(net.eval(), None, batch)
    for each in again:
        for parameter, own in zip(each.state_dict().values(), net.state_dict().values(), strict=True):
            assert torch.equal(parameter, own)
        torch.testing.assert_close(logits(each.eval(), None, batch), expected)  # rounded as memory lies, on some CPUs
    assert said == []
    load_state(file, again[-1])  # of just the same names


def test_a_head_of_another_size_is_left_out_and_said(tmp_path):
    torch.manual_seed(0)
    net, said = built("bert-tiny"), []
    net.save_pretrained(tmp_path)
    other = built("bert-tiny", classes=3, weights=tmp_path, told=said.append)
    assert said == [f"{tmp_path}: bert-tiny takes all but classifier.bias, classifier.weight, which are drawn"]
    assert logits(other, WORDS).shape == (3, 3)
    state = net.state_dict()
    same = [name for name, tensor in other.state_dict().items() if torch.equal(tensor, state.get(name, tensor + 1))]
    assert {*state} - {*same} == {"classifier.bias", "classifier.weight"}


def test_weights_of_half_precision_become_float32(tmp_path):
    torch.manual_seed(0)
    net = built("gpt2").half()
    net.save_pretrained(tmp_path)
    again = built("gpt2", weights=tmp_path)
    assert {tensor.dtype for tensor in again.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    assert all(torch.equal(tensor.half(), net.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_weights_of_pre_training_are_taken_without_their_head(tmp_path):
    torch.manual_seed(0)
    said, config = [], built("bert-tiny").config
    trained = transformers.BertForMaskedLM(config)
    trained.save_pretrained(tmp_path)
    net = built("bert-tiny", weights=tmp_path, told=said.append)
    body = trained.bert.state_dict()
    assert all(torch.equal(net.bert.state_dict()[name], tensor) for name, tensor in body.items())
    assert len(said) == 1 and "classifier.weight" in said[0] and "pooler" in said[0]


def test_weights_that_do_not_fit_are_refused(tmp_path):
    built("bert-tiny").save_pretrained(tmp_path / "net")

    def refused(message, path="net", **config):
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / path))}: {message}") as told:
            model("bert-tiny", WORDS, 5, weights=tmp_path / path, config=SMALL["bert-tiny"] | config)
        assert "\n" not in str(told.value)

    refused(r"weights must be of bert-tiny; they lack \['bert.encoder.layer.1.", num_hidden_layers=2)
    refused(r"weights must be of bert-tiny; bert\.[\w.]+ must be \[64\], not \[48\]$", intermediate_size=64)
    state = built("bert-tiny").state_dict()
    path = tmp_path / "more.safetensors"
    save_file(state | {"bert.encoder.layer.1.output.dense.bias": torch.zeros(32)}, path)
    refused(r"weights must be of bert-tiny; they have \['bert.encoder.layer.1.output.dense.bias'\] beside", path.name)
    save_file(state | {"bert.pooler.dense.bias": torch.full((32,), torch.nan)}, path)
    refused(r"weights must be finite, but not \['bert.pooler.dense.bias'\]$", path.name)
    (tmp_path / "empty").mkdir()
    refused("weights must be a folder with model.safetensors or pytorch_model.bin; it has none$", "empty")
    refused("no such file$", "nothing")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no tensors")
    refused("weights of bert-tiny cannot be read: ", "damaged")
    (tmp_path / "damaged.safetensors").write_bytes(b"no tensors")
    refused("weights must be a whole .safetensors file: ", "damaged.safetensors")


@pytest.mark.parametrize(
    "message, arguments, config",
    [
        ("model must be one of bert-tiny, bert-mini, .*, not 'resnet19'", ("resnet19", Images(1, 8, 8), 2), None),
        (
            "model of images must be one of resnet18, .*deit-base, not bert, which takes tokens",
            ("bert", Images(1, 8, 8), 2),
            None,
        ),
        (
            "model of tokens must be one of bert-tiny, .*, not resnet18, which takes images",
            ("resnet18", WORDS, 2),
            None,
        ),
        (
            "model of series must be one of series-transformer, not gpt2, which takes tokens",
            ("gpt2", Series(1, 2), 2),
            None,
        ),
        ("model classes must be an integer of at least 1, not 0", ("gpt2", WORDS, 0), None),
        ("bert-tiny config must have keys of BertConfig, not 'n_layer'", ("bert-tiny", WORDS, 2), {"n_layer": 1}),
        ("bert-tiny config vocab_size must be left to the inputs, not 9", ("bert-tiny", WORDS, 2), {"vocab_size": 9}),
        ("bert-base length must be at most 512, not 513", ("bert", Tokens(40, 513), 2), None),
        ("roberta length must be at most 509, not 510", ("roberta", Tokens(40, 510, 4), 2), None),
        ("gpt2 length must be at most 8, not 12", ("gpt2", WORDS, 2), {"n_positions": 8}),
        (
            "series-transformer config must be of width, depth, heads, not 'layers'",
            ("series-transformer", Series(1, 2), 2),
            {"layers": 2},
        ),
        (
            "Attention width must be a multiple of the 3 heads, not 64",
            ("series-transformer", Series(1, 2), 2),
            {"heads": 3},
        ),
    ],
)
def test_wrong_use_is_one_line(message, arguments, config):
    with pytest.raises(ValueError, match=f"^{message}$") as told:
        model(*arguments, config=config)
    assert "\n" not in str(told.value)


def test_inputs_are_checked():
    with pytest.raises(TypeError, match="^Images height must be an integer, not 8.0$"):
        Images(1, 8.0, 8)
    with pytest.raises(ValueError, match="^Tokens length must be at least 1, not 0$"):
        Tokens(10, 0)
    with pytest.raises(ValueError, match="^Tokens padding must be below the vocabulary of 10, not 10$"):
        Tokens(10, 4, 10)


def test_a_named_model_is_trained_by_the_loop():
    def samples():
        drawn = torch.Generator().manual_seed(0)
        for _ in range(64):
            ids = torch.randint(1, 40, (12,), generator=drawn)
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.tensor(int(ids[0] > 20))

    data = list(samples())
    torch.manual_seed(0)
    task = Task(name="first", model=lambda: built("bert-tiny", classes=2), train=data, test=data)
    found = finetune(task.model(), task, Finetune(epochs=30, batch=16, learning_rate=3e-3, ema=0.0), device="cpu")
    assert found.metric > 0.9
