"""Proofs against simulation: a changed multiplier is refuted where Icarus shows another product, else proven."""

import random
import re
import subprocess

import pytest
import torch

from hwlut import Multiplier
from hwlut.hdl import Rtl, generate
from hwlut.verify.proofs import prove_multiplier
from hwlut.verify.synthesis.flow import map_verilog

BITS = 4
EVERY = 1 << 2 * BITS
MUTANTS = 3
FAMILIES = [
    {"family": "exact"},
    {"family": "truncate_operands", "a_drop": 1, "b_drop": 2, "signed": True},
    {"family": "truncate_columns", "columns": 3},
    {"family": "broken_array", "h": 1, "v": 3},
    {"family": "kulkarni"},
    {"family": "mitchell"},
    {"family": "drum", "k": 3, "signed": True},
    {"family": "ssm", "m": 2},
    {"family": "roba", "signed": True},
    {"family": "loa", "low": 3},
    {"family": "or_columns", "columns": 3},
    {"family": "booth_truncated", "columns": 2, "signed": True},
]
INSTEAD = {"+": "-", "*": "+", "&": "|", "|": "&", "^": "|", "<<": ">>"}
PLACE = re.compile(r"(?<= )(?:\+|\*|&|\||\^|<<)(?= )|(?<='h)[0-9a-f]\b")
BENCH = f"""
module bench;
  reg [{BITS - 1}:0] a, b;
  wire [{2 * BITS - 1}:0] p;
  integer pair;
  mutant within (.a(a), .b(b), .p(p));
  initial for (pair = 0; pair < {EVERY}; pair = pair + 1) begin
    {{a, b}} = pair; #1 $display("%b", p);
  end
endmodule
"""


def products(unit):
    """By the definition, of each pair of bit patterns, a's first."""
    codes = torch.arange(1 << BITS)
    values = torch.where(codes >> (BITS - 1) & unit.a.signed > 0, codes - (1 << BITS), codes)
    return [each % EVERY for each in unit(values[:, None], values[None, :]).flatten().tolist()]


def simulated(text, folder):
    (folder / "mutant.v").write_text(text + BENCH)
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "mutant.v"], cwd=folder, check=True)
    shown = subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return [int(line, 2) for line in shown.split()]


def mutants(text):
    """Copies of `text`, each with another operator or digit in one place of its logic."""
    lines = text.splitlines()
    places = [
        (number, found)
        for number, line in enumerate(lines)
        if " = " in line and not re.match(r"/| *assign \S*__", line)
        for found in PLACE.finditer(line)
    ]
    for number, found in random.Random(0).sample(places, min(MUTANTS, len(places))):
        changed = INSTEAD.get(found[0]) or f"{int(found[0], 16) ^ 1:x}"
        line = lines[number][: found.start()] + changed + lines[number][found.end() :]
        yield "\n".join([*lines[:number], line, *lines[number + 1 :], ""])


def compare(unit, rtl, text, folder):
    """Whether each mutant is proven exactly if it computes the unit's products; how many are refuted."""
    expected, refuted = products(unit), 0
    assert simulated(text, folder) == expected
    for mutant in mutants(text):
        shown = simulated(mutant, folder)
        (found,) = prove_multiplier(unit, Rtl(mutant, rtl.description), gates=False).findings
        assert found.proven is (shown == expected), mutant
        if not found.proven:
            (trace,) = found.trace.cycles
            pair = trace["a"] << BITS | trace["b"]
            assert trace["p"] == shown[pair] != expected[pair]
            refuted += 1
    return refuted


def of_family(fields):
    unit = Multiplier(name="mutant", bits=BITS, **fields)
    return unit, generate(unit, combinational=True)


@pytest.mark.parametrize("fields", FAMILIES, ids=lambda fields: fields["family"])
def test_mutants_of_verilog(fields, tmp_path, need):
    need("iverilog", "yosys", "yosys-abc")
    unit, rtl = of_family(fields)
    assert compare(unit, rtl, rtl.verilog, tmp_path)


@pytest.mark.parametrize("fields", [FAMILIES[6], FAMILIES[11]], ids=lambda fields: fields["family"])
def test_mutants_of_gates(fields, tmp_path, need):
    need("iverilog", "yosys", "yosys-abc", "sta")
    unit, rtl = of_family(fields)
    text = map_verilog(rtl.verilog, rtl.description["module"]).flat
    assert compare(unit, rtl, text, tmp_path)
