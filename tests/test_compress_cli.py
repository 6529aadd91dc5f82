"""hwlut compress: from the command line to files and pictures; refusals in one line."""

import dataclasses
import functools
import itertools
import json
import re
from pathlib import Path

import pytest
import searches
from searches import MACS, TASK, is_picture, task_folder  # noqa: F401

from hwlut.prune import Compression, open_compressed
from hwlut.quant.precision import Precision
from hwlut.search import Block, CostTable, multiplier_of

SHORT = ["--task", "product.py", "--max-steps", 50, "--train-batch-size", 20, "--threads", 1]


called = functools.partial(searches.called, command="compress")
told = functools.partial(searches.told, command="compress")


def test_a_compression_is_told_and_measured_again(capsys):
    found = told(capsys, *SHORT, "--weight-bits", "2,4", "--activation-bits", "3,6", "--log-steps", 1)
    assert (found["run"], found["task"], found["sparsity"]) == ("product", "product", 0.5)
    assert found["couplings"] == {"0": 16, "2": 16} and sum(map(len, found["removed"].values())) == 16
    assert found["difference"] < 1e-10 and found["left"] and found["unquantized"] == {}
    left = [16 - len(found["removed"].get(name, ())) for name in ("0", "2")]
    macs = {"0": 8 * left[0], "2": left[0] * left[1], "4": 2 * left[1]}
    bits = {name: [int(part[1:]) for part in each.split("/")] for name, each in found["operations"].items()}
    assert set(bits) == set(macs)
    assert all(2 <= each[0] <= 4 and 3 <= each[-1] <= 6 for each in bits.values())
    assert found["after"]["bit_operations"] == sum(macs[name] * bits[name][0] * bits[name][-1] for name in macs)
    assert found["before"]["macs"] == sum(MACS.values()) and found["after"]["macs"] == sum(macs.values())
    assert set(found["plots"]) == {"bits", "groups", "stages"} and all(map(is_picture, found["plots"].values()))
    stages = [json.loads(line).get("stage") for line in Path("product/log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(stages)) == ["warm_up", "projection", "joint", "cool_down"]
    again = told(capsys, "eval", "product")
    assert again["now"] == again["metric"] == found["metric"] and again["operations"] == found["operations"]
    text = called(capsys, "eval", "product", "--threads", 1).out
    assert "16 of 32 groups" in text and re.search(r"^bit operations +[\d,]+ +[\d,]+ +[\d.]+ %", text, re.M)


def test_options_reach_the_compression(capsys):
    options = [
        "--sparsity", 5, "--weight-bits", 6, "--activation-bits", 0, "--keep", "0", "--exclude", "4",
        "--saliency", "magnitude,cosine", "--warm-up", 10, "--projection", 0.25, "--joint", 0.25,
        "--projection-periods", 2, "--joint-periods", 3, "--powers", "--cost-type", "memory",
    ]  # fmt: skip
    training = [
        "--learning-rate", 0.01, "--step-rate", 0.02, "--optimizer", "sgd", "--ema", 0.5, "--seed", 3,
        "--exp-name", "mine", "-o", "runs",
    ]  # fmt: skip
    found = told(capsys, *SHORT, *options, *training)
    assert found["run"] == "runs/mine" and found["unquantized"]["4"] == "excluded"
    assert {name: len(each) for name, each in found["removed"].items()} == {"2": 5} and "0" in found["left"]
    assert found["operations"] == {"0": "s6/0", "2": "s6/0"}
    assert found["cost"] == 6 * (8 * 16 + 16 * 11)
    request = json.loads(Path("runs/mine/request.json").read_text())
    wanted = {
        "sparsity": 5, "weight_bits": [6, 6], "activation_bits": None, "warm_up": 10, "projection": 0.25,
        "joint": 0.25, "projection_periods": 2, "joint_periods": 3, "saliency": {"magnitude": 1.0, "cosine": 1.0},
        "powers": True, "keep": ["0"], "exclude": ["4"],
    }  # fmt: skip
    assert request["compression"].items() >= wanted.items() and request["method"] == "joint"
    trained = {"steps": 50, "batch": 20, "learning_rate": 0.01, "step_rate": 0.02, "optimizer": "sgd", "ema": 0.5}
    assert request["training"].items() >= (trained | {"seed": 3}).items()


def test_costs_of_a_file(capsys):
    blocks = {}
    for weight, activation, sign in itertools.product((2, 3, 4), (3, 4, 5), "su"):
        unit = multiplier_of(Precision.parse(f"s{weight}/{sign}{activation}"))
        plain = {"gate_equivalents": None, "delay": 1.0, "registers": 0, "form": "", "liberty": "", "tool": ""}
        blocks[unit.digest] = Block(name=unit.name, area=100 * weight + activation, **plain)
    CostTable(blocks).save("costs.json")
    options = ["--weight-bits", "2,4", "--activation-bits", "3,5", "--cost-type", "costs.json"]
    found = told(capsys, *SHORT, *options, "--cost-target", 60000)
    left = [16 - len(found["removed"].get(name, ())) for name in ("0", "2")]
    macs = {"0": 8 * left[0], "2": left[0] * left[1], "4": 2 * left[1]}
    bits = {name: [int(part[1:]) for part in each.split("/")] for name, each in found["operations"].items()}
    spent = sum(macs[name] * (100 * bits[name][0] + bits[name][-1]) for name in macs)
    assert found["cost"] == spent <= 60000
    _, err = called(capsys, *SHORT, *options, "--target-bits", 3, "--exp-name", "other", status=2)
    assert "Budget target must be given with a cost of one's own, not target_bits" in err.splitlines()[-1]
    CostTable({digest: dataclasses.replace(each, area=1.0) for digest, each in blocks.items()}).save("costs.json")
    _, err = called(capsys, *SHORT, *options, "--cost-target", 60000, "--resume", status=2)
    assert "run must be of cost 'area of blocks" in err.splitlines()[-1]


def test_pruning_at_once(capsys):
    found = told(capsys, *SHORT, "--method", "sequential", "--weight-bits", "2,8", "--activation-bits", "2,8",
                 "--target-bits", 4)  # fmt: skip
    assert set(found["operations"].values()) == {"s4"} and found["sparsity"] == 0.5
    assert "stages" not in found["plots"]


def test_groups_are_shown(capsys):
    found = told(capsys, *SHORT, "--groups")
    assert found["groups"] == 32 and found["couplings"]["2"]["tensors"] == [
        ["2.weight", 0, 16], ["2.bias", 0, 16], ["4.weight", 1, 16],
    ]  # fmt: skip
    text = called(capsys, *SHORT, "--groups").out
    assert "2.weight" in text or "2" in text
    assert not Path("product").exists()


def test_a_run_goes_on_with_resume(capsys, folder):
    first = told(capsys, *SHORT)
    out, err = called(capsys, *SHORT, status=2)
    assert err.splitlines()[-1].endswith("product holds a run: go on with it by --resume, or give another --exp-name")
    assert told(capsys, *SHORT, "--resume")["metric"] == first["metric"]
    assert open_compressed("product")[0] == Compression.load("product/compression.json")
    assert Compression.load("product/compression.json").source == str(folder / "product.py")


REFUSED = {
    "--sparsity half": "--sparsity must be a share of the groups or a number of them, not 'half'",
    "--sparsity 1.5": "Joint sparsity must be a share from 0 to 1 or a positive integer number of groups, not 1.5",
    "--sparsity 31": "Joint sparsity must be of at most 30 of the 32 groups, one of each coupling",
    "--weight-bits 8,4": "Joint weight_bits must be ascending from 2 to 16, not (8, 4)",
    "--weight-bits 4,5,6": "--weight-bits must be least and most bits such as 4,8, or 0 for none, not '4,5,6'",
    "--keep nothing": "'nothing' must match",
    "--saliency beauty": "Joint saliency must be of magnitude, average_magnitude, cosine, first_taylor,",
    "--method wild": "--method must be joint or sequential, not 'wild'",
    "--method sequential": "--target-bits or --cost-target, one of them, must be given with --method sequential",
    "--method sequential --powers": "--powers must be left out with --method sequential",
    "--search oneshot": "--search must be left out but with --method sequential",
    "--target-bits 4 --cost-target 9": "Joint must be given target or target_bits, not both",
    "--target-bits 3": "Joint target_bits must be at least the least bits, 4, not 3",
    "--cost-target 3": "search target must be at least",
    "--frugality -1": "Joint frugality must be at least 0, not -1",
    "--warm-up 0.5 --joint 0.5": "Joint stages must leave a step of cool-down",
    "--cost-type gold": "--cost-type must be one of compute, memory, or a file of costs, not 'gold'",
    "--sparsity 0 --weight-bits 0 --activation-bits 0": "Joint must be given a sparsity above 0, weight_bits",
}


@pytest.mark.parametrize("options", REFUSED)
def test_refusals_are_one_line(capsys, options):
    out, err = called(capsys, *SHORT, *options.split(), status=2)
    lines = [line for line in err.splitlines() if not line.startswith("hwlut: compress ")]
    assert out == "" and len(lines) == 1 and REFUSED[options] in lines[0]
    assert not Path("product/compression.json").exists()


def test_eval_refuses_what_is_no_compression(capsys, tmp_path):
    assert "no such file" in called(capsys, "eval", tmp_path, status=2).err
    (tmp_path / "compression.json").write_text("{")
    assert "compression must be a JSON object" in called(capsys, "eval", tmp_path, status=2).err


def test_an_operator_that_is_not_known_is_named(capsys, folder):
    strange = TASK.replace(
        "class Net",
        "class Growing(nn.Module):\n    def forward(self, x):\n        return torch.fft.fft(x).real\n\nclass Net",
    ).replace("nn.ReLU()", "Growing()", 1)
    (folder / "strange.py").write_text(strange)
    _, err = called(capsys, *["strange.py" if each == "product.py" else each for each in SHORT], status=2)
    assert re.search(r"fft.*strange.py:10", err.splitlines()[-1])
