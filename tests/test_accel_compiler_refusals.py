"""What the compiler refuses, by name."""

import dataclasses
import re

import numpy as np
import pytest
from accel_compiled import (
    CODES,
    DRUM,
    EXACT,
    LENET,
    SMALL,
    TILE,
    WIDE,
    linear,
    numbers,
    program,
)
from lut_units import random_unit

from hwlut import Fixed, Pwl
from hwlut.accel.compiler import compile_program
from hwlut.units import operations as op
from hwlut.units.applied import LookUp
from hwlut.units.movement import Gather, Permute, Reshape
from hwlut.units.products import MatrixProduct
from hwlut.units.reductions import Sum

WAVE = Pwl(
    input=WIDE, scales=(2,), breakpoint_frac=3, breakpoints=(5,), slope=Fixed(8, 4), slopes=(3, -20),
    intercept=Fixed(10, 4), intercepts=(5, 7), symmetry="none", rounding="half_up", output=None,
)  # fmt: skip


REFUSED = {
    "multiplies by drum s6 x s6, which the tile does not have": (
        lambda: [op.Clamp("q", "x", -9, 9), linear("n", "q", 2, 4, multiplier=DRUM)], dict(multipliers=(EXACT,)),
    ),
    "multiplies by exact s8 x s8, which the tile does not have": (
        lambda: [linear("n", "x", 2, 4)], dict(multipliers=(SMALL,)),
    ),
    "needs the operation multiply, which the tile does not have": (
        lambda: [op.Multiply("n", "x", "x")], dict(operations=("add",)),
    ),
    "needs the Pwl of s32 as an operator or a table, which the tile does not have": (
        lambda: [op.Apply("n", "x", WAVE)], dict(table_inputs=8),
    ),
    "gives 'n' numbers of 16 bits; the tile's values have 15": (
        lambda: [op.Multiply("n", "x", "x")], dict(value_bits=15),
    ),
    "has numbers of 33 bits; the tile's lanes have 32": (
        lambda: [op.Constant("by", 25), op.ShiftLeft("n", "x", "by")], {},
    ),
    "has sums of 17 bits; the tile's have 16": (
        lambda: [linear("n", "x", 2, 4, constants=None, weights=np.full((2, 4), 127))], dict(accumulator_bits=16),
    ),
    "needs 24 words of values; the tile has 23": (
        lambda: [op.Clamp("a", "x", -5, 5), op.Add("n", "a", "a"), op.Add("b", "a", "n")], dict(values=23),
    ),
    "needs 4 words of weights for an output; half of the tile's are 3": (
        lambda: [linear("n", "x", 2, 4)], dict(weights=6),
    ),
    "needs 4 constants at once; half of the tile's are 2": (
        lambda: [linear("n", "x", 4, 4)], dict(constants=4),
    ),
    "needs 4 words of operands; the tile has 2": (
        lambda: [
            Reshape("b", "x", (-1, 4, 3)), MatrixProduct("n", "x", "b", multiplier=EXACT, a_zero=0, b_zero=0, most=4),
        ],
        dict(operands=2),
    ),
    "is a gather, which tiles cannot compute": (
        lambda: [op.Clamp("i", "x", 0, 1), Gather("n", "i", numbers(0, -5, 5, 2, 3))], {},
    ),
    "encodes by l1; the tile's encoders are none": (
        lambda: [LookUp("n", "x", random_unit(0, encoder="l1", k=4, v=2, features=4, outputs=2))], {},
    ),
    "looks up one of 8 entries; the tile has 4": (
        lambda: [LookUp("n", "x", random_unit(0, encoder="tree", k=8, v=2, features=4, outputs=2))],
        dict(entries=4, encoder="tree"),
    ),
    "has entries of 8 bits; the tile's have 4": (
        lambda: [LookUp("n", "x", random_unit(0, encoder="l2", k=4, v=2, features=4, outputs=2, extreme=True))],
        dict(entries=4, encoder="l2", entry_bits=4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_tile_does_not_have(message):
    nodes, fields = REFUSED[message]
    with pytest.raises(ValueError, match=re.escape(f"Program 'nodes' node 'n' {message}")):
        compile_program(program([("x", CODES, (3, 4))], nodes()), dataclasses.replace(TILE, **fields))


def test_what_inputs_must_be():
    nodes = [op.Add("n", "x", "x")]
    with pytest.raises(ValueError, match="Program input 'x' must have a shape"):
        compile_program(program([("x", CODES, None)], nodes), TILE)
    with pytest.raises(ValueError, match="Program input 'x' has codes of 9 bits; the tile's have 8"):
        compile_program(program([("x", Fixed(8, signed=False), (2,))], nodes), TILE)
    with pytest.raises(ValueError, match="Program 'nodes' has 12 input codes; half of the tile's are 11"):
        compile_program(program([("x", CODES, (12,))], nodes), dataclasses.replace(TILE, inputs=22))
    mixed = [Permute("turned", "x", (1, 0)), Sum("n", "turned", 9), Permute("back", "n", (1, 0))]
    with pytest.raises(ValueError, match="must keep samples apart, which output 'back' does not"):
        compile_program(program([("x", CODES, (4,))], mixed), TILE)


def test_what_a_run_takes():
    compiled = compile_program(LENET, TILE)
    with pytest.raises(ValueError, match="Compiled batches must be from 1, not 0"):
        compiled.words(0)
    with pytest.raises(TypeError, match="Compiled batches must be an integer, not 2.0"):
        compiled.words(2.0)
    with pytest.raises(TypeError, match="Compiled codes must be 1 arrays, one an input, not 2"):
        compiled.data(np.zeros((1, 1, 12, 12), int), np.zeros((1, 2), int))
    with pytest.raises(
        ValueError, match=r"Compiled x codes must have the shape \[samples, 1, 12, 12\], not \[1, 12, 12\]"
    ):
        compiled.data(np.zeros((1, 12, 12), int))
    with pytest.raises(ValueError, match="Compiled x codes must be from -128 to 127, not 0 to 128"):
        compiled.data(np.arange(144).reshape(1, 1, 12, 12) % 129)
    with pytest.raises(TypeError, match="Compiled x codes must be integers, not float64"):
        compiled.data(np.zeros((1, 1, 12, 12)))
