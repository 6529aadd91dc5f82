"""hwlut run --tile: what it tells, records and refuses, in one line."""

import csv
import functools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import searches
import torch
from searches import task_folder  # noqa: F401
from test_accel_run import BATCH_MACS, IMAGES, NET, TILE, Here, one_batch_a_chunk, other_weights

import hwlut
from hwlut import ToolError
from hwlut.accel.port import ACTIVITY
from hwlut.accel.simulation import verilated
from hwlut.cli import main
from hwlut.report.activity import Activity
from hwlut.report.vcd import read_waves
from hwlut.search import quantize_uniform
from hwlut.train import Task

called = functools.partial(searches.called, command="run")
told = functools.partial(searches.told, command="run")
ON_IMAGES = ["net.json", "--tile", "tiny.json", "--inputs", "images.npy", "--codes", "-o", "out.safetensors"]


def refused(capsys, *arguments):
    """The one line of a command that is refused."""
    out, err = called(capsys, *arguments, status=2)
    assert out == "" and err.count("\n") == 1
    return err.removeprefix("hwlut: ").rstrip("\n")


@pytest.fixture(autouse=True)
def files(folder):
    NET.save("net.json")
    TILE.save("tiny.json")
    np.save("images.npy", IMAGES.numpy())


def test_numbers_in_a_file(capsys, need):
    need("g++", "verilator")
    found = told(capsys, *ON_IMAGES, "--idle", 0.25, "--stall", 0.25, "--threads", 2)
    modelled = told(capsys, *ON_IMAGES, "--engine", "model")
    from safetensors.torch import load_file

    codes = load_file("out.safetensors")
    assert all(torch.equal(codes[port.name], wanted) for port, wanted in zip(NET.outputs, NET(IMAGES)))
    assert found["ok"] and found["difference"] is None and found["tool"].startswith("Verilator ")
    assert found["macs"] == 4 * BATCH_MACS and found["samples"] == 7 and found["macs_per_second"] > 0
    assert sum(found["stalls"].values()) > 0 == sum(modelled["stalls"].values())
    same = ("name", "cycles", "model_cycles", "macs", "reads", "writes", "data_beats", "result_beats")
    for layer, other in zip(found["layers"], modelled["layers"], strict=True):
        assert {key: layer[key] for key in same} == {key: other[key] for key in same}
    text = called(capsys, *ON_IMAGES, "--engine", "model").out
    rows = [line.split() for line in text.splitlines()]
    for layer in modelled["layers"]:
        cycles, macs = str(layer["cycles"]), str(layer["macs"])
        share = f"{layer['macs'] / (6 * layer['cycles']):.1%}"
        beats = [str(layer["data_beats"]), str(layer["result_beats"])]
        assert [layer["name"], cycles, cycles, "0", share, macs, *beats] in rows
        assert any(row[0] == layer["name"] and "/" in row[1] for row in rows if row)
    assert ["result", "PASS"] in rows


def test_test_data_of_a_task(capsys):
    task = Task.load("product.py")
    torch.manual_seed(1)
    model, inputs = task.model(), torch.stack([x for x, _ in task.train])
    quantize_uniform(model, [inputs])
    hwlut.export(model, inputs, name="product").save("product.json")
    found = told(capsys, "product.json", "--tile", "tiny.json", "--task", "product.py", "--engine", "model")
    alone = told(capsys, "product.json", "--task", "product.py")
    assert found["ok"] and found["metric"] == pytest.approx(alone["metric"])
    assert (found["task"], found["samples"], found["batches"]) == ("product", 40, 20)
    few = told(capsys, "product.json", "--tile", "tiny.json", "--task", "product.py", "--engine", "model", "--limit", 7)
    assert (few["samples"], few["batches"]) == (7, 4)


def test_a_difference_is_status_1(capsys, monkeypatch):
    difference = other_weights(monkeypatch, seed=1)
    out = called(capsys, *ON_IMAGES, "--engine", "model", status=1).out
    assert out.splitlines()[-1].split(None, 1) == ["result", f"FAIL: {difference}"]
    assert main(["run", *ON_IMAGES, "--engine", "model", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["difference"] == difference


def test_a_tile_that_fails_is_status_1(capsys, monkeypatch, need):
    need("g++", "verilator")
    from hwlut.accel.compiler import Compiled

    right = Compiled.data
    monkeypatch.setattr(Compiled, "data", lambda self, *codes: right(self, *codes)[:-1])
    out, err = called(capsys, *ON_IMAGES, status=1)
    assert out == "" and err.startswith("hwlut: tile tiny failed in layer ") and err.count("\n") == 1
    assert not Path("out.safetensors").exists()


def test_processes_and_schedulers_share_chunks(capsys, monkeypatch, need):
    need("g++", "verilator")
    one_batch_a_chunk(monkeypatch)
    alone = told(capsys, *ON_IMAGES)
    shared = told(capsys, *ON_IMAGES, "--jobs", 2, "--folder", "kept")
    assert shared["layers"] == alone["layers"] and shared["resumed"] == 0 and shared["ok"]
    assert len(list(Path("kept").glob("chunk-*.npz"))) == 4
    assert told(capsys, *ON_IMAGES, "--folder", "kept")["resumed"] == 4
    here = Here()
    monkeypatch.setitem(
        sys.modules, "distributed", SimpleNamespace(Client=lambda address: SimpleNamespace(get_executor=lambda: here))
    )
    assert told(capsys, *ON_IMAGES, "--dask", "tcp://there:1")["layers"] == alone["layers"] and here.sent == 4


def test_a_layer_is_recorded(capsys, need):
    need("g++", "verilator")
    record = [*ON_IMAGES, "--idle", 0.3, "--seed", 3, "--layer", "scores", "--activity", "activity.csv"]
    found = told(capsys, *record)
    assert found["ok"] and found["schema"] == "hwlut.run/1"
    header, *rows = csv.reader(Path("activity.csv").read_text().splitlines())
    whole = [list(map(int, row)) for row in rows]
    one = [*ON_IMAGES, "--limit", 2, "--idle", 0.3, "--seed", 3]
    (layer,) = [layer for layer in told(capsys, *one)["layers"] if layer["name"] == "scores"]
    columns = dict(zip(header, zip(*whole)))
    assert tuple(header) == ("cycle", *ACTIVITY)
    cycles = {"first": whole[0][0], "end": whole[-1][0] + 1}
    assert found["traced"] == {"layer": "scores", "waves": None, "activity": "activity.csv"} | cycles
    assert list(columns["cycle"]) == list(range(whole[0][0], whole[-1][0] + 1))
    stalled = {name: sum(columns[f"stalled_{name}"]) for name in layer["stalls"]}
    assert len(whole) == layer["cycles"] + sum(stalled.values())
    assert stalled == layer["stalls"] and sum(stalled.values()) > 0
    assert sum(columns["feeding"]) == 16  # products of each sum of the one tile of three outputs
    assert sum(columns["draining"]) == 3 and sum(columns["storing"]) == 3
    called(capsys, *record, "--window", "5:25", "--waves", "waves.vcd")
    assert [*map(int, next(csv.reader(Path("activity.csv").read_text().splitlines()[1:])))] == whole[5]
    assert len(Path("activity.csv").read_text().splitlines()) == 21
    assert Activity.of(read_waves(Path("waves.vcd"))) == Activity.read(Path("activity.csv"))
    text = Path("waves.vcd").read_text()
    first = whole[5][0]
    assert [int(line[1:]) for line in text.splitlines() if line[:1] == "#"] == [
        *range(40 + 10 * first, 40 + 10 * (first + 20), 5)
    ]
    assert " activity " in text and " m_axis_mark_tvalid " in text


def test_without_verilator(capsys, monkeypatch):
    def find():
        raise ToolError("verilator", "not found", "install it")

    monkeypatch.setattr(verilated, "find_verilator", find)
    monkeypatch.setattr("hwlut.verify.verilated.find_verilator", find)
    assert refused(capsys, *ON_IMAGES) == "verilator: not found; install it"
    assert told(capsys, *ON_IMAGES, "--engine", "model")["ok"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tile", "none.json"], "table must be a file or the name of one in "),
        (["--tile", "net.json"], "net.json must be a tile, not a Program"),
        (["--tile", "broken.json"], "broken.json: "),
        (["--tile", "small.json"], "Program "),
        (["--engine", "fast"], "engine must be verilator or model, not 'fast'"),
        (["--batch", 3], "--batch must be left out with --tile"),
        (["--device", "cpu"], "--device must be left out with --tile"),
        (["--jobs", 2, "--dask", "x"], "--dask must be left out with --jobs"),
        (["--jobs", 0], "jobs must be from 1 to 1024, not 0"),
        (["--threads", 0], "threads must be from 1 to 1024, not 0"),
        (["--idle", 1], "idle must be a chance from 0 to 0.95, not 1.0"),
        (["--engine", "model", "--stall", 0.5], "idle and stall must be left out with the engine model"),
        (["--waves", "w.vcd"], "--layer must be given with --waves or --activity, and only with them"),
        (["--layer", "flat"], "--layer must be given with --waves or --activity, and only with them"),
        (["--window", "0:9"], "--window must be given with --layer alone"),
        (["--engine", "model", "--layer", "flat", "--waves", "w.vcd"], "--waves and --activity must be left out with"),
        (["--layer", "other", "--waves", "w.vcd"], "layer must be of "),
        (["--layer", "flat", "--window", "9", "--waves", "w.vcd"], "window must be FIRST:END, such as 0:200, not '9'"),
        (["--layer", "flat", "--window", "9:9", "--waves", "w.vcd"], "window must be of the "),
        (["--layer", "flat", "--waves", "none/w.vcd"], "waves must be a file in a folder that is there, not 'none/w."),
        (["--layer", "flat", "--activity", "."], "activity must be a file in a folder that is there, not '.'"),
        (
            ["--layer", "flat", "--waves", "w.vcd", "--activity", "./w.vcd"],
            "waves and activity must be two files, not both 'w.vcd'",
        ),
        (["--folder", "net.json"], "net.json: run must be kept in a folder, not in a file"),
        (["--folder", "net.json/kept"], "{folder}/net.json: run must be kept in a folder, not in a file"),
    ],
)  # fmt: skip
def test_wrong_input(capsys, need, options, message):
    need("g++", "verilator")
    Path("broken.json").write_text(Path("tiny.json").read_text()[:-9])
    small = json.loads(Path("tiny.json").read_text()) | {"values": 20}
    Path("small.json").write_text(json.dumps(small))
    assert refused(capsys, *ON_IMAGES, *options).startswith(message.replace("{folder}", str(Path.cwd())))
    assert not Path("out.safetensors").exists() and not Path("w.vcd").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.txt", "-o must be a .npy or a .safetensors, not 'out.txt'"),
        ("out.npy", "out.npy must be a .safetensors, for the outputs "),
        ("net.json/out.safetensors", "net.json/out.safetensors cannot be written: -o must be a file in a folder that"),
        ("there.safetensors", "there.safetensors cannot be written: -o must be a file in a folder that can be written"),
    ],
)
def test_where_results_cannot_go_is_told_first(capsys, monkeypatch, output, message):
    Path("there.safetensors").mkdir()
    monkeypatch.setattr("hwlut.accel.simulation.simulate", lambda *given, **options: pytest.fail("it was simulated"))
    assert refused(capsys, *ON_IMAGES[:-1], output, "--engine", "model").startswith(message)


def test_a_tile_beyond_memory(capsys, monkeypatch):
    def full(tile):
        raise MemoryError

    monkeypatch.setattr("hwlut.accel.simulation.engines.Machine", full)
    assert refused(capsys, *ON_IMAGES, "--engine", "model") == "more memory is needed than there is"


def test_options_of_tiles_alone(capsys):
    on_images = [each for each in ON_IMAGES if each not in ("--tile", "tiny.json")]
    for option, value in (("jobs", 2), ("folder", "x"), ("idle", 0.5), ("waves", "w"), ("layer", "flat")):
        assert refused(capsys, *on_images, f"--{option}", value) == f"--{option} must be given with --tile alone"
