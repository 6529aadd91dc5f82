"""A disk that is full and a folder that cannot be written to: every command says so in one line, and leaves nothing."""

import contextlib
import errno
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from test_hostile_files import TASK

from hwlut import Fixed, Multiplier, Program
from hwlut.cli import main
from hwlut.program import range_reduced
from hwlut.units import Port
from hwlut.units.products import Linear

TRAINING = "--max-steps 40 --train-batch-size 10 --threads 1"
COMMANDS = (  # OUT is what cannot be written
    "fit hswish --segments 3 -o OUT.json",
    "reduce exp -o OUT.json",
    "import circuit.c --signed -o OUT",
    "export mul8s_exact --format adapt --order value -o OUT.h",
    "export exp.json --format c -o OUT.c",
    "plot gelu_8 -o OUT.png",
    "gen-rtl gelu_8 --scale 3 -o OUT",
    "tile net.json -o OUT.json",
    "run exp.json --inputs x.npy -o OUT.npy",
    "fit hswish --method genetic --generations 2 --checkpoint OUT.state -o fine.json",
    f"search --task task.py {TRAINING} --target-bits 5 -o OUT",
    f"compress --task task.py {TRAINING} -o OUT",
    "lutnn train task.py --epochs 1 --batch 10 --v 4 --k 2 -o OUT",
)
CACHED = (  # what is built in the cache first
    "gen-rtl gelu_8 --scale 4",
    "sim gelu_8 --scale 3",
    "synth gelu_8 --scale 3",
)
CIRCUIT = "int8_t mul2s_x(int8_t A, int8_t B) { return (A & 1) & (B & 1); }"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8)).replace(name="exp").save("exp.json")
    weights = np.arange(12).reshape(3, 4)
    Program(
        name="net",
        inputs=(Port("x", Fixed(8), shape=(4,)),),
        nodes=(Linear("y", "x", multiplier=Multiplier(family="exact", bits=8, signed=True), weights=weights),),
        outputs=(Port("y", Fixed(16)),),
    ).save("net.json")
    np.save("x.npy", np.zeros(400))
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "circuit.c").write_text(CIRCUIT)
    (tmp_path / "file").write_text("")
    return tmp_path


@contextlib.contextmanager
def full_disk(size):
    """Within, no file can grow beyond so many bytes: what writes more is told, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def refused(home, capsys):
    """Runs a command line that must end in status 2 with one line beside progress and notes; returns the line."""

    def command(*arguments):
        threads = torch.get_num_threads()
        status = main([str(each) for each in arguments])
        torch.set_num_threads(threads)
        out, err = capsys.readouterr()
        told = ("hwlut: no file ", "hwlut: search ", "hwlut: compress ", "hwlut: lutnn ", "hwlut: fit ", "hwlut: left ")
        lines = [line for line in err.splitlines() if not line.startswith(told)]
        assert status == 2 and len(lines) == 1, (status, out, err)
        assert lines[0].startswith("hwlut: ") and lines[0].isprintable()
        return lines[0]

    return command


def left(home):
    """What is there beside the tests' own files and folders that are empty."""
    own = {"exp.json", "net.json", "x.npy", "task.py", "circuit.c", "file"}
    return {path.name for path in home.rglob("*") if path.is_file() and path.name not in own}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[:3]))
def test_a_full_disk(refused, home, command, capsys):
    out = home / "new" / "out"
    if command.startswith(("gen-rtl", "run")):  # tools are not to be stopped by the limit
        assert main(command.replace("OUT", str(home / "before")).split()) == 0
    before = left(home)
    with full_disk(20):
        line = refused(*(part.replace("OUT", str(out)) for part in command.split()))
    assert "File too large" in line and str(out) in line
    assert left(home) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[:3]))
def test_a_folder_that_cannot_be_there(refused, home, command):
    out = home / "file" / "out"
    line = refused(*(part.replace("OUT", str(out)) for part in command.split()))
    assert str(home / "file") in line
    assert not left(home)


def full(path, text):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("command", CACHED)
@pytest.mark.parametrize("place", ["full", "file", "nowhere"])
def test_a_cache_that_cannot_be_written(refused, home, monkeypatch, need, command, place):
    need(*{"gen-rtl": (), "sim": ("g++", "verilator"), "synth": ("yosys",)}[command.split()[0]])
    cache = {"full": home / "cache", "file": home / "file" / "cache", "nowhere": "/proc/nowhere"}[place]
    monkeypatch.setenv("HWLUT_CACHE", str(cache))
    if place == "full":
        monkeypatch.setattr(Path, "write_text", full)
    line = refused(*command.split())
    assert line.startswith(f"hwlut: cache {cache} cannot be written (") and line.endswith("): set HWLUT_CACHE")
    assert not left(home)
