"""Whatever is wrong with a checkpoint, a request or a liberty file, it is taken whole or refused in one line."""

import dataclasses
import json

import pytest
import torch
from hostile import damaged, damaged_json, examples, taken
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz_arrays import safetensors
from torch import nn
from torch.utils.data import TensorDataset

import hwlut
from hwlut.fit import Genetic
from hwlut.train import Finetune, Task, finetune
from hwlut.train.processes import processes
from hwlut.train.request import check_request
from hwlut.verify.synthesis.liberty import Liberty

CELLS = b"""library (small) { /* two */
  cell (NAND2) { area : 8; pin (Y) { function : "!(A&B)"; } }
  cell ("DFF") { area : "32.0"; ff (IQ, IQN) { clocked_on : "CLK"; } } }
"""
REQUEST = {"task": "t", "training": {"steps": 9, "rate": 0.5}, "weights": None}
GENETIC = Genetic(generations=2, population=4)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@examples(60)
@given(content=damaged([CELLS]))
def test_liberty(scratch, content):
    path = scratch / "cells.lib"
    path.write_bytes(content)
    found = taken(Liberty.read, path)
    assert found is None or found.areas and all(0 <= area < float("inf") for area in found.areas.values())


def test_comments_that_do_not_end(scratch):
    path = scratch / "comments.lib"
    path.write_bytes(CELLS + b"/* " * 300_000)
    assert set(taken(Liberty.read, path).areas) == {"NAND2", "DFF"}


@examples(60)
@given(content=damaged_json([REQUEST]))
def test_requests(scratch, content):
    path = scratch / "request.json"
    path.write_bytes(content)

    def read(path):
        with processes("cpu") as group:
            check_request(path, REQUEST, group)
        return True

    if taken(read, path):
        assert json.loads(content).items() >= REQUEST.items()


@pytest.fixture(scope="module")
def evolution(scratch):
    path = scratch / "whole.json"
    hwlut.fit("gelu", 3, dataclasses.replace(GENETIC, checkpoint=path))
    return json.loads(path.read_bytes())


@examples(60)
@given(data=st.data())
def test_evolutions(scratch, evolution, data):
    path = scratch / "state.json"
    path.write_bytes(data.draw(damaged_json([evolution])))
    taken(lambda path: hwlut.fit("gelu", 3, dataclasses.replace(GENETIC, checkpoint=path)), path)


def trained(folder):
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    task = Task(name="small", model=lambda: nn.Linear(4, 2), train=data, test=data)
    return finetune(nn.Linear(4, 2), task, Finetune(steps=1, batch=10), folder=folder, device="cpu")


@pytest.fixture(scope="module")
def checkpoint(scratch):
    trained(scratch / "whole")
    return (scratch / "whole" / "checkpoint.safetensors").read_bytes()


@examples(60)
@given(data=st.data())
def test_trainings(scratch, checkpoint, data):
    path = scratch / "damaged" / "checkpoint.safetensors"
    path.parent.mkdir(exist_ok=True)
    size = int.from_bytes(checkpoint[:8], "little")
    header = json.loads(checkpoint[8 : 8 + size])
    words = header["__metadata__"]
    key = data.draw(st.sampled_from(["state", "settings", "scaler", None]))
    if key is None:
        path.write_bytes(data.draw(safetensors(checkpoint)))
    else:
        words[key] = data.draw(damaged_json([json.loads(words[key])])).decode("utf-8", "replace")
        told = json.dumps(header).encode()
        path.write_bytes(len(told).to_bytes(8, "little") + told + checkpoint[8 + size :])
    found = taken(lambda path: trained(path.parent), path)
    assert found is None or found.steps == 1
