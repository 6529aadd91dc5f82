"""Whatever is wrong with the files of a report's folder, each is read or said to be damaged in one line, and the page
is written; and of an exploration, it is read whole or refused."""

import json

import pytest
from hostile import damaged, damaged_json, examples, taken
from hypothesis import given
from hypothesis import strategies as st
from reports import dump

from hwlut.accel.port import ACTIVITY
from hwlut.explore import Array, Exploration, Network
from hwlut.explore.result import Design, Trained
from hwlut.report import vcd, write_report
from hwlut.report.folder import Folder

DESIGN = Design(network=0, array=Array(rows=2, columns=2), tile="0" * 64, cycles=9.5, area=100.0, ram_bits=64)
EXPLORED = Exploration(
    {"task": "small", "trials": None},
    None,
    (
        Trained(network=Network(segments=8), folder="networks/0", accuracy=0.9, metric=0.8, float_accuracy=0.9),
        Trained(network=Network(bits=(4, 8), sparsity=0.5), folder="networks/1", reason="no tile"),
    ),
    (DESIGN, Design(network=1, array=Array(), reason="no program")),
)
MADE = {"schema": "hwlut.made/1", "accuracy": 0.5, "metric": 0.25, "float_accuracy": 0.75}
SIMULATED = {"schema": "hwlut.sim/1", "ok": True, "engine": "verilator", "unit": "gelu_8", "vectors": 256}
LINE = {"step": 1, "steps": 9, "loss": 0.5, "policy": {"a": 1}}
FILES = {
    "explore.json": damaged_json([EXPLORED.to_json()]),
    "told.json": damaged_json([MADE, SIMULATED]),
    "log.jsonl": st.lists(damaged_json([LINE]), max_size=3).map(b"\n".join),
    "layer.csv": damaged([",".join(("cycle", *ACTIVITY)).encode() + b"\n0" + b",1" * len(ACTIVITY) + b"\n"]),
    "waves.vcd": damaged([dump([1, 3, 7]).encode()]),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@examples(60)
@given(content=FILES["explore.json"])
def test_explorations(scratch, content):
    path = scratch / "explore.json"
    path.write_bytes(content)
    found = taken(Exploration.load, path)
    assert found is None or found.to_json() == json.loads(content)


@pytest.mark.parametrize("name", FILES)
@examples(30)
@given(data=st.data())
def test_folders(scratch, name, data):
    folder = scratch / name.replace(".", "_")
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data.draw(FILES[name]))

    def read(path):
        (file,) = write_report(folder, scratch / "report.html").files
        if file.error is not None:
            raise ValueError(f"{path}: {file.error}")
        return file

    taken(read, path)


def test_a_waveform_of_many_signals_takes_little(tmp_path, monkeypatch):
    """A small file may say that thousands of signals have values at thousands of times: what is beyond is left out."""
    monkeypatch.setattr(vcd, "_MOST_VALUES", 5000)
    path = tmp_path / "many.vcd"
    names = [f"{number:x}" for number in range(100)]
    declared = "".join(f"$var wire 1 {name} n{name} $end\n" for name in names)
    values = "".join(f"0{name}\n" for name in names)
    times = "".join(f"#{number}\n" for number in range(1, 1000))
    path.write_text(f"$scope module a $end\n{declared}$enddefinitions $end\n#0\n{values}{times}")
    (file,) = Folder.read(tmp_path).files
    assert file.content.times == list(range(51)) and not file.content.whole and len(file.content.signals) == 100
