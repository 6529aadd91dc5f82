"""Every command that reads a file, given what is none: status 2, one line that names it, no traceback, no new file."""

import os
import shutil

import numpy as np
import pytest
import torch
from hostile import limited_memory

from hwlut import Fixed
from hwlut.cli import main
from hwlut.program import range_reduced

TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hwlut.train import Task

def task():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    model = lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return Task(name="small", model=model, train=TensorDataset(x[:30], y[:30]), test=TensorDataset(x[30:], y[30:]))
"""
TRAINING = "--task task.py --max-steps 2 --train-batch-size 10 --threads 1 -o runs"
COMMANDS = {  # FILE is what is none, with the ending that the command asks for
    ".json": (
        "info FILE",
        "eval FILE",
        "plot FILE",
        "gen-rtl FILE",
        "sim FILE --engine reference",
        "synth FILE",
        "tile FILE",
        "export FILE --format c -o out.c",
        "run FILE --inputs x.npy -o y.npy",
        "run exp.json --tile FILE --inputs x.npy -o y.npy",
        "gen-rtl mul8s_exact --terms 4 --requantize FILE",
        "import FILE",
        "fit gelu --weights FILE",
        "fit gelu --method genetic --generations 2 --checkpoint FILE",
        f"search {TRAINING} --cost-type FILE --cost-target 9",
        f"compress {TRAINING} --cost-type FILE --cost-target 9",
    ),
    ".npy": ("run exp.json --inputs FILE -o y.npy", "fit gelu --weights FILE", "import FILE --format torchapprox"),
    ".safetensors": (
        "run exp.json --inputs FILE -o y.safetensors",
        f"search {TRAINING} --target-bits 5 --weights FILE",
        f"compress {TRAINING.replace(' 2 ', ' 40 ')} --weights FILE",
        "lutnn train task.py --epochs 1 --batch 10 --dense FILE -o runs",
    ),
    ".v": ("sim mul8s_exact --verilog FILE", "import FILE --signed"),
    ".c": ("import FILE --signed --bits 8", "import FILE --format evoapprox-c --signed --bits 8"),
    ".txt": tuple(
        f"import FILE --signed --order value --format {name}" for name in ("approxtorch", "adapt", "tfapprox")
    ),
    ".lib": ("synth gelu_8 --scale 3 --liberty FILE",),
}


def _noise():
    return np.random.default_rng(0).bytes(3000)


CONTENTS = {
    "empty": b"",
    "noise": _noise(),
    "zeros": bytes(3000),
    "cut": b'{"schema": "hwlut.pwl/1", "name": "a", "func',
    "list": b"[1, 2]",
    "number": b"1" + b"0" * 400,
    "digits": b'{"schema": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "latin": '{"schema": "hwlut.pwl/1", "name": "caf\u00e9"}'.encode("latin-1"),
    "one line": b"a" * 1_000_000,
    "comments": b"/* " * 300_000,
}
PLACES = ("missing", "folder", "pipe", "device", "loop", "below a file", "long")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the commands take beside the file that is none."""
    folder = tmp_path_factory.mktemp("home")
    range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8)).replace(name="exp").save(folder / "exp.json")
    np.save(folder / "x.npy", np.zeros(4))
    (folder / "task.py").write_text(TASK)
    (folder / "file").write_text("")
    return folder


@pytest.fixture
def refused(home, monkeypatch, capsys):
    """Runs a command line that must end in status 2 with one line; returns the line."""
    monkeypatch.chdir(home)
    threads = torch.get_num_threads()

    def command(*arguments):
        shutil.rmtree(home / "runs", ignore_errors=True)
        before = {path for path in home.rglob("*") if "runs" not in path.parts}
        with limited_memory(6 << 30):
            status = main([str(each) for each in arguments])
        torch.set_num_threads(threads)
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("hwlut: no file gelu")]
        lines = [
            line for line in lines if not line.startswith(("hwlut: no file mul", "hwlut: search ", "hwlut: compress "))
        ]
        lines = [line for line in lines if not line.startswith("hwlut: lutnn ")]
        assert status == 2 and out == "" and len(lines) == 1, (status, out, err[:3000])
        assert lines[0].startswith("hwlut: ") and lines[0].isprintable() and len(lines[0]) < 1500, lines
        assert {path for path in home.rglob("*") if "runs" not in path.parts} == before
        return lines[0]

    return command


def bad_file(folder, kind, ending):
    """The path of what is no such file."""
    path = folder / f"bad{ending}"
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "below a file":
        (folder / "file").write_text("")
        return folder / "file" / f"bad{ending}"
    elif kind == "long":
        return folder / ("x" * 300 + ending)
    return path


def refuses(refused, command, path):
    line = refused(*(str(path) if part == "FILE" else part for part in command.split()))
    named = (path.name, "Verilog of mul8s_exact: ", "one of compute, memory", "table must be")
    assert any(each in line for each in named), (command, line)
    return line


@pytest.mark.parametrize("kind", [*PLACES, *CONTENTS])
@pytest.mark.parametrize("ending", COMMANDS)
def test_each_kind_of_file(refused, tmp_path, ending, kind):
    line = refuses(refused, COMMANDS[ending][0], bad_file(tmp_path, kind, ending))
    if kind in ("folder", "pipe", "device"):
        assert line.endswith(": not a regular file") or "table must be a file" in line


@pytest.mark.parametrize("ending, command", [(end, each) for end, all_ in COMMANDS.items() for each in all_[1:]])
def test_each_command(refused, tmp_path, ending, command):
    kinds = ("device", "zeros") if "--task" in command or "task.py" in command else ("pipe", "list")
    for kind in kinds:
        (tmp_path / kind).mkdir()
        refuses(refused, command, bad_file(tmp_path / kind, kind, ending))


@pytest.mark.parametrize("number", [0, -1, 1025, 10**30])
@pytest.mark.parametrize(
    "command",
    [
        "run exp.json --inputs x.npy -o y.npy --threads",
        "run exp.json --inputs x.npy -o y.npy --tile tile.json --jobs",
        f"search {TRAINING.replace(' --threads 1', '')} --target-bits 5,6 --threads",
        f"search {TRAINING} --target-bits 5,6 --jobs",
        f"compress {TRAINING.replace(' --threads 1', '')} --threads",
        f"explore {TRAINING} --jobs",
        "lutnn train task.py --epochs 1 --batch 10 -o runs --threads",
    ],
)
def test_more_jobs_and_threads_than_machines_have(refused, command, number):
    assert refused(*command.split(), number).endswith(f" must be from 1 to 1024, not {number}")
