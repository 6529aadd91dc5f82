"""A tile's area by block: what is counted where, and that nothing is left out."""

import json
import shutil

import pytest

from hwlut import Direct, Fixed, ToolError
from hwlut.accel import generate_tile, tile_area
from hwlut.cli import main
from hwlut.units import Multiplier, Tile
from hwlut.verify.synthesis import Liberty, map_modules

TILE = Tile(
    name="tile_2x3",
    rows=2,
    columns=3,
    multipliers=(Multiplier(family="exact", bits=4, signed=True), Multiplier(family="exact", bits=3, signed=False)),
    entries=2,
    encoder="l1",
    entry_bits=4,
    accumulator_bits=26,
    value_bits=8,
    operations=("add",),
    operators=(Direct(input=Fixed(3, 1), output=Fixed(5, 2), values=(0, 1, 4, 9, -16, 9, 4, 1)),),
    loops=1,
    table_inputs=3,
    table_outputs=6,
    operands=4,
    values=32,
    inputs=16,
    weights=8,
    constants=4,
)


@pytest.fixture(scope="module")
def osu018():
    for tool in ("yosys", "sta"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    try:
        return Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")


@pytest.fixture(scope="module")
def found(osu018):
    return tile_area(TILE)


def test_blocks_are_the_whole(found, osu018):
    rtl = generate_tile(TILE)
    parts = map_modules(rtl.verilog, "tile_2x3", osu018).parts
    assert found.area == sum(part.area for part in parts) == sum(block.area for block in found.blocks)
    assert sum(block.count for block in found.blocks) == len(parts)
    assert found.gate_equivalents == pytest.approx(found.area / osu018.areas[osu018.gate])
    assert found.registers == sum(part.registers for part in parts)
    assert found.delay == max(block.delay for block in found.blocks if block.delay)


def test_blocks_hold_what_they_are_called(found):
    blocks = {block.name: block for block in found.blocks}
    assert blocks["multipliers"].count == 2 * 2 * 3 and blocks["multipliers"].registers == 0
    assert blocks["accumulators"].count == 2 * 3 and blocks["accumulators"].registers == 2 * 3 * 26
    assert {blocks[name].count for name in ("operations", "requantizers", "lanes", "rows")} == {2}
    assert blocks["operators"].registers > 0 and blocks["encoders"].count >= 2
    assert len(blocks) == 11 and min(block.gate_equivalents for block in found.blocks) > 50


def test_memories_are_bits(found):
    """A word of each row or column; values are read twice in a cycle."""
    queues = found.memories["queues"]
    assert found.memories == {
        "values": 2 * 2 * 32 * 8,
        "inputs": 2 * 16 * TILE.input_bits,
        "weights": 3 * 8 * TILE.weight_bits,
        "constants": 4 * TILE.constant_bits,
        "tables": 2 * (1 << 3) * 6,
        "operands": 2 * 4 * 3 * 4,
        "queues": queues,
    }
    assert found.ram_bits == sum(found.memories.values()) and queues < 4096


def test_one_cell_is_mapped_for_all(found):
    """More rows and columns cost no more mapping than what differs in each."""
    assert found.modules < len(generate_tile(TILE.replace(rows=4)).verilog.split("\nmodule ")) / 2


def test_command_line(found, tmp_path, capsys):
    path = TILE.save(tmp_path / "tile_2x3.json")
    assert main(["synth", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["area"] == found.area and said["memories"] == found.memories and said["delay"] == found.delay
    assert [block["name"] for block in said["blocks"]] == [block.name for block in found.blocks]
    assert main(["synth", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["instances", "GE", "registers", "ns"]
    assert lines[len(found.blocks) + 2].split()[:3] == ["all", "-", str(round(found.gate_equivalents))]
    for options, message in (
        (["--target", "ice40"], "Tile target must not be given, not ice40"),
        (["--compare"], "Tile compare must not be given, not True"),
        (["--stages", "2"], "Tile stages must not be given, not 2"),
    ):
        assert main(["synth", str(path), *options]) == 2
        assert message in capsys.readouterr().err


def test_a_missing_liberty_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        tile_area(TILE, tmp_path / "none.lib")
