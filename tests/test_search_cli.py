"""hwlut search: one budget from the command line, its files and pictures; refusals in one line."""

import fnmatch
import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from searches import BITS, MACS, SEARCH, SHORT, TASK, called, cost, is_picture, refused, task_folder, told  # noqa: F401

import hwlut.quant
from hwlut.quant import parse_format
from hwlut.search import Search, open_search, search
from hwlut.search.parts import PARTS, part_patterns
from hwlut.search.source import task_of
from hwlut.train import Finetune, Task, evaluate


def test_a_search_is_found_told_and_measured_again(capsys, folder):
    found = told(capsys, *SEARCH, "--log-steps", 1)
    assert (found["run"], found["task"]) == ("product", "product")
    assert set(found["operations"]) == set(MACS) and found["left"] == {}
    assert found["target"] == 25 * sum(MACS.values())
    assert (found["least"], found["most"]) == (4 * sum(MACS.values()), 64 * sum(MACS.values()))
    assert cost(found["operations"]) == found["cost"] <= found["target"]
    assert all(1 / 3 - 0.1 < each["probability"] <= 1 for each in found["operations"].values())
    assert found["plots"] == {"bits": "product/bits.png", "policy": "product/policy.png"}
    assert all(map(is_picture, found["plots"].values()))
    again = told(capsys, "eval", "product")
    assert again["now"] == again["metric"] == found["metric"] and again["operations"] == found["operations"]
    table, _, rest = called(capsys, "eval", "product", "--threads", 1).out.partition("\n\n")
    assert table.splitlines()[0].split() == ["operation", "format", "cost", "probability"]
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        [name, each["precision"]] for name, each in found["operations"].items()
    ]
    shares = [float(line.split()[2]) for line in table.splitlines()[1:]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert [line.split()[0] for line in rest.splitlines()] == ["cost", "metric", "now", "held-out", "run"]
    configuration, task, model = open_search("product")
    assert configuration.source == str(folder / "product.py") and evaluate(model, task) == found["metric"]


def test_options_reach_the_search(capsys):
    options = [
        "--search", "oneshot", "--search-space", "e2m1,8,0", "--separate", "--decide", "^([02])$",
        "--include", "*", "--exclude", "4", "--cost-type", "memory", "--cost-function", "one_sided",
        "--cost-beta", 2, "--rl-learning-rate", 0.125, "--delay-steps", 2, "--max-entropy-beta", 0.25,
        "--entropy-schedule-type", "heaviside", "--share", 0.5, "--warmup", 0.25, "--held-out", 0.25,
        "--eval-batch-size", 5, "--per-tensor", "--weight-range-percentile", 99, "--per-token",
    ]  # fmt: skip
    training = [
        "--train-batch-size", 10, "--gradient-accumulation-steps", 2, "--learning-rate", 0.5, "--optimizer", "sgd",
        "--ema", 0.5, "--bf16", "--eval-steps", 6, "--seed", 3, "--save-strategy", "steps", "--save-steps", 4,
        "--exp-name", "mine", "-o", "runs", "--cost-target", 3000,
    ]  # fmt: skip
    found = told(capsys, *SHORT, *options, *training)
    assert found["run"] == "runs/mine" and found["left"] == {"4": "excluded"}
    request = json.loads(Path("runs/mine/request.json").read_text())
    wanted = {
        "formats": ["e2m1", "s8", "0"], "method": "oneshot", "operands": "separate", "decide": ["^([02])$"],
        "exclude": ["4"], "cost": "memory", "target": 3000, "target_bits": None, "function": "one_sided", "beta": 2,
        "rate": 0.125, "delay_steps": 2, "entropy": 0.25, "schedule": "step", "share": 0.5, "warmup": 0.25,
        "held_out": 0.25, "held_out_batch": 5,
    }  # fmt: skip
    assert request["search"].items() >= wanted.items()
    quantizers = request["search"]["quantizers"]
    assert quantizers["weights"].items() >= {"granularity": "tensor", "method": "percentile", "percentile": 99}.items()
    assert quantizers["activations"].items() >= {"granularity": "token", "source": "dynamic"}.items()
    trained = {
        "steps": 12, "batch": 20, "accumulate": 2, "learning_rate": 0.5, "optimizer": "sgd", "ema": 0.5,
        "amp": "bfloat16", "evaluate_every": 6, "seed": 3,
    }  # fmt: skip
    assert request["training"].items() >= trained.items()
    weights = {name: each["precision"].partition("/")[0] for name, each in found["operations"].items()}
    assert sum(MACS[name] * BITS[format] for name, format in weights.items()) == found["cost"]


@pytest.mark.parametrize(
    "options, precision",
    [
        (["--bits", 4], "s4"),
        (["--bits", "e2m1"], "e2m1"),
        (["--weight-bits", 4, "--activation-bits", 8], "s4/s8"),
        (["--weight-bits", 4], "s4/0"),
        (["--bits", 0], "0"),
    ],
)
def test_one_format_without_a_search(capsys, options, precision):
    found = told(capsys, *SHORT, *options)
    assert {each["precision"] for each in found["operations"].values()} == {precision}
    assert cost(found["operations"]) == found["cost"] and list(found["plots"]) == ["bits"]
    assert found["evaluations"] <= 1 and open_search("product")[0].metric == found["metric"]


@pytest.mark.parametrize("method", ["gradient", "evolution", "random", "sensitivity", "uniform"])
def test_every_method(capsys, method):
    found = told(capsys, *SEARCH, "--search", method, "--weight-only-search", "--activation-bits", 8)
    assert all(each["precision"] in ("s2/s8", "s4/s8", "s8") for each in found["operations"].values())
    assert cost(found["operations"]) == found["cost"] <= found["target"]
    assert ("policy" in found["plots"]) is (method == "gradient")


def test_searches_go_on_only_when_asked(capsys):
    found = told(capsys, *SEARCH)
    message = "product holds a run: go on with it by --resume, or give another --exp-name"
    assert refused(capsys, *SEARCH) == message
    config, checkpoint = Path("product/config.json"), Path("product/checkpoint.safetensors")
    config.unlink()
    again = told(capsys, *SEARCH, "--resume")
    assert {name: again[name] for name in again if name != "evaluations"} == {
        name: found[name] for name in found if name != "evaluations"
    }
    before = config.read_bytes()
    changed = refused(capsys, *SEARCH, "--resume", "--learning-rate", 0.5)
    assert changed == "product/request.json: run must be of learning_rate 0.5, not 0.003"
    changed = refused(capsys, *SEARCH, "--resume", "--warmup", 0.25)  # the training has another of this name
    assert changed == "product/request.json: run must be of warmup 0.25, not None"
    assert config.read_bytes() == before
    kept = checkpoint.read_bytes()
    checkpoint.write_bytes(kept[: len(kept) // 2])
    damaged = refused(capsys, *SEARCH, "--resume")
    assert damaged.startswith("product/checkpoint.safetensors: checkpoint must be a whole .safetensors file")
    place = len(kept) - 8
    checkpoint.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
    assert "digest is of another content" in refused(capsys, *SEARCH, "--resume")


def test_tensorboard_has_the_numbers_of_the_log(capsys, need):
    need("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    called(capsys, *SEARCH, "--log-steps", 2, "--eval-steps", 4, "--tensorboard")
    lines = [json.loads(line) for line in Path("product/log.jsonl").read_text().splitlines()]
    events = EventAccumulator("product/tensorboard").Reload()
    assert {"loss", "metric", "reward", "policy/2/s4"} <= set(events.Tags()["scalars"])

    def scalars(name):
        return [(event.step, event.value) for event in events.Scalars(name)]

    for name in ("loss", "metric", "reward"):
        assert scalars(name) == [(line["step"], pytest.approx(line[name])) for line in lines if name in line]
    policy = [(line["step"], pytest.approx(line["policy"]["2"]["s4"])) for line in lines if "policy" in line]
    assert scalars("policy/2/s4") == policy and policy


def test_tensorboard_may_be_missing(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name))
    message = "tensorboard: not found; install it with: pip install 'hwlut[tensorboard]'"
    assert refused(capsys, *SEARCH, "--tensorboard") == message


def test_recomputed_activations_have_the_same_precision(folder):
    task = Task.load("product.py")
    net, found, calls = type(task.model()), {}, {}
    for recompute in (False, True):
        before = net.calls
        training = Finetune(steps=12, batch=20, recompute=recompute, evaluate_every=12)
        options = Search(formats=[parse_format(name) for name in ("2", "4", "8")], target_bits=4.0)
        found[recompute] = search(task, options, training, f"recompute{recompute}")
        calls[recompute] = net.calls - before
        assert not found[recompute].model.recomputes
    assert calls[True] == calls[False] + 12
    one, other = (found[each].model.state_dict() for each in (False, True))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_named_tasks(capsys, need):
    need("sklearn", "transformers")
    small = ["--config", "depths=[1]", "--config", "hidden_sizes=[8]", "--config", "embedding_size=8"]
    options = ["--max-steps", 4, "--train-batch-size", 20, "--threads", 1, "--target-bits", 5]
    found = told(capsys, "--task", "digits", "--model", "resnet18", *small, *options, "--block-search")
    configuration, task, model = open_search(found["run"])
    config = {"depths": [1], "hidden_sizes": [8], "embedding_size": 8}
    assert configuration.source == {"task": "digits", "model": "resnet18", "seed": 0, "config": config}
    assert evaluate(model, task) == found["metric"] and len(configuration.operations) > 3
    refusal = refused(capsys, "--task", "digits", "--model", "resnet18", *small, *options, "--gradient-checkpointing")
    assert refusal.startswith("Finetune recompute must be left out for ResNetForImageClassification")
    with pytest.raises(ValueError, match=r"^search source must be a task file or arguments of named_task, not 3$"):
        task_of(3)
    with pytest.raises(ValueError, match=r"^search source must be arguments of named_task: "):
        task_of({"task": "digits", "model": "resnet18", "nonsense": 1})


def test_parts_are_those_of_transformers():
    layer = "bert.encoder.layer.11."
    own = {
        "self-attention": ["attention.self.query", "attention.self.key", "attention.self.quantized_products.0"],
        "self-output": ["attention.output.dense"],
        "output": ["output.dense"],
        "intermediate": ["intermediate.dense"],
    }
    bert = {part: [layer + name for name in names] for part, names in own.items()}
    bert |= {"pooler": ["bert.pooler.dense"], "classifier": ["classifier"]}
    layer = "transformer.h.0."
    gpt = {
        "self-attention": [layer + "attn.c_attn", layer + "attn.quantized_products.1"],
        "self-output": [layer + "attn.c_proj"],
        "output": [layer + "mlp.c_proj"],
        "intermediate": [layer + "mlp.c_fc"],
        "classifier": ["score"],
    }
    for model in (bert, gpt):
        names = [name for each in model.values() for name in each]
        for part, wanted in model.items():
            patterns = part_patterns(names, [part])
            assert [name for name in names if any(fnmatch.fnmatchcase(name, each) for each in patterns)] == wanted
    with pytest.raises(ValueError, match=r"^search part pooler must be in the model; there are \['score'\]$"):
        part_patterns(["score"], ["pooler"])
    assert set(PARTS) == set(bert)


def test_documented_defaults_are_those_of_the_code():
    names = {
        "cost-beta": (Search, "beta"), "rl-learning-rate": (Search, "rate"), "max-entropy-beta": (Search, "entropy"),
        "share": (Search, "share"), "held-out": (Search, "held_out"), "cost-function": (Search, "function"),
        "entropy-schedule-type": (Search, "schedule"), "learning-rate": (Finetune, "learning_rate"),
        "ema": (Finetune, "ema"), "optimizer": (Finetune, "optimizer"), "train-batch-size": (Finetune, "batch"),
    }  # fmt: skip
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    _, _, section = text.partition("## hwlut search\n")
    for option, (kind, name) in names.items():
        told = re.search(rf"^\| `--{option}[ `].*\| (.*?) \|$", section, re.MULTILINE)[1]
        value = kind.__dataclass_fields__[name].default
        assert told == (value if isinstance(value, str) else f"{value:g}"), option


@pytest.mark.parametrize("name", ["recompute", "tensorboard"])
def test_flags_are_flags(name):
    with pytest.raises(TypeError, match=f"^Finetune {name} must be true or false, not 1$"):
        Finetune(**{name: 1})


def test_the_search_is_where_it_is_looked_for():
    assert hwlut.quant.search is search
    with pytest.raises(AttributeError, match=r"^module 'hwlut.quant' has no attribute 'nonsense'$"):
        hwlut.quant.nonsense  # noqa: B018


REFUSED = [
    ([], "--task must be given: a task file, a shipped one, or with --model one of mnist, digits, "),
    (["--task", "mnist"], "--model must be given with the named task mnist"),
    (["--task", "product.py", "--model", "bert"], "--model must be left out but with a named task (mnist, digits, "),
    ([*SHORT, "--length", 8], "--length must be left out without --model, which a named task needs"),
    (["--task", "digits", "--model", "resnet18", "--config", "x"], "--config must be KEY=VALUE, not 'x'"),
    (
        ["--task", "mrpc", "--model", "bert", "--bits", 4],
        "mrpc data must be a folder; make one by datasets.load_dataset(",
    ),
    ([*SEARCH, "--search-space", "4,9q"], "--search-space: format must be int2 to int16, uint2 to uint16 (s8.3 with "),
    ([*SEARCH, "--search-space", "4"], "--search-space must be two formats and more, all different, not '4'"),
    ([*SEARCH, "--search-space", "4,int4"], "--search-space must be two formats and more, all different, not "),
    ([*SEARCH, "--search", "magic"], "--search must be one of oneshot, gradient, evolution, random, sensitivity, "),
    ([*SEARCH, "--cost-target", 9], "search must be given a budget, --target-bits or --cost-target, one of them"),
    (SHORT, "search must be given a budget, --target-bits or --cost-target, one of them"),
    (
        [*SEARCH, "--target-bits", 1.5],
        "search target must be at least 1664, the smallest cost there is (the largest is 26624), not 936",
    ),
    ([*SEARCH, "--target-bits", "4,1.5"], "search target must be at least 1664, the smallest cost there is (the "),
    ([*SEARCH, "--target-bits", "4,4"], "--target-bits must be all different, not '4,4'"),
    ([*SEARCH, "--target-bits", "four"], "--target-bits must be a number, or several parted by commas, not 'four'"),
    ([*SEARCH, "--target-bits", "nan"], "Search target_bits must be from 0 to inf and finite, not nan"),
    ([*SEARCH, "--jobs", 2], "--jobs must be left out with one --target-bits: a front has several"),
    ([*SEARCH, "--target-bits", "4,5", "--jobs", 0], "--jobs must be from 1 to 1024, not 0"),
    ([*SEARCH, "--target-bits", "4,5", "--jobs", 2, "--dask", "x"], "--dask must be left out with --jobs"),
    ([*SEARCH, "--bits", 4], "--search-space must be left out with --bits, which searches nothing"),
    ([*SHORT, "--bits", 4, "--weight-bits", 8], "--weight-bits must be left out with --bits"),
    ([*SHORT, "--bits", 1], "--bits: format must be int2 to int16, "),
    ([*SEARCH, "--activation-bits", 8], "--search-space must be left out with --activation-bits, which searches noth"),
    ([*SEARCH, "--block-search", "--single-decision"], "--single-decision must be left out with --block-search"),
    ([*SEARCH, "--weight-only-search", "--separate"], "--separate must be left out with --weight-only-search"),
    (
        [*SEARCH, "--search", "gradient", "--cost-function", "tunas_abs"],
        "--cost-function must be left out with --sear",
    ),
    ([*SEARCH, "--search", "uniform", "--cost-beta", 1], "--cost-beta must be left out with --search uniform; it is "),
    ([*SEARCH, "--cost-function", "cubic"], "Search function must be one of within, tunas_abs, one_sided, soft_"),
    ([*SEARCH, "--cost-type", "time"], "--cost-type must be one of compute, memory, or a file of costs, not 'time'"),
    (
        [*SEARCH, "--cost-type", "product.py"],
        "--target-bits must be left out with a --cost-type of a file, which ",
    ),
    ([*SHORT, "--cost-target", 9, "--cost-type", "product.py"], "product.py: no costs: "),
    ([*SEARCH, "--cost-beta", 1], "--cost-beta must be left out with --cost-function within, which draws only what "),
    (
        [*SEARCH, "--per-token", "--act-range-percentile", 99],
        "--act-range-percentile must be left out with --per-tok",
    ),
    ([*SEARCH, "--act-range-percentile", 101], "Quantizer percentile must be above 0 and at most 100, not 101.0"),
    ([*SEARCH, "--num-train-epochs", 1], "--num-train-epochs must be left out with --max-steps"),
    ([*SEARCH, "--fp16", "--device", "cpu"], "--fp16 must be run on a GPU, which scales its gradients; elsewhere take"),
    ([*SEARCH, "--fp16", "--bf16"], "--bf16 must be left out with --fp16"),
    ([*SEARCH, "--save-strategy", "daily"], "--save-strategy must be one of no, steps, epoch, not 'daily'"),
    ([*SEARCH, "--save-strategy", "steps"], "--save-steps must be at least 1 with --save-strategy steps, not None"),
    ([*SEARCH, "--save-steps", 3], "--save-steps must be left out but with --save-strategy steps"),
    ([*SEARCH, "--save-strategy", "no", "--resume"], "--resume must be left out with --save-strategy no, which keeps "),
    ([*SEARCH, "--quantize-pooler"], "search part pooler must be in the model; there are ['0', '2', '4']"),
    (
        [*SEARCH, "--quantize-output", "--include", "*"],
        "--include must be left out with --quantize-output, which is ",
    ),
    ([*SEARCH, "--include", "5"], "search include '5' must match an operation; there are ['0', '2', '4']"),
    (
        [*SEARCH, "--share", 0.95],
        "Search warmup and share must leave a step to train what is found, but take 1 and 11 of",
    ),
    ([*SEARCH, "--exp-name", "a/b"], "--exp-name must be the name of a folder, not 'a/b'"),
    ([*SEARCH, "--weights", "none"], "none: no such file"),
    ([*SEARCH, "--device", "tpu9"], "device must be such as cpu, cuda or cuda:1, not 'tpu9'"),
    ([*SEARCH, "--threads", 0], "threads must be from 1 to 1024, not 0"),
    ([*SEARCH, "--train-batch-size", 500], "Task train must have a batch of 500 samples, not 72"),
    ([*SEARCH, "eval", "nowhere"], "--task must be left out before eval"),
    (["eval", "nowhere"], "nowhere/config.json: no such file"),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=range(len(REFUSED)))
def test_wrong_use_is_one_line(capsys, arguments, message):
    assert refused(capsys, *arguments).startswith(message)


def test_data_must_be_finite(capsys, folder):
    (folder / "product.py").write_text(TASK.replace("y = (x", "x[3, 2] = float('nan'); y = (x"))
    assert "must be finite" in refused(capsys, *SEARCH)
    assert not Path("product/config.json").exists()
