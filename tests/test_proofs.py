"""Proofs: sound hand-written designs are proven, each broken promise is refuted by a trace that shows it."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hwlut import Direct, Fixed, Multiplier, ToolError
from hwlut.cli import main
from hwlut.hdl import Rtl, generate
from hwlut.verify.proofs import prove_multiplier, prove_stream, solver

HAND = """
module plain (
  input clk, input rst, input [7:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
  output [7:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready
);
  reg full, valid;
  reg [7:0] held, data;
  wire move = !valid | m_axis_tready;
  assign s_axis_tready = !full;
  assign m_axis_tvalid = valid;
  assign m_axis_tdata = data;
  always @(posedge clk) begin
    if (move) begin
      valid <= full | s_axis_tvalid;
      data <= (full ? held : s_axis_tdata) * 3;
      full <= 0;
    end else if (s_axis_tvalid & !full) begin
      held <= s_axis_tdata;
      full <= 1;
    end
    if (rst) begin full <= 0; valid <= 0; end
  end
endmodule
"""


@pytest.fixture(autouse=True)
def tools(need):
    need("yosys", "yosys-abc")


def direct():
    return Direct(name="plain", input=Fixed(3, 1), output=Fixed(4, 2), values=(7, -3, 4, 1, 0, 1, -8, 5))


def proof_of(text):
    return prove_stream(Rtl(text, generate(direct(), stages=1).description), seconds=20)


def test_a_design_by_hand_is_proven():
    proof = proof_of(HAND)
    assert proof.ok and proof.refuted is None
    assert [(found.port, found.text) for found in proof.findings] == [
        ("s_axis_tready", "no logic leads to it from any input"),
        ("m_axis_tdata", "no logic leads to it from any input"),
        ("m_axis_tvalid", "no logic leads to it from any input"),
        ("m_axis_tvalid", "low in the cycle after a reset"),
        ("m_axis", "valid and payload stay until ready"),
        ("m_axis", "each beat gives one: 0 to 2 are within"),
    ]


def test_generated_designs_are_proven():
    assert prove_stream(generate(direct(), stages=2, reset="aresetn")).ok
    unit = Multiplier(name="sums", family="exact", bits=4)
    proof = prove_stream(generate(unit, terms=4))
    assert proof.ok and proof.findings[-1].text == "each sum gives one: 0 to 3 are within"


def moved(trace, stream, cycle):
    return trace.cycles[cycle][f"{stream}_tvalid"] & trace.cycles[cycle][f"{stream}_tready"]


def within(trace):
    """Beats within at the beginning of the last cycle, after the last reset."""
    count = 0
    for cycle in range(len(trace.cycles) - 1):
        count = (
            0 if trace.cycles[cycle]["rst"] else count + moved(trace, "s_axis", cycle) - moved(trace, "m_axis", cycle)
        )
    return count


def waits(trace):
    before, last = trace.cycles[-2:]
    assert (before["rst"], before["m_axis_tvalid"], before["m_axis_tready"]) == (0, 1, 0)
    return before, last


@pytest.mark.parametrize(
    "before, after, text, shown",
    [
        (
            "!valid | m_axis_tready;",
            "1;",
            "valid and payload stay until ready",
            lambda t: waits(t)[0]["m_axis_tdata"] != waits(t)[1]["m_axis_tdata"] or not waits(t)[1]["m_axis_tvalid"],
        ),
        (
            "      held <= s_axis_tdata;",
            "      held <= s_axis_tdata; data <= s_axis_tdata;",
            "valid and payload stay until ready",
            lambda t: waits(t)[0]["m_axis_tdata"] != waits(t)[1]["m_axis_tdata"] and waits(t)[1]["m_axis_tvalid"],
        ),
        (
            "full <= 0; valid <= 0;",
            "full <= 0;",
            "low in the cycle after a reset",
            lambda t: t.cycles[-2]["rst"] and t.cycles[-1]["m_axis_tvalid"],
        ),
        ("      full <= 1;\n", "", "each beat gives one: 0 to 2 are within", lambda t: within(t) == 3),
        (
            "      full <= 0;\n",
            "      full <= full & m_axis_tready;\n",
            "each beat gives one: 0 to 2 are within",
            lambda t: within(t) < 0,
        ),
    ],
    ids=["valid drops", "data changes", "valid after reset", "a beat is lost", "a beat comes twice"],
)
def test_a_broken_promise_is_refuted(before, after, text, shown, tmp_path):
    assert HAND.count(before) == 1
    proof = proof_of(HAND.replace(before, after))
    (found,) = [found for found in proof.findings if found.text == text]
    assert not proof.ok and found.proven is False and found.result == "REFUTED"
    assert any(cycle["rst"] for cycle in found.trace.cycles) and shown(found.trace)
    assert f"REFUTED     {found.port}: {text}" in str(proof) and "s_axis_tvalid" in str(found.trace)
    found.trace.save(tmp_path / "trace.vcd", "plain")
    text = (tmp_path / "trace.vcd").read_text()
    assert "$var wire 8" in text and text.count("1clk") == len(found.trace.cycles)


@pytest.mark.parametrize("start", ["m_axis_tready", "s_axis_tdata"])
def test_paths_are_found(start):
    text = HAND.replace("s_axis_tready = !full", f"s_axis_tready = !full | {start}")
    (found,) = [found for found in proof_of(text).findings if found.proven is False and found.by == "structure"]
    assert (found.port, found.text) == ("s_axis_tready", f"no logic leads to it from {start}")


def test_another_clock_is_refused():
    with pytest.raises(ValueError, match=r"^plain must have no registers but those of a rising clk$"):
        proof_of(HAND.replace("posedge clk", "negedge clk"))


def product(unit, shown):
    return unit(torch.tensor(shown["a"]), torch.tensor(shown["b"])).item()


def wired(changed=None):
    """Two bits by two: the product of docs/multipliers.md; `changed` is a gate that does something else."""
    gates = [(8, 2, 4), (8, 3, 4), (8, 2, 5), (8, 3, 5), (6, 7, 8), (8, 7, 8), (6, 9, 11), (8, 9, 11)]
    if changed is not None:
        gates[changed] = (14, *gates[changed][1:])
    return Multiplier(name="wired", family="netlist", bits=2, gates=gates, outputs=[6, 10, 12, 13])


def test_one_gate_changed_is_refuted():
    assert prove_multiplier(wired(), gates=False).ok
    other = wired(changed=4)
    proof = prove_multiplier(wired(), generate(other, combinational=True), gates=False)
    (found,) = proof.findings
    (shown,) = found.trace.cycles
    assert found.proven is False and shown["p"] == product(other, shown) != shown["a"] * shown["b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "truncate_columns", "columns": 3, "signed": True},
        {"family": "mitchell"},
        {"family": "booth_truncated", "columns": 3, "signed": True},
    ],
    ids=lambda fields: fields["family"],
)
def test_multipliers_are_their_formulas(fields):
    unit = Multiplier(name="formula", bits=4, **fields)
    assert prove_multiplier(unit, gates=False).ok
    text = generate(unit, combinational=True)
    exact = Multiplier(name="formula", family="exact", bits=4, signed=unit.a.signed)
    other = prove_multiplier(exact, Rtl(text.verilog, text.description), gates=False).refuted.trace.cycles[0]
    signs = {name: other[name] - 16 if unit.a.signed and other[name] >= 8 else other[name] for name in "ab"}
    assert other["p"] == product(unit, signs) % 256 != signs["a"] * signs["b"] % 256


def test_gates_are_proven(need):
    need("sta")
    unit = Multiplier(name="gates", family="truncate_columns", bits=4, columns=3)
    assert [found.port for found in prove_multiplier(unit).findings if found.proven] == ["Verilog", "gates"]


def test_wide_operands_are_left_to_sat():
    unit = Multiplier(name="wide", family="truncate_operands", bits=12, a_drop=3, b_drop=2)
    (found,) = prove_multiplier(unit, gates=False).findings
    assert (found.proven, found.by) == (True, "SAT")
    other = unit.replace(b_drop=3)
    (found,) = prove_multiplier(unit, generate(other, combinational=True), gates=False).findings
    (shown,) = found.trace.cycles
    assert (found.proven, found.by) == (False, "SAT")
    assert shown["p"] == product(other, shown) != product(unit, shown)


def test_a_table_has_no_formula():
    unit = Multiplier(name="squares", family="table", bits=2, products=np.arange(16).reshape(4, 4))
    with pytest.raises(ValueError, match=r"^Multiplier family must be one of a formula, or netlist, not table$"):
        prove_multiplier(unit)


def test_command(tmp_path, capsys):
    direct().save(tmp_path / "plain.json")
    assert main(["prove", str(tmp_path / "plain.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and len(told["findings"]) == 6 and told["findings"][-1]["proven"] is True
    design = Rtl(HAND.replace("full <= 0; valid <= 0;", "full <= 0;"), generate(direct(), stages=1).description)
    design.save(tmp_path)
    given = ["prove", str(tmp_path / "plain.json"), "--verilog", str(tmp_path / "plain.v"), "--waves"]
    assert main([*given, str(tmp_path / "broken.vcd")]) == 1
    told = capsys.readouterr()
    assert "REFUTED     m_axis_tvalid: low in the cycle after a reset" in told.out and told.out.rstrip().endswith(" s")
    assert "broken.vcd" in told.err and (tmp_path / "broken.vcd").exists()
    assert main(["prove", str(tmp_path / "plain.json"), "--gates"]) == 2
    assert "--gates must be given with a combinational multiplier alone" in capsys.readouterr().err


def test_a_missing_prover_is_told_of(monkeypatch, tmp_path):
    (tmp_path / "yosys").symlink_to(shutil.which("yosys"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{Path('/nonexistent')}")
    solver.find_abc.cache_clear()
    with pytest.raises(
        ToolError, match=r"^yosys-abc: not found; install it, on Debian and Ubuntu with: apt install yosys"
    ):
        solver.prover()
    monkeypatch.undo()
    solver.find_abc.cache_clear()
