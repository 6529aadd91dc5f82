"""Costs of look-ups by the synthesised array of their shape."""

import json

import pytest
import torch
from torch import nn

from hwlut.lutnn import costs, shapes_of
from hwlut.nn import Lookup, convert
from hwlut.search import Block, CostTable, assign_lookups, lookup_area, lookup_unit, lookup_units
from hwlut.search.lookup_cost import lookup_cycles_of_block

SMALL, LARGE = Lookup(k=4, v=4, encoder="tree"), Lookup(k=16, v=2, encoder="l1", table_bits=4)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 36), nn.ReLU(), nn.Linear(36, 3))


def table(units):
    """The area of the n-th is 10^n."""
    shared = {"delay": 1.0, "registers": 0, "form": "", "liberty": "made up", "tool": "none", "gate_equivalents": None}
    return CostTable(
        {unit.digest: Block(name=unit.name, area=10.0**place, **shared) for place, unit in enumerate(units)}
    )


def test_a_shape_is_an_array_whatever_is_learned():
    unit = lookup_unit(SMALL, 4)
    assert (unit.codebooks, unit.k, unit.v, unit.outputs, unit.encoder, unit.table_bits) == (1, 4, 4, 16, "tree", 8)
    assert unit.digest == lookup_unit(Lookup(k=4, v=8, encoder="tree", seed=5, rows=7), 4).digest
    assert (lookup_unit(LARGE, 2).table_bits, lookup_unit(LARGE, 2).name) == (4, "lookup_l1_k16_v2_4")
    digests = {lookup_unit(each, v).digest for each in (SMALL, LARGE, Lookup(k=4, table_bits=4)) for v in (2, 4)}
    assert len(digests) == 6
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(8, 2))
    assert [each.v for each in lookup_units(model, [Lookup()])] == [9, 8]
    assert len(lookup_units(network(), [SMALL, LARGE])) == 2


def test_costs_are_area_times_cycles():
    model, sample = network(), torch.zeros(5, 8)
    found = lookup_area(table([lookup_unit(SMALL, 4), lookup_unit(LARGE, 2)]), model, sample)
    # 36 outputs are three times 16 at most; 40 inputs are 10 sub-vectors of 4, or 20 of 2
    assert found("2", SMALL) == 10 * 3 and found("2", LARGE) == 20 * 3 * 10
    with pytest.raises(ValueError, match="^lookup_area model must call layer 'none'$"):
        found("none", SMALL)
    with pytest.raises(ValueError, match="^costs must have a block of 'lookup_l2_k16_v8_8'"):
        found("2", Lookup())


def test_searches_take_them():
    model, batches = network(), [torch.randn(64, 8, generator=torch.Generator().manual_seed(1))]
    cost = lookup_area(table(lookup_units(model, [SMALL, LARGE])), model, batches[0])
    found = assign_lookups(model, [SMALL, LARGE], batches, budget=40, cost=cost)
    assert [row.lookup for row in found.layers] == [SMALL] and found.assignment.cost == 30


def test_a_network_is_counted_by_them():
    model = network()
    convert(model, {"2": LARGE}, data=[torch.randn(32, 8)])
    sample = torch.zeros(1, 8)
    units = shapes_of(model)
    assert [unit.digest for unit in units] == [lookup_unit(LARGE, 2).digest]
    without, found = costs(model, sample), costs(model, sample, table=table(units))
    assert [layer.area_cycles for layer in found.layers] == [None, 60.0, None]
    assert [layer.area_cycles for layer in without.layers] == [None] * 3
    assert found.headers[-1] == "mm^2 cycles" and without.headers == found.headers[:-1]
    assert [row[-1] for row in found.rows()] == [None, 60e-6, None, 60e-6]
    assert [row[:-1] for row in found.rows()] == without.rows()
    assert json.dumps(found.to_dict())
    assert lookup_cycles_of_block(model[2], 7) == 7 * 60
