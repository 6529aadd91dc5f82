"""hwlut lutnn: trained, measured again and written from the command line; refusals in one line."""

import json
import sys
from pathlib import Path

import pytest
import torch

import hwlut.lutnn
from hwlut.cli import main

TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hwlut.train import Finetune, Task

def model():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

def task():
    x = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return Task(name="product", model=model, train=TensorDataset(x[:80], y[:80]), test=TensorDataset(x[80:], y[80:]),
                dense=Finetune(epochs=3, batch=20, learning_rate=1e-2))
"""
SHORT = ["--epochs", "2", "--batch", "20", "--k", "8", "--v", "4", "--threads", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a task, where the commands run, and torch's threads as before afterwards."""
    before, path = torch.get_num_threads(), list(sys.path)
    (tmp_path / "product.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.set_num_threads(before)
    sys.path[:] = path


def called(capsys, *arguments, status=0):
    """Both streams of a command that ends with this status."""
    assert main(["lutnn", *map(str, arguments)]) == status
    return capsys.readouterr()


def refused(capsys, *arguments):
    """The one line of a command that is refused, after those of its progress."""
    out, err = called(capsys, *arguments, status=2)
    lines = [line for line in err.splitlines() if not line.startswith("hwlut: lutnn ")]
    assert out == "" and len(lines) == 1 and lines[0].startswith("hwlut: ")
    return lines[0].removeprefix("hwlut: ")


def test_train_eval_and_export(capsys, folder, monkeypatch):
    out, err = called(capsys, "train", "product.py", *SHORT)
    rows = dict(line.split() for line in out.splitlines())
    assert list(rows) == ["dense", "converted", "finetuned", "layers", "run"]
    assert (rows["layers"], rows["run"]) == ("1", "product")
    lines = err.splitlines()
    assert lines[0].startswith("hwlut: lutnn 4/12: dense, loss ") and lines[0].endswith(" %")
    assert lines[-1] == "hwlut: left dense: 0 (called first), 4 (called last)"
    again, _ = called(capsys, "eval", "product", "--threads", 1)
    assert dict(line.split() for line in again.splitlines()) == {"now": rows["finetuned"]} | {
        stage: rows[stage] for stage in ("dense", "converted", "finetuned")
    }
    told = json.loads(called(capsys, "eval", "product", "--json").out)
    assert told["metric"] == told["finetuned"] and told["task"] == "product" and told["run"] == "product"
    costs = json.loads(called(capsys, "cost", "product", "--json").out)
    assert [each["kind"] for each in costs["layers"]] == ["dense", "l2 K=8 v=4 8 bits", "dense"]
    table = called(capsys, "cost", "product").out.splitlines()
    assert table[0].split()[:2] == ["layer", "kind"] and table[-1].split()[0] == "total"
    written = []
    monkeypatch.setattr(hwlut.lutnn, "export_onnx", lambda model, *rest: written.extend(rest))
    told = json.loads(called(capsys, "export", "product", "--units", "--c", "p.c", "--onnx", "p.onnx", "--json").out)
    assert told == {"run": "product", "units": "product/units", "c": "p.c", "onnx": "p.onnx"}
    (unit,) = Path("product/units").glob("*.json")
    assert hwlut.load(unit).digest in Path("p.c").read_text() and "product_" in Path("p.c").read_text()
    sample, path = written
    assert sample.shape == (1, 8) and str(path) == "p.onnx"
    assert refused(capsys, "export", "product") == "export must be given --units, --c FILE or --onnx FILE"


def test_options_reach_the_run(capsys, folder):
    options = [
        "--encoder",
        "tree",
        "--table-bits",
        4,
        "--one-scale",
        "--include",
        "2",
        "--include",
        "4",
        "--exclude",
        "4",
    ]
    more = ["--order", "in_turn", "--learning-rate", 0.01, "--temperature-rate", 0.2, "--distill", 0.25, "--seed", 3]
    last = ["--distill-layers", 0.5, "--ema", 0.9, "--device", "cpu", "-o", "there", "--json"]
    told = json.loads(called(capsys, "train", "product.py", *SHORT, *options, *more, *last).out)
    assert told["run"] == "there" and told["layers"] == ["2"] and told["left"]["4"] == "excluded"
    assert len(told["evaluations"]) == 2 and told["evaluations"][-1][2] == told["finetuned"]
    config = json.loads((folder / "there" / "config.json").read_text())
    lookup, request = config["layers"]["2"], config["request"]
    assert (lookup["k"], lookup["v"], lookup["encoder"], lookup["table_bits"]) == (8, 4, "tree", 4)
    assert lookup["per_output"] is False and lookup["seed"] == 3
    wanted = {
        "epochs": 2, "batch": 20, "learning_rate": 0.01, "temperature_rate": 0.2, "distill": 0.25,
        "distill_layers": 0.5, "ema": 0.9, "seed": 3,
    }  # fmt: skip
    assert request["options"].items() >= wanted.items() and request["order"] == "in_turn"
    assert config["source"] == str(folder / "product.py")


def test_runs_go_on_only_when_asked(capsys, folder):
    out, _ = called(capsys, "train", "product.py", *SHORT)
    config = (folder / "product" / "config.json").read_bytes()
    message = "product holds a run: go on with it by --resume, or give another -o"
    assert refused(capsys, "train", "product.py", *SHORT) == message
    assert called(capsys, "train", "product.py", *SHORT, "--resume").out == out
    changed = refused(capsys, "train", "product.py", *SHORT, "--learning-rate", "0.5", "--resume")
    assert changed == "product/config.json: run must be of learning_rate 0.5, not 0.003"
    assert (folder / "product" / "config.json").read_bytes() == config
    warm = ["--warm-start", "product/student.safetensors", "--dense", "product/dense.safetensors", "-o", "warm"]
    _, err = called(capsys, "train", "product.py", *SHORT, *warm)
    assert err.splitlines()[-1].startswith("hwlut: warm start: ") and "dense, loss" not in err


def test_wrong_use_is_one_line(capsys, folder):
    train = ["train", "product.py", *SHORT]
    assert refused(capsys) == "Missing command."
    assert refused(capsys, "train", "nothing.py").startswith("task must be a Python file or a shipped example (lut_cnn")
    assert refused(capsys, "train", "product.py", "--k", 128, *SHORT[:4]).startswith("calibration of '2': ")
    assert refused(capsys, *train, "--resume", "--last-blocks", 2).startswith("product/config.json: run must be of ")
    assert refused(capsys, *train, "-o", "a", "--encoder", "cosine").startswith("Lookup encoder must be one of l2, l1")
    assert refused(capsys, *train, "-o", "a", "--device", "tpu9").startswith(
        "device must be such as cpu, cuda or cuda:1"
    )
    assert refused(capsys, *train, "-o", "a", "--threads", 0) == "threads must be from 1 to 1024, not 0"
    assert refused(capsys, *train, "-o", "a", "--dense", "none") == "none: no such file"
    (folder / "file").write_text("")
    assert refused(capsys, *train, "-o", "file") == "file: run must be kept in a folder, not in a file"
    assert refused(capsys, "eval", "nowhere") == "nowhere/config.json: no such file"
    assert refused(capsys, "eval", "product").startswith("product: run must be finished; it has come to dense")
    (folder / "product.py").write_text("x = 1\n")
    assert refused(capsys, *train).startswith("product.py: a task file must define task(), which returns a ")
    (folder / "product.py").write_text(TASK.replace("y = (x", "x[3, 2] = float('nan'); y = (x"))
    assert "must be finite" in refused(capsys, *train, "-o", "nan")


def test_shipped_examples_by_name(capsys, need, monkeypatch):
    need("mlxtend")
    seen = {}

    def run(task, *arguments, **options):
        seen.update(options, task=task)
        raise ValueError("stopped here")

    split = torch.rand(5, 1, 28, 28), torch.arange(5)
    monkeypatch.setattr("examples.lut_cnn_mnist.mnist", lambda: (split, split))
    monkeypatch.setattr(hwlut.lutnn, "run", run)
    assert main(["lutnn", "train", "lut_cnn_mnist"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("hwlut: no file lut_cnn_mnist: taking the shipped example ") and second.endswith("here")
    assert seen["source"] == "lut_cnn_mnist" and seen["task"].name == "lut_cnn_mnist"
