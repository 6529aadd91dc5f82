"""Costs of blocks: what the synthesis says, files that go on where they stopped, and files that are none."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from hwlut import Fixed, ToolError
from hwlut.search import Block, CostTable, assign, synthesized
from hwlut.units import Direct
from hwlut.verify.synthesis import Liberty, Netlist, Synthesis, synthesize

BATCH = sys.modules["hwlut.verify.synthesis.batch"]


def unit(number):
    return Direct(input=Fixed(2, 0), output=Fixed(3, 0), values=(0, 1, 2, number), name=f"unit_{number % 8}")


def block(**changes):
    figures = {"area": 96.0, "gate_equivalents": 4.0, "delay": 0.5, "registers": 1}
    return Block(**{"name": "b", "form": "", "liberty": "cells.lib", "tool": "Yosys 0.23", **figures, **changes})


@pytest.fixture
def stand_in(monkeypatch):
    """Makes a synthesis a look-up of the last value of the table; gives the names of what was mapped."""
    mapped = []

    def synthesize(given, *, target, liberty, verilog):
        assert (verilog is None) == (given.name != "unit_0")
        mapped.append(given.name)
        if given.values[-1] < 0:
            raise ValueError("stopped")
        area = 10.0 * given.values[-1]
        netlist = Netlist(target, "Yosys 0.23", {}, 2, 0, area, area / 4, 1.5, "sta", "", "")
        names = {"unit": given.name, "digest": given.digest, "scale": 0, "liberty": "cells.lib", "gate": "NAND2"}
        return Synthesis(**names, netlist=netlist, recheck=None, unchecked="stand-in")

    monkeypatch.setattr(BATCH, "synthesize", synthesize)
    return mapped


def test_costs_are_those_of_the_synthesis(need):
    need("yosys", "sta", "g++", "verilator")
    try:
        Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")
    (found,) = synthesized([unit(3)]).blocks.values()
    netlist = synthesize(unit(3)).netlist
    assert (found.name, found.liberty, found.tool) == ("unit_3", "osu018_stdcells.lib", netlist.tool)
    assert (found.area, found.gate_equivalents) == (netlist.area, netlist.area / 24)
    assert (found.delay, found.registers) == (netlist.delay, netlist.registers)


def test_processes_by_default():
    """A bad library is refused before any tool is looked for, in the other process."""
    with pytest.raises(ValueError, match="^none.lib: no such file$"):
        synthesized([unit(1), unit(2)], liberty="none.lib")


def test_missing_blocks_are_mapped_and_kept(stand_in, tmp_path):
    path, told = tmp_path / "costs.json", []
    with ThreadPoolExecutor(2) as pool:
        table = synthesized(
            [unit(1), unit(2), unit(1)], file=path, executor=pool, progress=lambda *step: told.append(step)
        )
        assert sorted(stand_in) == ["unit_1", "unit_2"] and [step[:2] for step in told] == [(1, 2), (2, 2)]
        assert CostTable.load(path) == table and table[unit(2)] == block(
            name="unit_2", area=20.0, gate_equivalents=5.0, delay=1.5, registers=2
        )
        again = synthesized([unit(2), unit(3)], file=path, executor=pool)
    assert sorted(stand_in) == ["unit_1", "unit_2", "unit_3"]
    assert again[unit(3)].area == 30 and again[unit(1)] == table[unit(1)] and CostTable.load(path) == again


def test_what_was_done_before_a_failure_is_kept(stand_in, tmp_path):
    path = tmp_path / "costs.json"
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="^stopped$"):
        synthesized([unit(1), unit(-1), unit(2)], file=path, executor=pool)
    assert unit(1).digest in CostTable.load(path).blocks


def test_a_form_of_its_own(stand_in, tmp_path):
    path = tmp_path / "costs.json"
    assert synthesized([unit(0)], file=path, form={"stages": 2})[unit(0)].form == "stages=2"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: costs must be of form '', not 'stages=2'$"):
        synthesized([unit(0)], file=path)


def test_a_cost_counts_blocks():
    table = CostTable({unit(1).digest: block(), unit(2).digest: block(area=48.0, gate_equivalents=None)})
    assert table.cost()("any", unit(1)) == 96 and table.cost("delay")("any", unit(2)) == 0.5
    times = {"first": 10, "last": 2}
    found = assign(
        {layer: [unit(1), unit(2)] for layer in times},
        table.cost("area", times),
        lambda layer, choice: 0.5 if choice == unit(2) else 0.0,
        budget=10 * 48 + 2 * 96,
    )
    assert (found["first"], found["last"]) == (unit(2), unit(1)) and found.cost == 672
    for call, message in (
        (lambda: table.cost()("any", unit(3)), f"costs must have a block of 'unit_3' (digest {unit(3).digest[:12]})"),
        (lambda: table.cost("gate_equivalents")("any", unit(2)), "costs must have the gate_equivalents of 'b'"),
        (lambda: table.cost("area", times)("other", unit(2)), "costs times must have an entry for layer 'other'"),
        (
            lambda: table.cost("size"),
            "costs figure must be one of area, gate_equivalents, delay, registers, not 'size'",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


def test_of_one_library_and_one_tool():
    with pytest.raises(ValueError, match=r"^costs must be of one liberty, not of cells\.lib and other\.lib$"):
        CostTable({"a": block(), "b": block(liberty="other.lib")})
    with pytest.raises(ValueError, match=r"^costs must be of one tool, not of Yosys 0\.23 and Yosys 0\.9$"):
        CostTable({"a": block(tool="Yosys 0.9"), "b": block()})


def test_a_wrong_netlist_has_no_cost(stand_in, monkeypatch):
    monkeypatch.setattr(Synthesis, "ok", False)
    with pytest.raises(ValueError, match="^unit_1: the netlist is not the unit: "):
        synthesized([unit(1)])


GOOD = {"a": dict(vars(block()))}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "no costs: Expecting property name"),
        ("[1]", "costs must be an object of schema, which is hwlut.costs/1, and units"),
        ('{"schema": "hwlut.costs/2", "units": {}}', "costs must be an object of schema, which is hwlut.costs/1"),
        ('{"schema": "hwlut.costs/1", "units": []}', r"units must be an object, not \[\]"),
        (
            {"a": {"name": "x"}},
            "unit 'a' must be an object of area, delay, form, gate_equivalents, liberty, name, registers",
        ),
        ({"a": GOOD["a"] | {"area": "96"}}, "Block area must be a number, not '96'"),
        ({"a": GOOD["a"] | {"area": None}}, "Block area must be a number, not None"),
        ({"a": GOOD["a"] | {"delay": -1}}, "Block delay must be a finite number from 0, not -1"),
        ({"a": GOOD["a"] | {"area": float("inf")}}, "no costs: Infinity is no JSON number"),
        ({"a": GOOD["a"] | {"tool": 3}}, "Block tool must be a string, not 3"),
        (GOOD | {"b": GOOD["a"] | {"liberty": "o.lib"}}, r"costs must be of one liberty, not of cells\.lib and o\.lib"),
    ],
    ids=["cut", "list", "schema", "units", "keys", "text", "null", "negative", "infinite", "tool", "mixed"],
)
def test_files_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "costs.json"
    path.write_text(text if isinstance(text, str) else json.dumps({"schema": "hwlut.costs/1", "units": text}))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        CostTable.load(path)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="none.json: no such file$"):
        CostTable.load(tmp_path / "none.json")
