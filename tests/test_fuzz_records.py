"""Whatever is wrong with the files of a run, they are read whole or refused in one line that names the file."""

import json

import pytest
from hostile import damaged, damaged_json, examples, taken
from hypothesis import given
from hypothesis import strategies as st

from hwlut.lutnn.record import Record
from hwlut.prune.result import Compression
from hwlut.records import parse_json
from hwlut.search import Configuration, Front, Trial
from hwlut.train.log import Log, read_log

OPERATION = {
    **{"precision": "s8/s4", "macs": 12, "weights": 4, "cost": 384, "decision": "a"},
    **{"steps": {"weight": [0.5, 1.0]}, "zero_points": {"activation": [3]}},
}
CONFIGURATION = {
    "schema": "hwlut.quantization/1",
    "request": {"task": "t", "search": {"quantizers": {"weights": {}, "activations": {}}}, "training": {}},
    "source": None,
    "operations": {"0": OPERATION},
    **{"owners": {"a": 1}, "left": {"b": "why"}, "probabilities": {"a": 0.5}, "evaluations": 3},
    **{"cost": 384, "target": 400.0, "least": 1, "most": 999, "metric": 0.9, "loss": 0.1},
}
SIZE = {"parameters": 10, "macs": 20, "bit_operations": 300, "memory": 320}
COMPRESSION = {
    "schema": "hwlut.compression/1",
    "request": {"task": "t", "method": "joint", "compression": {"keep": []}, "training": {}},
    "source": "task.py",
    **{"couplings": {"first": 8}, "removed": {"first": [0, 3]}, "left": {}, "operations": {"0": OPERATION}},
    **{"quantizers": {"weights": {}}, "owners": {}, "unquantized": {}, "before": SIZE, "after": SIZE},
    **{"cost": 1.0, "difference": 0.0, "mismatches": 0.0, "metric": 0.9, "loss": 0.3},
}
TRIAL = {"target": 5.0, "cost": 4, "metric": 0.5, "loss": 1.0, "folder": "a", "optimal": True}
FRONT = {"schema": "hwlut.front/1", "kind": "target_bits", "trials": [TRIAL, TRIAL]}
RUN = {
    "schema": "hwlut.lutnn/1",
    **{"request": {"task": "t"}, "source": "task.py", "layers": {"0": {"k": 2}}, "left": {}, "metrics": {"dense": 0.5}},
}
READERS = {
    "config.json": (CONFIGURATION, Configuration.load),
    "compression.json": (COMPRESSION, Compression.load),
    "front.json": (FRONT, Front.load),
    "run/config.json": (RUN, lambda path: Record.read(path.parent)),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "run").mkdir()
    return folder


@pytest.mark.parametrize("name", READERS)
@examples(60)
@given(data=st.data())
def test_records(scratch, name, data):
    content, read = READERS[name]
    path = scratch / name
    path.write_bytes(data.draw(damaged_json([content])))
    found = taken(read, path)
    if isinstance(found, Configuration):
        assert found.rows and found.quantizers and found.request["task"] in (found.request["task"], "")
    if isinstance(found, Compression):
        assert 0 <= found.sparsity and isinstance(found.operands.weights, object)
    if isinstance(found, Front):
        assert all(float(trial.cost) <= float("inf") for trial in found.trials)


@examples(40)
@given(content=damaged([b'{"step": 1, "steps": 9, "loss": 0.5}\n{"step": 2, "steps": 9, "policy": {"a": 1}}\n']))
def test_logs(scratch, content):
    path = scratch / "log.jsonl"
    path.write_bytes(content)
    found = taken(read_log, path)
    assert found is None or all(isinstance(line, dict) for line in found)
    Log(scratch, done=1, steps=9).close()
    assert all(line["step"] <= 1 for line in read_log(path))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("write", ["configuration", "front", "run"])
def test_results_that_are_not_finite_are_not_kept(scratch, write, bad):
    """They would be read by nobody: the key is named while there is somebody to hear it."""
    path = scratch / "results" / "config.json"
    trial = Trial(target=5.0, cost=4, metric=bad, loss=1.0, folder="a")
    results = {
        "configuration": (lambda: configuration(metric=bad).save(path), "result metric"),
        "front": (lambda: Front.of("target_bits", [trial]).save(path), "front trials 0 metric"),
        "run": (lambda: Record(path.parent, {}, metrics={"dense": bad}).write(), "run metrics dense"),
    }
    save, key = results[write]
    with pytest.raises(ValueError, match=f"^{key} must be finite to be kept, not {bad}$"):
        save()
    assert not path.exists()


def configuration(**changes):
    found = {**CONFIGURATION, "operations": {}, **changes}
    del found["schema"]
    return Configuration(**found)


@pytest.mark.parametrize(
    "data, message",
    [
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "key 'c' stands twice"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("{}".encode("utf-16"), "utf-8"),
        (b'{"\xe9": 1}', "utf-8"),
        (b"[1, 2", "line 1 column 6"),
    ],
)
def test_what_is_no_json(data, message):
    with pytest.raises(ValueError, match=message) as told:
        parse_json(data)
    assert str(told.value).isprintable()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400])
def test_numbers_that_no_float_holds(scratch, number):
    path = scratch / "front.json"
    path.write_text(json.dumps(FRONT).replace("0.5", number, 1))
    with pytest.raises(ValueError, match=r"front.json: front trials\[0\] metric must be a number that a float holds"):
        Front.load(path)
