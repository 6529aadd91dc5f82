"""Compiled networks: every command defined on the tile, and the definition's codes from the functional model."""

import dataclasses
import pickle
import random
import re

import pytest
from accel_compiled import (
    CODES,
    EXACT,
    LENET,
    TILE,
    agree,
    convolve,
    linear,
    numbers,
    program,
    to_codes,
)
from random_programs import random_program

from hwlut import Direct, Fixed, Program, Pwl, Requantize
from hwlut.accel.compiler import compile_program
from hwlut.accel.instructions import Compute
from hwlut.accel.timing import busy_cycles
from hwlut.units import operations as op
from hwlut.units.applied import Rescale
from hwlut.units.movement import Pad, Permute, Reshape
from hwlut.units.nodes import Extent
from hwlut.units.patches import MaximumPool
from hwlut.units.reductions import Sum
from hwlut.units.tile import Tile


def test_a_network():
    compiled = agree(LENET)
    assert [layer.name for layer in compiled.layers] == ["q1", "p1", "relu2", "flat", "q3", "l2"]
    assert compiled.layers[0].nodes == ("c1", "relu1", "q1")
    assert compiled.layers[0].macs == 3 * 12 * 12 * 25


@pytest.mark.parametrize("rows, columns, loops", [(1, 1, 6), (1, 3, 2), (5, 7, 1), (2, 8, 3), (7, 64, 4), (4, 2, 8)])
def test_a_network_on_other_tiles(rows, columns, loops):
    agree(LENET, dataclasses.replace(TILE, rows=rows, columns=columns, loops=loops, value_bits=27, accumulator_bits=24))


def test_convolutions_of_lenet_use_the_array():
    tile = Tile(rows=8, columns=8, multipliers=(EXACT,))
    nodes = [
        convolve("c1", "x", (6, 1, 5, 5), padding=(2, 2), fill=-128),
        to_codes("q1", "c1", 6, -3),
        MaximumPool("p1", "q1", kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)),
        convolve("c2", "p1", (16, 6, 5, 5)),
    ]
    compiled = compile_program(program([("x", CODES, (1, 28, 28))], nodes), tile)
    for layer in compiled.layers:
        if layer.macs:
            cycles = sum(busy_cycles(tile, each) for each in layer.instructions if isinstance(each, Compute))
            assert layer.macs >= 0.7 * 8 * cycles


def test_weights_that_do_not_fit_at_once():
    """In memories that hold a tile or two, whole batches and constants in turn."""
    nodes = [linear("l", "x", 21, 30), to_codes("c", "l", 21), linear("m", "c", 9, 21), to_codes("d", "m", 9)]
    agree(
        program([("x", CODES, (4, 30))], nodes),
        dataclasses.replace(TILE, weights=66, constants=10, inputs=240, values=200),
    )


def test_tables():
    """Chains of units by one table each, whatever their own formats."""
    pwl = Pwl(
        input=CODES, scales=(2,), breakpoint_frac=3, breakpoints=(-80, 5, 90), slope=Fixed(8, 4),
        slopes=(3, -20, 40, 100), intercept=Fixed(10, 4), intercepts=(5, -100, 7, 300), symmetry="none",
        rounding="half_up", output=None,
    )  # fmt: skip
    unit = Direct(input=Fixed(8, 0), output=Fixed(12, 0), values=tuple(numbers(0, -256, 256, 256).tolist()))
    nodes = [
        linear("l", "x", 5, 6),
        to_codes("q", "l", 5),
        op.Apply("p", "q", pwl),
        Rescale("r", "p", Requantize(input=Fixed(18), multipliers=(5,), shifts=(9,), output=CODES), 0),
        Reshape("turned", "r", (-1, 5, 3)),
        op.Apply("d", "turned", unit),
        op.Apply("again", "x", unit),
    ]
    tile = dataclasses.replace(TILE, table_inputs=8, table_outputs=9, tables=1)
    compiled = agree(program([("x", CODES, (3, 6))], nodes, "d", "again"), tile)
    assert [layer.name for layer in compiled.layers] == ["d", "again"]
    agree(program([("x", CODES, (3, 6))], nodes, "d", "again"), dataclasses.replace(tile, tables=3))


def test_padding_that_is_written_around():
    """One value with several takers: padded alike, otherwise, by a node of its own and not at all."""
    nodes = [
        to_codes("q", "x", input=CODES),
        Pad("pad", "q", (0, 1, 2, 0), 3),
        convolve("c", "pad", (2, 2, 3, 3), stride=(2, 2), constants=None),
        convolve("d", "q", (2, 2, 3, 3), padding=(1, 1), fill=3),
        convolve("e", "q", (2, 2, 5, 5), padding=(2, 2), fill=-4),
        to_codes("r", "d", 2, -3),
        convolve("f", "r", (1, 2, 3, 3), padding=(1, 1), fill=1),
        convolve("g", "r", (1, 2, 5, 5), padding=(2, 2), fill=1),
        op.Add("h", "f", "g"),
    ]
    agree(program([("x", CODES, (2, 5, 6))], nodes, "c", "e", "h"))


def test_transposed_convolutions():
    nodes = [
        to_codes("q", "x", input=CODES),
        Reshape("apart", "q", (-1, 2, 3, 1, 4, 1)),
        Pad("spread", "apart", (0, 1, 0, 0, 0, 1, 0, 0), 0),
        Reshape("zeros", "spread", (-1, 2, 6, 8)),
        Pad("pad", "zeros", (1, 0, 1, 0), 0),
        convolve("c", "pad", (3, 2, 2, 2)),
    ]
    compiled = agree(program([("x", CODES, (2, 3, 4))], nodes))
    assert sum(isinstance(each, Compute) for layer in compiled.layers for each in layer.instructions) < 12


SQUARES = Program.of(
    input=Fixed(8, 0), output=Fixed(22, 0, signed=False),
    nodes=(Sum("all", "q", 50), op.Multiply("square", "all", "all"), op.Clamp("y", "square", 0, (1 << 22) - 1)),
)  # fmt: skip


LESS = Program.of(
    input=Fixed(8, 0), output=Fixed(16, 0), nodes=(op.Constant("one", 1), op.Subtract("d", "q", "one"),
    op.Multiply("y", "q", "d")),
)  # fmt: skip


def test_programs_within():
    """By operators, by tables, and taken apart."""
    nodes = [
        op.Apply("a", "x", LESS),
        op.Clamp("b", "a", -100, 100),
        op.Apply("c", "b", SQUARES),
        op.Add("d", "c", "x"),
    ]
    net = program([("x", CODES, (3, 4))], nodes)
    assert [len(agree(net, dataclasses.replace(TILE, **fields)).layers) for fields in (
        {}, {"table_inputs": 8, "table_outputs": 16}, {"operators": (LESS, SQUARES)}, {"operators": (SQUARES,)},
    )] == [5, 4, 3, 4]  # fmt: skip
    assert len(compile_program(net, dataclasses.replace(TILE, table_inputs=8, table_outputs=15)).layers) == 5


def test_random_programs():
    """Of codes and rows, on tiles with few words and few levels; some are beyond any tile, and refused."""
    draws, agreed = [(seed, random.Random(seed)) for seed in range(60)], 0
    for seed, r in draws:
        drawn = random_program(r, r.choice([Extent.CODES, Extent.ROWS]), places=5)
        if drawn is None:
            continue
        net = drawn.replace(inputs=tuple(dataclasses.replace(port, shape=(3, 5)) for port in drawn.inputs))
        tile = Tile(
            rows=r.choice([1, 2, 5]), columns=2, multipliers=(EXACT,), value_bits=48, input_bits=25,
            accumulator_bits=r.choice([16, 48]), table_inputs=r.choice([0, 8, 12]), table_outputs=r.choice([9, 24]),
            tables=r.choice([1, 2]), loops=r.choice([1, 2, 6]), constants=r.choice([8, 1024]),
        )  # fmt: skip
        try:
            agree(net, tile, seed=seed)
        except ValueError as error:
            assert re.search("which the tile does not have|tile's lanes have|must take rows", str(error))
        else:
            agreed += 1
    assert agreed > 20


def test_results():
    """A result that others take, one that is moved, an input and a number."""
    nodes = [
        op.Add("a", "x", "x"),
        op.Constant("one", 1),
        op.Add("b", "a", "one"),
        Permute("c", "b", (0, 2, 1)),
        Permute("d", "x", (0, 2, 1)),
        Pad("e", "x", (0, 1), 9),
    ]
    agree(program([("x", CODES, (2, 3)), ("y", CODES, (2,))], nodes, "a", "c", "d", "e", "y"))


def test_it_can_be_pickled():
    compiled = compile_program(LENET, TILE)
    assert (pickle.loads(pickle.dumps(compiled)).words(2) == compiled.words(2)).all()
