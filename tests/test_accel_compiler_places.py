"""Compiled programs whose numbers lie where no nest counts them: they are brought there in order."""

import dataclasses

import pytest
from lut_units import random_unit
from test_accel_compiler import CODES, EXACT, TILE, agree, convolve, linear, program, to_codes

from hwlut import Fixed
from hwlut.program import softmax
from hwlut.units.applied import LookUp
from hwlut.units.movement import Concatenate, Permute, Reshape
from hwlut.units.operations import Apply, Clamp
from hwlut.units.products import MatrixProduct

SOFTMAX = softmax(input=Fixed(8, 4), output=Fixed(7, 7, signed=False), most=16)
X = ("x", CODES, (5,))

PROGRAMS = {
    "into an image with a halo": (
        [X],
        [
            linear("sums", "x", 9, 5),
            to_codes("codes", "sums"),
            Reshape("image", "codes", (-1, 1, 3, 3)),
            convolve("y", "image", (2, 1, 3, 3), padding=(1, 1)),
        ],
    ),
    "into a turned image": (
        [X],
        [
            linear("sums", "x", 30, 5),
            Reshape("parts", "sums", (-1, 2, 3, 5)),
            Permute("turned", "parts", (0, 2, 3, 1)),
            to_codes("codes", "turned"),
            linear("y", "codes", 2, 2),
        ],
    ),
    "into operands": (
        [("x", CODES, (3, 5)), ("z", CODES, (3, 5))],
        [
            linear("sums", "x", 6, 5),
            to_codes("codes", "sums"),
            Reshape("b", "codes", (-1, 6, 3)),
            linear("others", "z", 6, 5),
            to_codes("a", "others"),
            MatrixProduct("y", "a", "b", multiplier=EXACT, a_zero=0, b_zero=0, most=6),
        ],
    ),
    "of an operator's rows": (
        [("x", Fixed(8, 4), (3, 4))],
        [
            Apply("shares", "x", SOFTMAX),
            Reshape("image", "shares", (-1, 1, 4, 3)),
            convolve("y", "image", (2, 1, 3, 3), padding=(1, 1)),
        ],
    ),
}


@pytest.mark.parametrize("loops", [1, 2, 6])
@pytest.mark.parametrize("name", PROGRAMS)
def test_results(name, loops):
    inputs, nodes = PROGRAMS[name]
    agree(program(inputs, nodes), dataclasses.replace(TILE, loops=loops, operands=64, operators=(SOFTMAX,)))


@pytest.mark.parametrize("loops", [1, 3])
def test_sub_vectors_across_parts(loops):
    """Rows whose parts of 7 places are counted, but not all of their sub-vectors of 3."""
    tile = dataclasses.replace(TILE, entries=4, encoder="l1", loops=loops)
    unit = random_unit(0, encoder="l1", k=4, v=3, features=14, outputs=2)
    nodes = [Clamp("held", "x", -90, 90), Concatenate("twice", ("held", "held"), 1), LookUp("y", "twice", unit)]
    agree(program([("x", CODES, (7,))], nodes), tile)
