"""Random programs on tiles: every code is the definition's, every layer takes the model's cycles."""

from collections import Counter

import numpy as np
import pytest
import torch

from hwlut import Fixed, Multiplier
from hwlut.accel import simulate
from hwlut.accel.compiler import compile_program
from hwlut.accel.model import check
from hwlut.accel.programs import random_program
from hwlut.program import softmax
from hwlut.units import Tile

EXACT = Multiplier(family="exact", bits=8, signed=True)
MIXED = Multiplier(family="drum", a=Fixed(8, signed=False), b=Fixed(6, signed=False), k=3)
SOFTMAX = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)
SMALL = {"values": 4096, "inputs": 512, "weights": 64, "constants": 48}

TILES = {
    "products": Tile(
        rows=3, columns=5, multipliers=(EXACT, MIXED), operators=(SOFTMAX,), table_inputs=8, operands=48, **SMALL
    ),
    "look-ups": Tile(
        rows=2, columns=3, multipliers=(EXACT,), entries=8, encoder="tree", loops=3, value_bits=24, **SMALL
    ),
    "little": Tile(
        rows=1, columns=1, multipliers=(MIXED,), entries=2, encoder="chebyshev", accumulator_bits=14, value_bits=16,
        input_bits=6, operations=("add", "less"), table_inputs=5, table_outputs=6, tables=2, loops=1, **SMALL,
    ),
}  # fmt: skip


def agree(tile, number, **options):
    """How many layers a program had that agreed."""
    program, rng = random_program(tile, number, nodes=12), np.random.default_rng(number)
    samples = int(rng.integers(1, 3 * tile.rows + 1))
    given = [
        torch.from_numpy(rng.integers(port.format.min, port.format.max + 1, (samples, *port.shape)))
        for port in program.inputs
    ]
    check(tile, compile_program(program, tile).words(2))
    report = simulate(program, tile, given, **options)
    assert report.ok, f"program {number}: {report.difference}"
    return len(report.layers)


@pytest.mark.parametrize("name", TILES)
def test_in_the_functional_model(name):
    assert sum(agree(TILES[name], seed, engine="model") for seed in range(12)) > 50


def test_in_verilator(need):
    need("g++", "verilator")
    layers = 0
    for seed in range(100, 104):
        layers += agree(TILES["look-ups"], seed)
        layers += agree(TILES["look-ups"], seed, idle=0.3, stall=0.4, seed=seed)
    assert layers > 20


def test_seeds_make_programs():
    tile = TILES["products"]
    assert random_program(tile, 1).digest == random_program(tile, 1).digest != random_program(tile, 2).digest
    assert len(random_program(tile, 3, nodes=20).nodes) >= 20


def test_every_kind_is_drawn():
    found = Counter(
        node.op for tile in TILES.values() for seed in range(40) for node in random_program(tile, seed, nodes=20).nodes
    )
    assert set(found) == {
        "add", "bits", "clamp", "concatenate", "constant", "convolve", "entries", "equal", "leading_one", "less",
        "linear", "look_up", "matrix_product", "maximum", "maximum_pool", "multiply", "pad", "patches", "permute",
        "rescale", "reshape", "select", "shift_left", "shift_right", "slice", "subtract", "sum", "sum_pool", "unit",
    }  # fmt: skip
