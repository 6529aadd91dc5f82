"""Dask, with a scheduler and two workers on this machine: what goes there comes back as it is here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import exploring
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_accel_run import IMAGES, NET, TILE

from hwlut.train import Finetune

TESTS = Path(__file__).parent
CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
COMMAND = """
import functools, sys
import exploring
import hwlut.explore
from hwlut.cli import main

if __name__ == "__main__":
    stand_ins = {"make": exploring.make, "cost": exploring.cost}
    hwlut.explore.explore = functools.partial(hwlut.explore.explore, **stand_ins)
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")]), str(TESTS.parent)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def scheduler(environment, tmp_path_factory):
    """The address of a scheduler that ends with the tests of this file."""
    pytest.importorskip("distributed", reason="needs distributed")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.py").write_text(CLUSTER)
    with (
        open(folder / "errors", "w") as errors,
        subprocess.Popen(
            [sys.executable, "cluster.py"],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("tcp://127.0.0.1:"), (folder / "errors").read_text()
            yield address
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()


@pytest.fixture
def command(environment, tmp_path, monkeypatch):
    """Runs one command, in a process of its own, to the object that it prints."""
    monkeypatch.chdir(tmp_path)
    Path("command.py").write_text(COMMAND)

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "command.py", *map(str, arguments), "--json"],
            env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_an_exploration(command, scheduler, need):
    need("yosys")
    Path("points.py").write_text("from exploring import task\n")
    exploring.known_costs("there")
    options = ["--task", "points.py", "--bits", "8,4", "--rows", "1,2", "--columns", "1,3", "--max-steps", 2]
    found = command("explore", *options, "--dask", scheduler, "-o", "there")
    assert found["run"] == str(Path("there").resolve())
    here = exploring.explored("here", training=Finetune(steps=2))
    assert found["designs"] == here.to_json()["designs"] and found["networks"] == here.to_json()["networks"]
    workers = {int(path.read_text()) for path in Path("there").rglob("process")}
    assert 1 <= len(workers) <= 2 and os.getpid() not in workers


def test_a_program_on_a_tile(command, scheduler):
    NET.save("net.json")
    TILE.save("tiny.json")
    np.save("images.npy", IMAGES.numpy())
    options = ["run", "net.json", "--tile", "tiny.json", "--inputs", "images.npy", "--codes", "--engine", "model"]
    there = command(*options, "-o", "there.safetensors", "--dask", scheduler, "--folder", "kept")
    assert there["ok"] and there["samples"] == len(IMAGES) and list(Path("kept").glob("chunk-*.npz"))
    codes = load_file("there.safetensors")
    assert all(torch.equal(codes[port.name], wanted) for port, wanted in zip(NET.outputs, NET(IMAGES)))
