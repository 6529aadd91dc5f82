"""Whatever is wrong with a table of ours in JSON, it is read whole or refused in one line that names the file."""

import json

import numpy as np
import pytest
from accel_tiles import TILES
from hostile import damaged_json, examples, taken
from hypothesis import given
from hypothesis import strategies as st
from lut_units import random_unit
from tables import random_pwl

import hwlut
from hwlut import Direct, Fixed, Multiplier, Requantize
from hwlut.accel import generate_tile
from hwlut.fit.activations import Activations
from hwlut.hdl import generate, read_description
from hwlut.importers import gqa_lut
from hwlut.program import range_reduced, softmax
from hwlut.search import CostTable
from hwlut.unit import Unit

EXP = range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8))
ROWS = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)
PWL = random_pwl(1)
LUT = random_unit(0, encoder="l2", k=4, v=2, features=5, outputs=3, requantize="channels")
MULTIPLIER = Multiplier(family="drum", bits=8, signed=True, k=4)
NETLIST = Multiplier(family="netlist", bits=2, signed=False, gates=[[8, 2, 4], [8, 3, 5]], outputs=[6, 0, 7, 0])
TABLE = Multiplier(family="table", bits=2, signed=False, products=np.outer(range(4), range(4)))
UNITS = {
    "pwl": [PWL, random_pwl(2, output=Fixed(8, 3))],
    "direct": [Direct(input=Fixed(3, 0), output=Fixed(4, 1), values=list(range(-4, 4)))],
    "multiplier": [MULTIPLIER, NETLIST, TABLE],
    "lut_matmul": [LUT, random_unit(1, encoder="tree", k=4, v=3, features=5, outputs=2, table_bits=4)],
    "requantize": [Requantize(input=Fixed(32), multipliers=[3, 5], shifts=[2, 3], output=Fixed(8))],
    "program": [EXP, ROWS],
    "tile": [TILES["operators"], TILES["tables"], TILES["tree"]],
}
GQA = {
    "gelu": {
        str(s): {"breakpoints": [-1.0, 0.5], "slopes": [0, 0.5, 1.0], "intercepts": [0.0, 0.25, 0.0]} for s in (1, 3)
    }
}
DESCRIPTIONS = [
    generate(PWL).description,
    generate(MULTIPLIER, combinational=True).description,
    generate(MULTIPLIER, terms=9).description,
    generate(ROWS).description,
    generate(LUT, reloadable=True).description,
    generate_tile(TILES["least"]).description,
]
COSTS = {
    "schema": "hwlut.costs/1",
    "units": {
        "0" * 64: {
            **{"name": "b", "form": "", "liberty": "cells.lib", "tool": "Yosys 0.23", "area": 96.0},
            **{"gate_equivalents": 4.0, "delay": None, "registers": 1},
        }
    },
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "bad.json"


@pytest.mark.parametrize("kind", UNITS)
@examples(30)
@given(data=st.data())
def test_tables(scratch, kind, data):
    scratch.write_bytes(data.draw(damaged_json([json.loads(unit.dumps()) for unit in UNITS[kind]])))
    unit = taken(hwlut.load, scratch)
    if isinstance(unit, Unit):
        assert hwlut.load(unit.save(scratch)) == unit
        assert unit.cost().latency >= 0 and len(unit.digest) == 64


@examples(30)
@given(content=damaged_json([GQA]))
def test_tables_of_gqa_lut(scratch, content):
    scratch.write_bytes(content)
    for unit in taken(gqa_lut.read, scratch) or []:
        assert set(map(int, json.loads(content)[next(iter(json.loads(content)))])) == set(unit.scales)


@examples(70)
@given(content=damaged_json(DESCRIPTIONS))
def test_descriptions(scratch, content):
    scratch.write_bytes(content)
    found = taken(read_description, scratch)
    assert found is None or found == json.loads(content)


@examples(30)
@given(content=damaged_json([COSTS]))
def test_costs(scratch, content):
    scratch.write_bytes(content)
    found = taken(CostTable.load, scratch)
    assert found is None or all(block.area >= 0 for block in found.blocks.values())


@examples(30)
@given(content=damaged_json([{"edges": [-1.0, 0, 0.5, 2.0], "counts": [3, 0, 7.5]}]))
def test_histograms(scratch, content):
    scratch.write_bytes(content)
    found = taken(Activations.load, scratch)
    assert found is None or np.isfinite(found.below).all()
