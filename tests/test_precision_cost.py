"""Costs of precisions by their multipliers: which multiplier, what it costs, and searches by it."""

import re

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwlut import Fixed, ToolError
from hwlut.quant import Minifloat
from hwlut.quant.precision import Precision
from hwlut.search import (
    Block,
    CostTable,
    Decision,
    LayerShape,
    Search,
    Space,
    assign,
    block_cost,
    file_cost,
    multiplier_of,
    multipliers_of,
    search,
    space_for,
    synthesized,
)
from hwlut.train import Finetune, Task
from hwlut.units import Multiplier
from hwlut.verify.synthesis import Liberty

PLAIN = {"form": "", "liberty": "cells.lib", "tool": "Yosys 0.23", "gate_equivalents": None, "registers": 0}


def precision(text):
    return Precision.parse(text)


def table(areas):
    """Blocks of exact multipliers, by the formats of activations and weights."""
    blocks = {}
    for (a, b), area in areas.items():
        unit = Multiplier(family="exact", a=a, b=b)
        blocks[unit.digest] = Block(name=unit.name, area=area, delay=area / 100, **PLAIN)
    return CostTable(blocks)


@pytest.mark.parametrize(
    "text, activations, weights",
    [
        ("s8", Fixed(8), Fixed(8)),
        ("s4/u6", Fixed(6, signed=False), Fixed(4)),
        ("s8.3/s4", Fixed(4), Fixed(8)),
        ("e2m1/s8", Fixed(8), Fixed(5)),  # -12 to 12
        ("s2/e3m2", Fixed(10), Fixed(2)),  # 28 in steps of 2^-4: -448 to 448
    ],
)
def test_the_multiplier_of_a_precision(text, activations, weights):
    unit = multiplier_of(precision(text))
    assert (unit.family.value, unit.a, unit.b) == ("exact", activations, weights)
    assert unit.name == f"exact_{activations}_{weights}"


@pytest.mark.parametrize(
    "given, message",
    [
        (precision("s4/0"), "precision must have both operands quantized to have a multiplier, not 's4/0'"),
        (precision("0"), "precision must have both operands quantized to have a multiplier, not '0'"),
        (
            precision("e4m3/s8"),
            "precision must have integers of 2 to 16 bits to have a multiplier, not 19, as e4m3 has",
        ),
        (
            Precision(Fixed(8), Minifloat(5, 2)),
            "precision 's8/e5m2' has no multiplier: Minifloat e5m2 must have integers of at most 32 bits, not 33",
        ),
        (precision("s8/u16"), None),
    ],
)
def test_what_has_no_multiplier_is_named(given, message):
    if message is None:
        assert multiplier_of(given).a == Fixed(16, signed=False)
        return
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        multiplier_of(given)


S2, S4, U4, S8 = Fixed(2), Fixed(4), Fixed(4, signed=False), Fixed(8)
SPACE = Space(
    decisions=(
        Decision("conv", ("conv",), (S4, S8), (S4, S8), False),
        Decision("head", ("head.0", "head.1"), (S8, S2), (), True),
        Decision("words", ("words",), (None, S2), (), True),
    ),
    shapes={
        "conv": LayerShape(1000, 9),
        "head.0": LayerShape(10, 10),
        "head.1": LayerShape(20, 20),
        "words": LayerShape(0, 50),
    },
    owners={},
    left={},
)


def test_a_space_needs_each_multiplier_once():
    found = [(unit.a, unit.b) for unit in multipliers_of(SPACE)]
    assert found == [(S4, S4), (S8, S4), (S4, S8), (S8, S8), (S2, S2)]  # embeddings multiply nothing


def test_a_cost_is_of_the_multiplier_and_its_products():
    """s4 by s8 is not s8 by s4; what multiplies nothing is free."""
    costs = table({(S4, S4): 100.0, (S8, S4): 210.0, (S4, S8): 190.0, (S8, S8): 400.0, (S2, S2): 20.0})
    cost = block_cost(costs, SPACE.shapes)
    assert cost("conv", Precision(S4, S8)) == 210_000 and cost("conv", Precision(S8, S4)) == 190_000
    assert cost("words", Precision(None, None)) == 0
    assert block_cost(costs, SPACE.shapes, "delay")("head.1", Precision(S2, S2)) == 20 * 0.2
    sums = SPACE.costs(cost)
    assert sums["head", Precision(S8, S8)] == 30 * 400 and sums["head", Precision(S2, S2)] == 30 * 20
    best = assign(
        {decision.name: decision.choices for decision in SPACE.decisions},
        sums,
        lambda name, choice: -choice.weight_bits - choice.activation_bits,
        budget=202_000,
    )
    assert best["conv"] == Precision(S8, S4) and best["head"] == Precision(S8, S8) and best.cost == 202_000


def test_the_name_tells_the_figures():
    """By its name, a search that goes on tells another table."""
    first, same, other = (block_cost(table({(S4, S4): area}), {}) for area in (100.0, 100.0, 101.0))
    assert first.__name__ == same.__name__ != other.__name__ and first.__name__.startswith("area of blocks ")


def test_what_is_not_there_is_named():
    cost = block_cost(table({(S4, S4): 100.0}), SPACE.shapes)
    digest = multiplier_of(Precision(S8, S8)).digest[:12]
    for call, message in (
        (lambda: cost("conv", Precision(S8, S8)), f"costs must have a block of 'exact_s8_s8' (digest {digest})"),
        (lambda: cost("tail", Precision(S4, S4)), "shapes must have an entry for layer 'tail'"),
        (
            lambda: cost("conv", precision("0")),
            "precision must have both operands quantized to have a multiplier, not '0'",
        ),
        (
            lambda: block_cost(table({}), {}, "size"),
            "costs figure must be one of area, gate_equivalents, delay, registers, not 'size'",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


def tiny():
    data = TensorDataset(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)
    return Task(name="tiny", model=lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)), train=data, test=data)


def test_a_search_by_area(tmp_path):
    """Its target is one of area, and what it found costs what the table says."""
    areas = {(S2, S2): 20.0, (S4, S4): 100.0}
    path, options = table(areas).save(tmp_path / "costs.json"), Search(formats=[S4, S2], target=100 * 15 + 20 * 30)
    cost = file_cost(path, tiny(), options)
    arguments = tiny(), options, Finetune(steps=4, batch=10), tmp_path / "found"
    found = search(*arguments, cost=cost, device="cpu").configuration
    macs = {"0": 30, "1": 15}
    spent = [macs[name] * areas[each.precision] for name, each in found.operations.items()]
    assert len(spent) == 2 and found.cost == sum(spent) <= options.target
    assert found.least == 45 * 20 and found.most == 45 * 100
    other = block_cost(table({(S2, S2): 21.0, (S4, S4): 100.0}), space_for(tiny(), options).shapes)
    with pytest.raises(ValueError, match="cost"):
        search(*arguments, cost=other, device="cpu")
    table({(S2, S2): 20.0}).save(path)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(path))}: costs must have a block of 'exact_s4_s4' \(digest"
    ):
        file_cost(path, tiny(), options)


def test_synthesised_multipliers(need, tmp_path):
    """The figures are those of the generator's own RTL, kept in the file; more bits take more area."""
    need("yosys", "sta", "g++", "verilator")
    try:
        Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")
    space = Space((Decision("fc", ("fc",), (S2, U4), (), True),), {"fc": LayerShape(7, 7)}, {}, {})
    made = synthesized(multipliers_of(space), file=tmp_path / "costs.json", form={"combinational": True})
    cost = block_cost(CostTable.load(tmp_path / "costs.json"), space.shapes)
    narrow, wide = (cost("fc", Precision(each, each)) for each in (S2, U4))
    assert 0 < narrow < wide == 7 * made[Multiplier(family="exact", bits=4)].area
