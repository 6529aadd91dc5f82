"""hwlut run, info, plot and export of programs: results, files, pictures, and refusals in one line."""

import functools
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import searches
import torch
from safetensors.torch import load_file, save_file
from searches import is_picture, task_folder  # noqa: F401

import hwlut
from hwlut.cli import main
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from hwlut.train import Task
from hwlut.units.nodes import format_of

called = functools.partial(searches.called, command="run")
told = functools.partial(searches.told, command="run")


@pytest.fixture
def task(folder):
    return Task.load("product.py")


@pytest.fixture
def program(task):
    """A program of the task's network, in ``net.json``."""
    torch.manual_seed(1)
    model = task.model()
    inputs = torch.stack([x for x, _ in task.train])
    quantize_uniform(model, [inputs])
    made = hwlut.export(model, inputs, name="net")
    made.save("net.json")
    return made


def refused(capsys, *arguments):
    """The one line of a command that ends in status 2 and writes no file."""
    before = sorted(Path().rglob("*"))
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and sorted(Path().rglob("*")) == before
    return err.removeprefix("hwlut: ").rstrip("\n")


def inputs_of(task):
    return torch.stack([x for x, _ in task.test])


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_program_on_the_test_data_of_a_task(program, task, capsys, engine):
    found = told(capsys, "net.json", "--task", "product.py", "--engine", engine, "--batch", 7, "--threads", 1)
    results = decoded(program.outputs[0], program(encoded(program.inputs[0], inputs_of(task))))
    right = float((results.argmax(1) == torch.tensor([int(y) for _, y in task.test])).double().mean())
    assert found["metric"] == pytest.approx(right) and found["samples"] == 40
    assert (found["name"], found["task"], found["digest"]) == ("net", "product", program.digest)
    few = told(capsys, "net.json", "--task", "product.py", "--limit", 9)
    assert few["samples"] == 9
    assert "samples a second" in called(capsys, "net.json", "--task", "product.py").out


def test_a_program_on_numbers_in_files(program, task, capsys):
    x = inputs_of(task)
    np.save("x.npy", x.numpy())
    assert told(capsys, "net.json", "--inputs", "x.npy", "-o", "y.npy", "--batch", 9)["samples"] == 40
    codes = encoded(program.inputs[0], x)
    assert np.array_equal(np.load("y.npy"), decoded(program.outputs[0], program(codes)).numpy())
    save_file({program.inputs[0].name: codes}, "codes.safetensors")
    assert called(capsys, "net.json", "--inputs", "codes.safetensors", "-o", "z.safetensors", "--codes").out
    assert torch.equal(load_file("z.safetensors")[program.outputs[0].name], program(codes))


def test_what_cannot_run(program, task, capsys):
    np.save("x.npy", inputs_of(task).numpy())
    np.save("narrow.npy", inputs_of(task)[:, :3].numpy())
    np.save("far.npy", np.full((2, 8), 1000))
    Path("broken.npy").write_text("no array")
    Path("x.txt").write_text("1")
    save_file({"other": inputs_of(task)}, "other.safetensors")
    run = functools.partial(refused, capsys, "run")
    assert run("net.json") == "run must be given --task or --inputs, one of them"
    assert run("net.json", "--inputs", "x.npy") == "-o must be given with --inputs, and only with them"
    assert run("net.json", "--task", "product.py", "--codes") == "--codes must be given with --inputs alone"
    assert run("net.json", "--task", "product.py", "--batch", 0) == "batch must be at least 1, not 0"
    assert run("net.json", "--task", "product.py", "--engine", "gpu") == "engine must be fast or reference, not 'gpu'"
    name = program.inputs[0].name
    shape = f"input {name!r} must have the shape [batch, 8], not [40, 3]"
    assert run("net.json", "--inputs", "narrow.npy", "-o", "y.npy") == shape
    far = run("net.json", "--inputs", "far.npy", "-o", "y.npy", "--codes")
    assert far == "Program codes must be from -128 to 127, not 1000"
    real = run("net.json", "--inputs", "x.npy", "-o", "y.npy", "--codes")
    assert real == "x.npy: codes must be integers, not real numbers"
    assert run("net.json", "--inputs", "broken.npy", "-o", "y.npy").startswith("broken.npy is no .npy of numbers")
    assert run("net.json", "--inputs", "x.txt", "-o", "y.npy").startswith("inputs must be a .npy or a .safetensors")
    other = run("net.json", "--inputs", "other.safetensors", "-o", "y.npy")
    assert other == f"other.safetensors must have the tensors {name}, not ['other']"
    assert run("net.json", "--inputs", "x.npy", "-o", "y.txt") == "-o must be a .npy or a .safetensors, not 'y.txt'"
    assert run("net.json", "--inputs", "none.npy", "-o", "y.npy") == "none.npy: no such file"
    content = json.loads(Path("net.json").read_text())
    content["nodes"][0]["weights"][0][0] += 1
    del content["nodes"][1]
    Path("bad.json").write_text(json.dumps(content))
    assert run("bad.json", "--task", "product.py").startswith("bad.json: Program node ")


def test_a_program_is_shown_and_drawn(program, capsys):
    found = json.loads(searches.called(capsys, "net.json", "--json", command="info").out)
    assert found["macs"] == 8 * 16 + 16 * 16 + 16 * 2 and found["extent"] == "tensors"
    text = searches.called(capsys, "net.json", command="info").out
    assert all(node.name in text and node.op in text for node in program.nodes)
    assert searches.called(capsys, "net.json", "-o", "net.svg", command="plot").out == "net.svg\n"
    words = re.findall("<!-- (.*?) -->", Path("net.svg").read_text())
    shown = [f"{node.op}, {format_of(program.spans[node.name])}" for node in program.nodes]
    assert all(words.count(each) == shown.count(each) for each in shown)
    assert is_picture(searches.told(capsys, "net.json", command="plot")["plot"])


def test_a_program_leaves_as_c_and_onnx(program, task, capsys, need):
    need("gcc", "onnx", "onnxruntime")
    import onnxruntime

    assert searches.called(capsys, "net.json", "--format", "c", "-o", "net.c", command="export").out == "net.c\n"
    done = subprocess.run(["cc", "-std=c99", "-c", "-Wall", "-Werror", "net.c", "-o", "net.o"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert searches.called(capsys, "net.json", "--format", "onnx", "-o", "net.onnx", command="export").out
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    x = inputs_of(task)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.array_equal(found, decoded(program.outputs[0], program(encoded(program.inputs[0], x))).numpy())


def test_a_compression_becomes_a_program(capsys, task):
    options = ["--task", "product.py", "--max-steps", 50, "--train-batch-size", 20, "--threads", 1]
    bits = ["--weight-bits", "4,8", "--activation-bits", "4,8"]
    found = searches.told(capsys, *options, *bits, command="compress")
    made = searches.told(capsys, "product", "--format", "program", "-o", "shrunk.json", command="export")
    program = hwlut.load("shrunk.json")
    assert made["digest"] == program.digest and program.name == "shrunk"
    ran = told(capsys, "shrunk.json", "--task", "product.py")
    assert abs(ran["metric"] - found["metric"]) <= 1 / 40
    searches.told(capsys, "product", "--format", "program", "--factor-bits", 9, "-o", "narrow.json", command="export")
    units = [getattr(node, "unit", None) for node in hwlut.load("narrow.json").nodes]
    units = [unit for unit in units if isinstance(unit, hwlut.Requantize)]
    assert units and all(m // (m & -m) < 1 << 9 for unit in units for m in unit.multipliers if m)


def test_what_is_not_exported(program, capsys):
    export = functools.partial(refused, capsys, "export")
    known = "approxtorch, adapt, torchapprox, tfapprox, c, onnx, program"
    assert export("net.json", "--format", "cc", "-o", "x.c") == f"format must be one of {known}, not 'cc'"
    tables = "approxtorch, adapt, torchapprox, tfapprox"
    order = f"--order must be given with formats {tables}, and only with them"
    assert export("net.json", "--format", "c", "-o", "x.c", "--order", "value") == order
    assert export("net.json", "--format", "adapt", "-o", "x.h") == order
    bits = export("net.json", "--format", "c", "-o", "x.c", "--factor-bits", 9)
    assert bits == "--factor-bits must be given with format program, not with c"
    nothing = export("runs", "--format", "program", "-o", "x.json")
    assert nothing.startswith("runs must be the folder of a finished search or compression")
    same = export("net.json", "--format", "c", "-o", "net.json")
    assert same.startswith("net.json is the file to export")
