"""What the tests of `hwlut search` share: a small task, and how the command is called."""

import json
import sys
from pathlib import Path

import pytest
import torch

from hwlut.cli import main

TASK = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset
from hwlut.train import Task

class Net(nn.Sequential):
    recomputes, calls = False, 0

    def __init__(self):
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

    def block(self, x):
        Net.calls += 1
        return super().forward(x)

    def forward(self, x):
        if self.recomputes and self.training:
            return checkpoint(self.block, x, use_reentrant=False)
        return self.block(x)

    def gradient_checkpointing_enable(self):
        self.recomputes = True

    def gradient_checkpointing_disable(self):
        self.recomputes = False

def task():
    torch.manual_seed(0)
    x = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return Task(name="product", model=Net, train=TensorDataset(x[:80], y[:80]), test=TensorDataset(x[80:], y[80:]))
"""
MACS = {"0": 8 * 16, "2": 16 * 16, "4": 16 * 2}
SHORT = ["--task", "product.py", "--max-steps", 12, "--train-batch-size", 20, "--threads", 1]
SEARCH = [*SHORT, "--target-bits", 5, "--search-space", "2,4,8"]
BITS = {"s2": 2, "s4": 4, "s8": 8, "0": 32, "e2m1": 4}


@pytest.fixture(name="folder", autouse=True)
def task_folder(tmp_path, monkeypatch):
    """A folder with a task, where the commands run, and torch's threads as before afterwards."""
    before, path = torch.get_num_threads(), list(sys.path)
    (tmp_path / "product.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.set_num_threads(before)
    sys.path[:] = path


def called(capsys, *arguments, status=0, command="search"):
    """Both streams of a command that ends with this status."""
    assert main([command, *map(str, arguments)]) == status
    return capsys.readouterr()


def told(capsys, *arguments, command="search"):
    """The object that a command prints."""
    return json.loads(called(capsys, *arguments, "--json", command=command).out)


def refused(capsys, *arguments):
    """The one line of a command that is refused, after those of its progress."""
    out, err = called(capsys, *arguments, status=2)
    lines = [line for line in err.splitlines() if not line.startswith("hwlut: search ")]
    assert out == "" and err and len(lines) <= 1
    return err.splitlines()[-1].removeprefix("hwlut: ")


def cost(operations):
    """Bit operations by hand, from the names of formats."""
    total = 0
    for name, each in operations.items():
        weight, _, activation = each["precision"].partition("/")
        total += MACS[name] * BITS[weight] * BITS[activation or weight]
    return total


def is_picture(path):
    return Path(path).read_bytes().startswith(b"\x89PNG")
