"""Explorations: spaces, budgets, fronts, their file, and how they go on."""

import dataclasses
import itertools
import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import exploring
import pytest
import torch
from exploring import COARSE, TRAINING, explored

import hwlut
from hwlut.accel import simulate
from hwlut.cli.machine import spawning
from hwlut.explore import Array, Budget, Exploration, LookUps, Network, Space, explore
from hwlut.explore.costs import cost_design, cycles_of
from hwlut.pareto import unbeaten
from hwlut.search import CostTable
from hwlut.train import Finetune, save_state
from hwlut.units import Multiplier


@pytest.fixture(autouse=True)
def cells(need):
    need("yosys")
    if not Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib").exists():
        pytest.skip("needs qflow-tech-osu018")


def test_networks_are_told_apart_by_what_they_are():
    network = Network(sparsity=0.5, bits=(4, 8), multiplier=COARSE, look_ups=LookUps(v=4), segments=16)
    content = json.loads(json.dumps(network.to_json()))
    assert Network.from_json(content, [COARSE]) == network and network.label == "50% 4:8 coarse k16,v4,l2 s16"
    assert (Network().label, LookUps(table_bits=4, encoder="tree").label) == ("8", "k16,tree,4bit")
    renamed = dataclasses.replace(network, multiplier=COARSE.replace(name="other"))
    assert renamed.digest == network.digest and renamed != network
    others = {"sparsity": 0.25, "bits": (5, 8), "multiplier": None, "look_ups": None, "segments": None}
    digests = {dataclasses.replace(network, **{name: value}).digest for name, value in others.items()}
    assert len(digests | {network.digest}) == 6
    assert LookUps(k=4, v=2, encoder="l1", table_bits=4).lookup(7).seed == 7


@pytest.mark.parametrize(
    "kind, given, message",
    [
        (Network, {"sparsity": 1}, "Network sparsity must be from 0 to below 1, not 1"),
        (Network, {"sparsity": "1"}, "Network sparsity must be a number, not '1'"),
        (Network, {"bits": 8}, "Network bits must be the least and the most bits, not 8"),
        (Network, {"bits": (8, 4)}, "Network bits must be ascending, not 8 and 4"),
        (Network, {"bits": (1, 4)}, "Network bits must be from 2 to 16, not 1"),
        (Network, {"multiplier": "drum"}, "Network multiplier must be a Multiplier or None, not 'drum'"),
        (Network, {"segments": 1}, "Network segments must be from 2 to 64, not 1"),
        (LookUps, {"k": 3}, "Lookup k must be a power of two, not 3"),
        (Array, {"rows": 65}, "Array rows must be from 1 to 64, not 65"),
        (Array, {"columns": 2.0}, "Array columns must be an integer, not 2.0"),
        (Budget, {"area": 0}, "Budget area must be above 0 and finite, not 0"),
        (Budget, {"cycles": "1"}, "Budget cycles must be a number, not '1'"),
        (Space, {"rows": 3}, "Space rows must be a list of values, not 3"),
        (Space, {"rows": []}, "Space rows must be at least one and all different, not []"),
        (Space, {"bits": [(8, 8), [8, 8]]}, "Space bits must be at least one and all different, not [(8, 8), (8, 8)]"),
        (
            Space,
            {"multipliers": [COARSE, Multiplier(family="exact", name="coarse")]},
            "Space multipliers must be at least one and all different, not ['coarse', 'coarse']",
        ),
        (
            Space,
            {"multipliers": [COARSE, None, COARSE.replace(name="same")]},
            "Space multipliers must differ in more than their names, not ['coarse', 'same']",
        ),
        (Space, {"columns": [0]}, "Array columns must be from 1 to 64, not 0"),
    ],
)
def test_choices_are_refused(kind, given, message):
    with pytest.raises((TypeError, ValueError)) as error:
        kind(**given)
    assert str(error.value) == message


def test_spaces_are_combinations_or_a_draw_of_them():
    space = Space(sparsity=[0, 0.5], bits=[(8, 8), (2, 4)], segments=[None, 8], rows=[1, 2], columns=[4])
    every = space.networks()
    assert [(each.sparsity, each.bits, each.segments) for each in every] == list(
        itertools.product((0, 0.5), ((8, 8), (2, 4)), (None, 8))
    )
    assert [each.label for each in space.arrays()] == ["1x4", "2x4"]
    drawn = space.networks(3, seed=1)
    assert len(set(drawn)) == 3 and list(drawn) == [each for each in every if each in drawn]
    assert space.networks(3, seed=1) == drawn and len({space.networks(3, seed) for seed in range(9)}) > 2
    assert space.networks(8) == every == space.networks(9, seed=2)


def test_points_that_none_beats():
    assert unbeaten([(1, 5), (2, 4), (2, 5), (3, 3), (3, 3), (9, 3)]) == [True, True, False, True, True, False]
    assert unbeaten([(1, 1, 2), (1, 2, 1), (2, 1, 1), (2, 2, 2)]) == [True, True, True, False]
    rows = random.Random(3)
    points = [tuple(rows.randrange(4) for _ in range(3)) for _ in range(60)]
    for point, flag in zip(points, unbeaten(points)):
        better = [all(a <= b for a, b in zip(other, point)) and sum(other) < sum(point) for other in points]
        assert flag is not any(better)


def test_an_exploration_and_its_file(tmp_path):
    told = []
    found = explored(
        tmp_path, multipliers=[None, COARSE], look_ups=[None, LookUps()], progress=lambda *step: told.append(step)
    )
    assert [each.network.label for each in found.networks] == [
        *("8", "8 k16,l2", "8 coarse", "8 coarse k16,l2", "4", "4 k16,l2", "4 coarse", "4 coarse k16,l2")
    ]
    refused = [each.reason for each in found.networks]
    assert refused == [None, "look_ups need a layer between the first and the last"] * 4
    assert [design.reason for design in found.designs] == [reason for reason in refused for _ in range(4)]
    assert [design.array.label for design in found.designs[:4]] == ["1x1", "1x3", "2x1", "2x3"]
    made = [design for design in found.designs if design.reason is None]
    assert all(design.area == 1000 * design.array.rows + 100 * design.array.columns for design in made)
    places = range(len(found.designs))
    key = [
        (-(found.networks[design.network].accuracy or 0), design.area or 1e9, design.cycles or 1e9)
        for design in found.designs
    ]
    front = {
        place
        for place in places
        if found.designs[place].reason is None
        and not any(all(a <= b for a, b in zip(key[o], key[place])) and key[o] != key[place] for o in places)
    }
    assert set(found.front) == front and found.best == min(
        front, key=lambda place: (key[place][0], key[place][1] * key[place][2])
    )
    assert told[-1][:2] == (40, 40) and (1, 1, "8: made") in told
    path = tmp_path / "explore.json"
    assert Exploration.load(path) == found
    names = {block.name for block in CostTable.load(tmp_path / "costs.json").blocks.values()}
    assert names == {"of_16", "of_64", "of_40"}  # nothing had to be mapped, as all that the tiles have is known

    content = json.loads(path.read_text())
    first = content["designs"][0]
    for change, message in (
        ({"best": None}, "labels, optimal and best must be those of its networks and designs"),
        (
            {"schema": "hwlut.front/1"},
            "exploration must be an object of schema, which is hwlut.explore/1, request, source, networks, designs",
        ),
        ({"designs": [first | {"network": 8}]}, "designs must be of the 8 networks"),
        ({"designs": [first | {"optimal": not first["optimal"]}]}, "labels, optimal and best must be"),
        ({"designs": [first | {"cycles": "1"}]}, "cycles must be a number, not '1'"),
        ({"designs": [first | {"area": None}]}, "area must be a number, not None"),
        ({"designs": [{}]}, "design must be an object of area, columns, cycles"),
        ({"networks": {}}, "networks must be a list, not {}"),
        ({"networks": [content["networks"][0] | {"label": "other"}], "designs": [], "best": None}, "labels, optimal"),
        ({"networks": [content["networks"][0] | {"accuracy": -1}]}, "accuracy must be a finite number from 0, not -1"),
    ):
        (tmp_path / "changed.json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError) as error:
            Exploration.load(tmp_path / "changed.json")
        assert str(error.value).startswith(f"{tmp_path / 'changed.json'}: {message}")


def test_budgets_are_looked_at_early(tmp_path):
    found = explored(tmp_path, multipliers=[None, COARSE], budget=Budget(cycles=60, area=230), rows=[1], columns=[1, 6])
    cycles = [design.cycles for design in found.designs]
    plain, wide, coarse, coarse_wide = found.designs[:4]
    assert plain.reason == "over the budget: 1100 gate equivalents of at most 230" and plain.area == 1100
    assert coarse_wide.reason == "over the budget: 240 gate equivalents of at most 230, for the multipliers alone"
    assert coarse_wide.tile is None and coarse.tile is not None and found.best is None and found.front == ()
    assert cycles[0] <= 60 < cycles[4] and found.designs[4].area is not None  # the stand-in tells the area, too
    assert found.designs[4].reason == f"over the budget: {cycles[4]:g} cycles a sample of at most 60"
    assert Exploration.load(tmp_path / "explore.json") == found
    none = explored(tmp_path / "none", multipliers=[COARSE], budget=Budget(area=35), bits=[(8, 8)])
    assert {each.reason for each in none.networks} == {"not made: no array can be within the budget"}
    assert not list(tmp_path.glob("none/networks/*")) and len(none.designs) == 4


def test_what_is_done_is_not_done_again(tmp_path):
    found = explored(tmp_path)
    calls = {path: path.read_text() for path in tmp_path.rglob("calls")}
    assert len(calls) == 2 and all(text.count("\n") == 5 for text in calls.values())
    (tmp_path / "explore.json").unlink()
    next(tmp_path.rglob("2x3.json")).unlink()
    assert explored(tmp_path) == found
    again = sorted(path.read_text().count("\n") for path in calls)
    assert again == [5, 6]
    for changed, message in (
        ({"rows": [1, 4]}, r"request.json: run must be of rows \[1, 4\], not \[1, 2\]"),
        ({"budget": Budget(area=7)}, r"request.json: run must be of area 7.0, not None"),
        ({"trials": 1}, r"request.json: run must be of trials 1, not None"),
        ({"training": Finetune(steps=3)}, r"request.json: run must be of steps 3, not 2"),
        ({"trials": 0}, "explore trials must be at least 1, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            explored(tmp_path, **changed)
    next(tmp_path.rglob("2x3.json")).write_text("{}")
    with pytest.raises(ValueError, match="2x3.json: result must be an object with a reason"):
        explored(tmp_path)


def test_weights_are_refused_at_once_and_trained_ones_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_state(tmp_path / "other.safetensors", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="other.safetensors: state must be that of this model"):
        explored("refused", weights="other.safetensors")
    assert not Path("refused/request.json").exists()
    seen = []

    def make(*given, weights, **told):
        seen.append(weights)
        return exploring.make(*given, weights=weights, **told)

    dense = dataclasses.replace(exploring.task(), dense=Finetune(steps=1, batch=10))
    monkeypatch.setattr(exploring, "task", lambda: dense)
    explored("trained", make=make, bits=[(8, 8)], rows=[1], columns=[1])
    assert seen == [str(tmp_path / "trained" / "dense.safetensors")]


def test_killed_at_any_file_it_comes_to_the_same(tmp_path):
    program = [sys.executable, exploring.__file__, str(tmp_path / "whole"), str(tmp_path / "killed")]
    run = subprocess.run(program, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    whole, killed = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.json")}
        for name in ("whole", "killed")
    )
    assert killed == whole and Path("explore.json") in whole
    assert 3 <= run.stdout.count("killed") < len(whole)


@pytest.mark.parametrize("workers", [lambda: spawning(2, 1), lambda: ThreadPoolExecutor(2)], ids=["spawned", "threads"])
def test_workers_come_to_the_same(tmp_path, workers):
    here = explored(tmp_path / "here")
    with workers() as executor:
        assert explored(tmp_path / "there", executor=executor) == here


def test_an_error_ends_it_and_what_was_done_is_kept(tmp_path):
    def failing(folder, array, budget):
        if array.columns == 3:
            raise RuntimeError("yosys: not found")
        return exploring.cost(folder, array, budget)

    with pytest.raises(RuntimeError, match="^yosys: not found$"):
        explored(tmp_path, cost=failing)
    assert len(list(tmp_path.rglob("1x1.json"))) == 1 and not (tmp_path / "explore.json").exists()
    assert explored(tmp_path).best is not None


def test_costs_of_a_design(tmp_path, need):
    need("yosys", "sta")
    network, folder = Network(bits=(4, 4), multiplier=COARSE), tmp_path
    exploring.make(exploring.task(), network, folder, weights=None, training=TRAINING)
    found = cost_design(folder, Array(rows=2, columns=2), Budget())
    tile, program = hwlut.load(folder / "tile_2x2.json"), hwlut.load(folder / "program.json")
    codes = program.inputs[0].format.min + torch.arange(14 * 8).reshape(14, 8) % 7
    ran = [simulate(program, tile, codes[:samples], engine="model").cycles for samples in (6, 10, 14)]
    assert ran[2] - ran[1] == ran[1] - ran[0] == 4 * found["cycles"] == 4 * cycles_of(program, tile)
    assert found["tile"] == tile.digest and found["reason"] is None and found["ram_bits"] > 0
    # What is refused for its multipliers alone is rightly refused: they are in the area in full.
    assert [unit.digest for unit in tile.multipliers] == [COARSE.digest] and found["area"] > 4 * 200
    within = cost_design(folder, Array(rows=2, columns=2), Budget(area=found["area"], cycles=found["cycles"]))
    assert within == found
    over = cost_design(folder, Array(rows=2, columns=2), Budget(cycles=found["cycles"] - 1))
    assert over["reason"].startswith("over the budget: ") and "area" not in over


def test_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="^explore must not be started by torchrun"):
        explored(tmp_path)
    with pytest.raises(TypeError, match="^explore space must be a Space, not dict$"):
        explore(exploring.task, {}, tmp_path, training=TRAINING)
