"""Sizes of arrays: estimated costs beside those of the tiles themselves."""

import pytest
import torch
from torch import nn

import hwlut
from hwlut.accel import fit_tile, tile_area
from hwlut.explore.arrays import estimates
from hwlut.explore.choices import Array
from hwlut.explore.costs import cycles_of
from hwlut.search import quantize_uniform


def test_estimates_are_near_the_tiles_and_in_the_order_of_area_times_cycles(need):
    need("yosys")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    sample = torch.randn(20, 6)
    quantize_uniform(model, [sample], "4/4")
    program = hwlut.export(model, sample, factor_bits=8, value_bits=8)
    arrays = [Array(rows=2, columns=2), Array(rows=3, columns=4)]
    found = estimates(program, arrays)
    assert [each.product for each in found] == sorted(each.area * each.cycles for each in found)
    for each in found:
        tile = fit_tile(program, rows=each.array.rows, columns=each.array.columns)
        assert each.cycles == cycles_of(program, tile)
        exact = each.array == arrays[0]
        assert each.area == pytest.approx(tile_area(tile).gate_equivalents, rel=1e-9 if exact else 0.1)
