"""A network of everything that a tile has, in its Verilog: attention, softmax, a table, look-ups and arithmetic."""

import torch
from accel_compiled import CODES, EXACT, linear, numbers, program, to_codes
from lut_units import random_unit

from hwlut import Direct, Fixed
from hwlut.accel import simulate
from hwlut.program import softmax
from hwlut.units import Tile
from hwlut.units import operations as op
from hwlut.units.applied import LookUp
from hwlut.units.movement import Permute
from hwlut.units.products import MatrixProduct

ROWS = softmax(input=Fixed(8, 4), output=Fixed(8, 7), most=4)
TABLE = Direct(input=Fixed(8, 0), output=Fixed(8, 0), values=tuple(numbers(0, -128, 128, 256).tolist()))
LOOKED_UP = random_unit(
    3, encoder="tree", k=4, v=3, features=6, outputs=5, ties=True, requantize="channels", bias=False
)
BLOCK = program(
    [("x", CODES, (4, 6))],
    [
        linear("keys", "x", 6, 6),
        to_codes("key_codes", "keys", 6),
        Permute("turned", "key_codes", (0, 2, 1)),
        MatrixProduct("scores", "x", "turned", multiplier=EXACT, a_zero=3, b_zero=3, most=6),
        to_codes("score_codes", "scores"),
        op.Apply("shares", "score_codes", ROWS),
        MatrixProduct("mixed", "shares", "key_codes", multiplier=EXACT, a_zero=0, b_zero=3, most=4),
        to_codes("mixed_codes", "mixed"),
        op.Apply("bent", "mixed_codes", TABLE),
        op.Add("sum", "bent", "x"),
        op.Clamp("held", "sum", -128, 127),
        LookUp("looked_up", "held", LOOKED_UP),
    ],
    "looked_up",
    "held",
)
TILE = Tile(
    name="rich", rows=2, columns=2, multipliers=(EXACT,), entries=4, encoder="tree", operators=(ROWS,), table_inputs=8,
    table_outputs=8, value_bits=24, accumulator_bits=24, operations=("add", "subtract", "multiply"), loops=5,
    values=256, inputs=64, weights=64, constants=64, operands=64,
)  # fmt: skip


def test_a_network_of_everything(need):
    need("g++", "verilator")
    codes = torch.randint(-128, 128, (5, 4, 6), generator=torch.Generator().manual_seed(0))
    plain = simulate(BLOCK, TILE, codes)
    modelled, paused = simulate(BLOCK, TILE, codes, engine="model"), simulate(BLOCK, TILE, codes, idle=0.3, stall=0.6)
    assert plain.ok and modelled.ok and paused.ok and plain.layers == modelled.layers
    assert not plain.stalls.total() and all(paused.stalls.values())
    used = {memory for layer in plain.layers for memory, count in layer.work.reads.items() if count}
    assert used == {"values", "inputs", "weights", "constants", "tables", "operands"}
    # Three batches of two: linear 4 x 6 of 6, scores 4 x 4 of 6, mixed 4 x 6 of 4, looked up 4 x 5 of 2 sub-vectors.
    assert plain.macs == 3 * 2 * (4 * 6 * 6 + 4 * 4 * 6 + 4 * 6 * 4 + 4 * 5 * 2)
