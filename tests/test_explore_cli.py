"""hwlut explore: what it tells, draws and refuses, in one line."""

import functools
import json
from pathlib import Path

import exploring
import pytest
import searches
from searches import is_picture
from searches import task_folder as folder  # noqa: F401

import hwlut.explore
from hwlut.explore import Exploration
from hwlut.plot.explore import Point, designs_figure

called = functools.partial(searches.called, command="explore")
TASK = "from exploring import task\n"
SHORT = ["--task", "points.py", "--max-steps", 2, "--bits", "8,4", "--multipliers", "exact,coarse.json"]


@pytest.fixture(autouse=True)
def stand_ins(folder, monkeypatch, need):  # noqa: F811
    need("yosys")
    if not Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib").exists():
        pytest.skip("needs qflow-tech-osu018")
    (folder / "points.py").write_text(TASK)
    exploring.COARSE.save(folder / "coarse.json")
    told = {"make": exploring.make, "cost": exploring.cost}
    monkeypatch.setattr(hwlut.explore, "explore", functools.partial(hwlut.explore.explore, **told))


def test_the_front_is_told_and_drawn(capsys):
    exploring.known_costs("points")
    sizes = ["--rows", "1,2", "--columns", "3", "--look-ups", "none,16:4:tree", "--area", 2200]
    out, err = called(capsys, *SHORT, *sizes)
    found = Exploration.load("points/explore.json")
    assert found.request["training"]["steps"] == 2 and found.source == str(Path("points.py").resolve())
    assert found.request["budget"] == {"area": 2200.0, "cycles": None}
    lines = out.splitlines()
    header, rows = lines[0].split(), lines[1 : 1 + len(found.front)]
    assert header[:5] == ["network", "array", "accuracy", "test", "kGE"]
    for row, place in zip(rows, found.front):
        design, network = found.designs[place], found.networks[found.designs[place].network]
        assert row.startswith(network.network.label) and design.array.label in row.split()
        assert row.split()[-2:] == [f"{design.area * design.cycles / 1e6:.1f}", "0.1"]
    kinds = dict(line.split(None, 1) for line in lines[2 + len(rows) :])
    assert kinds["designs"] == "4 costed, 4 over the budget, 8 without a program"
    assert is_picture(kinds["plot"]) and kinds["run"] == "points"
    assert "hwlut: 8 k16,v4,tree: look_ups need a layer between the first and the last\n" in err
    told = json.loads(called(capsys, *SHORT, *sizes, "--json").out)
    assert told == {"run": "points", "plots": {"front": "points/front.png"}} | found.to_json()
    line = called(capsys, *SHORT, *sizes, "--cycles", 9, status=2).err.splitlines()[-1]
    assert line == "hwlut: points/request.json: run must be of cycles 9.0, not None"


def test_a_killed_process_is_told_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(hwlut.explore, "explore", functools.partial(hwlut.explore.explore, make=exploring.killed))
    exploring.known_costs("killed")
    line = called(capsys, *SHORT, "--rows", 1, "--columns", 1, "--jobs", 2, "-o", "killed", status=2).err.splitlines()[
        -1
    ]
    assert line.startswith("hwlut: a process of --jobs was ended from outside, as where memory runs out")


def test_nothing_within_the_budget_is_status_1(capsys):
    exploring.known_costs("none")
    out, err = called(capsys, *SHORT, "--rows", 1, "--area", 5, "-o", "none", status=1)
    assert err.splitlines()[-1] == "hwlut: no design computes the task within the budget"
    assert [line.split(None, 1) for line in out.splitlines()] == [
        ["designs", "4 over the budget"],
        ["plot", "none/front.png"],
        ["run", "none"],
    ]


@pytest.mark.parametrize(
    "given, message",
    [
        (["--bits", "8,x"], "--bits must be numbers or ranges such as 8,4:8, not '8,x'"),
        (["--bits", "8:"], "--bits must be numbers or ranges such as 8,4:8, not '8:'"),
        (["--bits", "8:4"], "Network bits must be ascending, not 8 and 4"),
        (["--look-ups", "16:4:tree:8:1"], "--look-ups must be none, or K[:V[:ENCODER[:BITS]]], such as none,16,16:4"),
        (["--look-ups", "15"], "Lookup k must be a power of two, not 15"),
        (["--multipliers", "gelu_8"], "--multipliers must be exact or tables of multipliers, not 'gelu_8', a Pwl"),
        (["--multipliers", "no"], "table must be a file or the name of one in "),
        (["--segments", ""], "--segments must be none or numbers such as none,8,16, not ''"),
        (["--sparsity", "0,0.0"], "Space sparsity must be at least one and all different, not [0.0, 0.0]"),
        (["--rows", "0"], "Array rows must be from 1 to 64, not 0"),
        (["--area", "-1"], "Budget area must be above 0 and finite, not -1"),
        (["--trials", 0], "explore trials must be at least 1, not 0"),
        (["--jobs", 0], "--jobs must be from 1 to 1024, not 0"),
        (["--jobs", 2, "--dask", "x"], "--jobs must be left out with --dask"),
        (["--dask", "x", "--threads", 1], "--threads must be left out with --dask: they are those of its workers"),
        (["--num-train-epochs", 2], "--num-train-epochs must be left out with --max-steps"),
    ],
)
def test_wrong_options(capsys, given, message):
    out, err = called(capsys, "--task", "points.py", "--max-steps", 2, *given, status=2)
    assert out == "" and err.splitlines()[-1].startswith(f"hwlut: {message}")


def test_the_picture():
    points = [
        Point("a", 0.9, 2000, 10, True),
        Point("b", 0.8, 1000, 30, True),
        Point("c", 0.7, 3000, 40, False),
        Point("e", 0.95, 3900, 12, True),
        Point("d", 0.95, 4000, 9, True),
    ]
    picture = designs_figure(points, {"area": 3500.0, "cycles": None})
    for axes, budget in zip(picture.axes, ([[3500, 3500]], [])):
        hollow, full, *limits = axes.get_lines()
        assert list(hollow.get_ydata()) == [70] and list(full.get_ydata()) == [95, 95, 90, 80]
        assert [list(line.get_xdata()) for line in limits] == budget
        assert [text.get_text() for text in axes.texts] == ["1", "2", "3", "4"]
    assert list(picture.axes[1].get_lines()[1].get_xdata()) == [9, 12, 10, 30]
    assert picture.get_supxlabel() == "1: d\n2: e\n3: a\n4: b"
