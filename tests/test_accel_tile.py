"""Tiles that are refused, and those at the ends of their parameters."""

import subprocess

import numpy as np
import pytest
from accel_tiles import TILES

from hwlut import Fixed, Multiplier
from hwlut.accel import generate_tile
from hwlut.accel.commands import Reduction
from hwlut.accel.instructions import Compute, Loops, Mark, encode
from hwlut.accel.model import Machine
from hwlut.accel.regression import Case, batched
from hwlut.units import LutMatmul, Program, Tile
from hwlut.units.movement import Permute
from hwlut.verify.tools import find_verilator

EXACT = Multiplier(family="exact", bits=8, signed=True)
LOOK_UP = {"entries": 4, "encoder": "tree"}


def tile(**parameters):
    return Tile(**{"multipliers": (EXACT,)} | parameters)


def look_up_product():
    rng = np.random.default_rng(0)
    table, prototypes = rng.integers(-9, 9, (1, 4, 3), np.int8), rng.integers(-9, 9, (1, 4, 2), np.int8)
    return LutMatmul(name="product", encoder="l1", features=2, v=2, prototypes=prototypes, table=table)


def transposition():
    return Program.of(
        name="turned", input=Fixed(8), nodes=(Permute("turned", of="q", order=(0, 2, 1)),), output=Fixed(8)
    )


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"value_bits": 8, "accumulator_bits": 8, "table_inputs": 9, "table_outputs": 8}, "at most 8, the bits of a"),
        ({"value_bits": 8, "table_inputs": 4, "table_outputs": 9}, "table_outputs must be at most value_bits, 8, not"),
        ({"entries": 4}, "Tile encoder must be given with 4 entries$"),
        ({"encoder": "tree"}, "Tile encoder must be left out with no entries$"),
        ({"weights": 1}, "Tile weights must be from 2 to 16777216, not 1$"),
        ({"operands": 1}, "operands must be 0, or with multipliers at least 2, not 1"),
        ({"operands": 4, "multipliers": (), **LOOK_UP}, "operands must be 0, or with multipliers at least 2, not 4"),
    ],
)
def test_parameters_that_do_not_go_together(parameters, message):
    with pytest.raises(ValueError, match=message):
        tile(**parameters)


@pytest.mark.parametrize("unit, told", [(look_up_product, "LutMatmul"), (transposition, "Program")])
def test_operators_of_more_than_rows(unit, told):
    with pytest.raises(ValueError, match=rf"operators\[0\] must be a function of codes or of rows, not a {told}$"):
        tile(operators=(unit(),))


def test_bits_of_tables_without_tables():
    assert tile(value_bits=8, accumulator_bits=8).table_outputs == 9


@pytest.mark.parametrize(
    "name, reset", [("array", "rst"), ("tables", "aresetn"), ("operators", "rst"), ("tree", "rst")]
)
def test_verilog_is_lint_clean(name, reset, tmp_path, need):
    need("verilator")
    need("iverilog")
    path, *_ = generate_tile(TILES[name], reset).save(tmp_path)
    verilator = find_verilator()
    allowed = ("-Wno-WIDTH", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME")
    lint = [str(verilator.command), "--lint-only", "-Wall", *allowed, "--top-module", "tile", str(path)]
    done = subprocess.run(lint, capture_output=True, text=True, env=verilator.environment())
    assert (done.returncode, done.stderr) == (0, "")
    icarus = ["iverilog", "-g2005", "-Wall", "-o", str(tmp_path / "out"), str(path)]
    done = subprocess.run(icarus, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_long_computation_is_no_hang(need):
    need("verilator")
    tile = TILES["least"]
    steps = 5000
    idle = Compute(operation="y", count=steps, feed=Loops((steps,)), reduction=Reduction.SUM)
    words = np.array(encode(tile, [idle, Mark(1)]), np.uint64)
    data = np.zeros((0, tile.beat_bytes), np.uint8)
    case = Case("long", words, data, Machine(tile).run(words, data))
    assert set(batched.run(generate_tile(tile), [case], 1, None).messages.values()) == {None}
