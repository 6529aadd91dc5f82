"""Several budgets in one command: each search, what none beats, in processes of this machine and under torchrun."""

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from searches import MACS, SHORT, TASK, called, is_picture, refused, task_folder, told  # noqa: F401

from hwlut import Fixed
from hwlut.quant.precision import Precision
from hwlut.search import Block, CostTable, Front, Search, front, multiplier_of, open_search
from hwlut.train import Finetune, Task, evaluate

ROOT = Path(__file__).resolve().parent.parent


def test_a_front(capsys, folder):
    (folder / "product.py").write_text(
        TASK.replace("import Task", "import Finetune, Task").replace(
            "y[80:]))", "y[80:]), dense=Finetune(steps=8, batch=20))"
        )
    )
    options = [*SHORT, "--search-space", "2,4,8", "--target-bits"]
    found = told(capsys, *options, "2,5,8", "--exp-name", "front")
    trials = found["trials"]
    assert [trial["target"] for trial in trials] == [2, 5, 8] and found["kind"] == "target_bits"
    for trial in trials:
        configuration, task, model = open_search(f"front/{trial['folder']}")
        assert trial["cost"] == configuration.cost <= trial["target"] ** 2 * sum(MACS.values())
        assert trial["metric"] == evaluate(model, task) and trial["loss"] == configuration.loss
        beaten = any(
            (other["cost"] < trial["cost"] and other["metric"] >= trial["metric"])
            or (other["cost"] <= trial["cost"] and other["metric"] > trial["metric"])
            for other in trials
        )
        assert trial["optimal"] is not beaten
        assert is_picture(f"front/{trial['folder']}/bits.png")
    assert is_picture(found["plots"]["front"]) and found["plots"] == {"front": "front/front.png"}
    assert sorted(path.parent.name for path in Path("front").rglob("log.jsonl"))[0] == "dense"
    assert not list(Path("front").glob("*/dense"))
    assert [trial.folder for trial in Front.load("front/front.json").trials] == [trial["folder"] for trial in trials]
    assert told(capsys, "eval", "front")["trials"] == trials
    lines = called(capsys, "eval", "front").out.splitlines()
    assert lines[0].split() == ["target", "bits", "cost", "metric", "held-out", "loss", "optimal"]
    assert [line.split()[0] for line in lines[1:4]] == ["2", "5", "8"]
    before = Path("front/target_bits-5/checkpoint.safetensors").read_bytes()
    more = told(capsys, *options, "5,3", "--exp-name", "front", "--resume")["trials"]
    assert [trial["target"] for trial in more] == [5, 3] and more[1]["cost"] <= 9 * sum(MACS.values())
    assert {name: more[0][name] for name in ("cost", "metric", "loss")} == {
        name: trials[1][name] for name in ("cost", "metric", "loss")
    }
    assert Path("front/target_bits-5/checkpoint.safetensors").read_bytes() == before


def test_fronts_refuse(folder, monkeypatch):
    task = Task.load("product.py")
    options, training = Search(formats=(None,), target_bits=3.0), Finetune(steps=2, batch=20)
    with pytest.raises(ValueError, match=r"^front targets must be at least one and all different, not \(3, 3\)$"):
        front(lambda: task, options, training, (3, 3), "f")
    with pytest.raises(ValueError, match=r"^search target must be at least 425984, the smallest cost there is "):
        front(lambda: task, options, training, (3,), "f")
    assert pickle.loads(pickle.dumps(options)) == options  # what goes to other processes
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match=r"^front executor must be left out under torchrun"):
        front(lambda: task, options, training, (3,), "f", executor=object())
    for text in ("[]", '{"schema": "hwlut.front/1"}', "{", '{"schema": "hwlut.front/1", "kind": "a", "trials": [{}]}'):
        (folder / "front.json").write_text(text)
        with pytest.raises(ValueError, match=r"^front.json: front (trials\[0\] )?must "):
            Front.load("front.json")


def test_threads_come_to_the_same(folder):
    task, options = Task.load("product.py"), Search(formats=(Fixed(2), Fixed(8)), target_bits=3.0)
    training = Finetune(steps=8, batch=20)
    here = front(lambda: task, options, training, (3, 5, 7), "here")
    with ThreadPoolExecutor(3) as executor:
        assert front(lambda: task, options, training, (3, 5, 7), "there", executor) == here


class Here(Executor):
    """Runs what it is sent at once, as another process would: from its pickle."""

    def submit(self, function):
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(function))())
        return future


def test_dask_takes_a_front(capsys, folder, monkeypatch):
    options = [*SHORT, "--search-space", "2,8", "--target-bits", "3,5"]
    addresses = []

    class Client:
        def __init__(self, address):
            addresses.append(address)

        def get_executor(self):
            return Here()

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    options = [each for each in options if each not in ("--threads", 1)]
    found = told(capsys, *options, "--dask", "tcp://there:1")
    assert addresses == ["tcp://there:1"] and found["run"] == str(folder / "product")
    assert found["trials"] == told(capsys, *options, "--exp-name", "here")["trials"]
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = "dask: not found; install it with: pip install 'hwlut[dask]'"
    assert refused(capsys, *options, "--dask", "tcp://there:1", "--exp-name", "none") == message
    assert refused(capsys, *options, "--dask", "x", "--threads", 2).startswith("--threads must be left out with --dask")


def test_processes_search_together(folder):
    program = "import sys; from hwlut.cli import main; sys.exit(main(sys.argv[1:]))"
    (folder / "command.py").write_text(program)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "command.py"]
    options = [*SHORT, "--search-space", "2,8", "--target-bits", "3,5", "--device", "cpu", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "search", *map(str, options)], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stderr
    (told,) = done.stdout.splitlines()
    trials = json.loads(told)["trials"]
    assert [trial["target"] for trial in trials] == [3, 5]
    assert all(trial["cost"] <= trial["target"] ** 2 * sum(MACS.values()) for trial in trials)


def test_costs_from_a_file(capsys):
    areas = {"s2": 3.0, "s4": 10.0, "s8": 50.0}
    blocks = {}
    for name, area in areas.items():
        unit = multiplier_of(Precision.parse(name))
        figures = {"area": area, "gate_equivalents": area, "delay": 1.0, "registers": 0}
        blocks[unit.digest] = Block(name=unit.name, form="", liberty="", tool="by hand", **figures)
    CostTable(blocks).save("costs.json")
    most = 20 * sum(MACS.values())
    options = [*SHORT, "--search-space", "2,4,8", "--cost-type", "costs.json", "--cost-target"]
    found = told(capsys, *options, most)
    counted = sum(MACS[name] * areas[each["precision"]] for name, each in found["operations"].items())
    assert counted == found["cost"] <= found["target"] == most
    trials = told(capsys, *options, f"{most},{2 * most}", "--exp-name", "front", "--jobs", 2)["trials"]
    assert all(trials[0][name] == found[name] for name in ("cost", "metric", "loss"))
    assert trials[1]["cost"] <= 2 * most
    assert refused(capsys, *options, 100).startswith("search target must be at least 1248, the smallest cost there is")
    missing = refused(capsys, *options, most, "--search-space", "3,4")
    assert missing.startswith("costs.json: costs must have a block of 'exact_s3_s3'")
