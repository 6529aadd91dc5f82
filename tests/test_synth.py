"""Synthesis: figures counted by hand, the netlist against the unit, and what is said when tools are missing."""

import json
import re
import sys
from pathlib import Path

import pytest

import hwlut
from hwlut import Direct, Fixed, Requantize, ToolError
from hwlut.cli import main
from hwlut.functions import FUNCTIONS
from hwlut.hdl import Rtl, generate
from hwlut.verify.synthesis import Liberty, Synthesis, compare, flow, map_verilog, picture, synthesize
from hwlut.verify.synthesis import liberty as liberty_module

CELLS = """library(small) {
  /* cell (COMMENT) { area : 1; } */
  cell (INV) { area : 2; pin(Y) { direction : output; function : "(!A)"; } }
  cell (NAND2_X1) { area : 4; }
  cell (NAND2_X2) { area : 7; }
  cell ("DFF") { area : 20.5; ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; } }
}
"""


@pytest.fixture
def osu018(need):
    need("yosys", "sta", "g++", "verilator")
    try:
        return Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")


@pytest.fixture
def cells(osu018, tmp_path):
    """Another library: OSU's with its two-input NAND renamed and larger."""
    text = osu018.path.read_text()
    path = tmp_path / "my cells.lib"
    path.write_text(re.sub(r"cell \(NAND2X1\)(.*?)area : 24", r"cell (MY_NAND2)\1area : 30", text, flags=re.DOTALL))
    return path


def small(**changes):
    return Direct(**{"input": Fixed(3, 1), "output": Fixed(4, 2), "values": (7, -3, 4, 1, 0, 1, -8, 5), **changes})


def test_liberty(tmp_path):
    path = tmp_path / "small.lib"
    path.write_text(CELLS)
    library = Liberty.read(path)
    assert library.areas == {"INV": 2, "NAND2_X1": 4, "NAND2_X2": 7, "DFF": 20.5}
    assert (library.registers, library.gate) == ({"DFF"}, "NAND2_X1")
    path.write_text(CELLS.replace("NAND2", "OTHER"))
    assert Liberty.read(path).gate is None and Liberty.read(path).digest != library.digest


@pytest.mark.parametrize(
    "area, message",
    [
        ("0", "area must be above 0, for it is the gate equivalent"),
        ("-4", "area must be a finite number from 0, not '-4'"),
        ("1-2", "area must be a finite number from 0, not '1-2'"),
        ("1e999", "area must be a finite number from 0, not '1e999'"),
        ("nan", "area must be a finite number from 0, not 'nan'"),
    ],
    ids=["zero", "negative", "difference", "infinite", "nan"],
)
def test_liberty_areas_that_are_none_are_refused(tmp_path, area, message):
    path = tmp_path / "bad.lib"
    path.write_text(CELLS.replace("area : 4;", f"area : {area};"))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: cell NAND2_X1: {message}$"):
        Liberty.read(path)
    path.write_text(CELLS.replace("area : 2;", "area : 0;"))
    assert Liberty.read(path).areas["INV"] == 0


def test_figures_are_those_of_the_netlist(cells):
    found = synthesize(small(), liberty=cells)
    areas = dict(re.findall(r"^cell \((\w+)\) \{\n(?:.*\n)*?\s*area : (\d+);", cells.read_text(), re.MULTILINE))
    counts = {}
    for cell in re.findall(rf"^  ({'|'.join(areas)}) \S+ \(", found.netlist.verilog, re.MULTILINE):
        counts[cell] = counts.get(cell, 0) + 1
    assert found.netlist.cells == counts and "MY_NAND2" in counts
    area = sum(count * int(areas[cell]) for cell, count in counts.items())
    assert found.netlist.area == area and found.netlist.gate_equivalents == area / 30
    assert found.netlist.registers == counts["DFFPOSX1"] == 3 + 1 + 1 + 4  # skid buffer, its bit, valid, result
    assert found.recheck.ok and found.recheck.exhaustive and found.recheck.vectors == 8
    assert "re-check  PASS, the netlist equals the unit on every code at scale 1 (8)" in str(found)
    content = found.to_dict()
    json.dumps(content)
    assert content["pre_layout"] and content["ok"] and content["area"] == area and "flat" not in content


def test_a_wrong_netlist_is_seen(cells, capsys, monkeypatch):
    wrong = generate(small(values=(7, -3, 4, 1, 0, 1, -8, 4)))
    rtl = Rtl(wrong.verilog, generate(small()).description)
    found = synthesize(small(), liberty=cells, verilog=rtl)
    assert not found.ok and found.recheck.first == {"q": 3, "scale": 1, "expected": 5, "got": 4}
    assert "re-check  FAIL, 2 mismatches (q 3, scale 1, expected 5, got 4)" in str(found)
    small().save(cells.with_name("small.json"))
    monkeypatch.setattr("hwlut.verify.synthesis.synthesize", lambda *_, **__: found)
    assert main(["synth", str(cells.with_name("small.json"))]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["ice40", "xilinx"])
def test_fpga(target, need):
    need("yosys", "g++", "verilator")
    found = synthesize(small(), target=target)
    assert found.recheck.ok and found.recheck.vectors == 8
    luts = sum(count for cell, count in found.netlist.cells.items() if re.match("SB_LUT4|LUT[1-6]", cell))
    assert found.netlist.luts == luts and 4 <= luts < 30 and found.netlist.registers == 9
    assert (found.netlist.area, found.netlist.delay, found.liberty) == (None, None, None)
    assert f"LUTs      {luts}, without memory and multiplier blocks, before placement" in str(found)


def test_osu018_and_delay(osu018):
    assert (osu018.gate, osu018.areas["NAND2X1"]) == ("NAND2X1", 24)
    verilog = (
        "module chain(input clk, input a, input b, output reg q);\n"
        "  reg r, t; always @(posedge clk) begin r <= a; t <= b; q <= ~(r & t); end\nendmodule\n"
    )
    netlist = map_verilog(verilog, "chain")
    assert netlist.cells == {"DFFPOSX1": 3, "NAND2X1": 1} and netlist.area == 3 * 96 + 24
    assert netlist.gate_equivalents == 13 and netlist.registers == 3
    assert netlist.delay_by.startswith("OpenSTA ") and 0.3 < netlist.delay < 0.7


def test_delay_without_a_clock(osu018):
    verilog = "module m(input a, input b, output y); assign y = ~(a & b); endmodule\n"
    netlist = map_verilog(verilog, "m")
    assert netlist.cells == {"NAND2X1": 1} and netlist.registers == 0
    assert netlist.delay_by.startswith("OpenSTA ") and 0 < netlist.delay < 0.3


def test_outputs_that_share_a_register_are_timed(osu018):
    verilog = (
        "module m(input clk, input a, output [4:0] y);\n"
        "  reg r; always @(posedge clk) r <= a;\n"
        "  assign y = {r, 1'b0, r, r, 1'b1};\nendmodule\n"
    )
    netlist = map_verilog(verilog, "m")
    assert netlist.cells["DFFPOSX1"] == 1 and netlist.delay_by.startswith("OpenSTA ")


def test_delay_without_opensta(cells, monkeypatch):
    monkeypatch.setattr(flow, "find_sta", lambda: None)
    netlist = map_verilog("module m(input clk, input a, output y); assign y = ~a; endmodule\n", "m", "liberty", None)
    assert netlist.delay_by == "abc, logic alone" and 0 < netlist.delay < 0.3 and "OpenSTA" not in netlist.tool


def test_compare(osu018, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unit = Direct.sample(FUNCTIONS["hswish"], input=Fixed(4, 1), output=Fixed(5, 2), name="h")
    unit.save("h.json")
    assert main(["synth", "h.json", "--compare", "--plot", "h.svg", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    labels = ["h", "direct table", "1024-entry table", "4 segments", "8 segments", "16 segments"]
    rows = {row["label"]: row for row in content["candidates"]}
    assert list(rows) == labels and err.splitlines()[-1] == "hwlut: synth 6/6: 16 segments"
    assert all(row["synthesis"]["recheck"]["ok"] for row in rows.values())
    assert rows["h"]["mse"] == rows["direct table"]["mse"] == rows["1024-entry table"]["mse"]
    assert rows["1024-entry table"]["synthesis"]["recheck"]["vectors"] == 1024
    fit_enough = [label for label in labels if rows[label]["mse"] <= rows["h"]["mse"]]
    areas = {label: rows[label]["synthesis"]["area"] for label in fit_enough}
    assert content["smallest"] == min(areas, key=areas.get)
    drawn = (tmp_path / "h.svg").read_text()
    assert "osu018_stdcells.lib" in drawn or "<svg" in drawn


def test_compare_keeps_the_settings_and_names_what_it_leaves_out(monkeypatch):
    drafts = []
    module = sys.modules["hwlut.verify.synthesis.alternatives"]

    def stand_in(unit, *, scale, target, liberty):
        drafts.append(unit)
        netlist = flow.Netlist("ice40", "", {}, 0, len(drafts), None, None, None, None, "", "")
        return Synthesis(
            unit=unit.name,
            digest="",
            scale=scale,
            liberty=None,
            gate=None,
            netlist=netlist,
            recheck=None,
            unchecked="stand-in",
        )

    monkeypatch.setattr(module, "synthesize", stand_in)
    unit = hwlut.fit(
        "tanh", 5, input=Fixed(13), scales=(2, 3), slope_bits=6, slope_frac=4, symmetry="odd", output=Fixed(7, 6)
    )
    found = compare(unit, scale=2)
    assert found.left_out == (
        "direct table: a truth table has at most 12 input bits, not 13",
        "1024-entry table: its entries would be 2 apart",
    )
    assert [draft.segments for draft in drafts] == [5, 4, 8, 16]
    for draft in drafts:
        assert (draft.slope, draft.scales, draft.symmetry, draft.output) == (Fixed(6, 4), (2, 3), "odd", Fixed(7, 6))
    errors = [candidate.mse for candidate in found.candidates]
    assert errors[1] > errors[0] > errors[2] >= errors[3] and found.smallest.label == "tanh_5"
    assert picture(found).axes[0].get_xlabel() == "LUTs (ice40), estimate"


@pytest.mark.parametrize(
    "domain",
    ["wide", [1], [1, 2, 3], [2, 1], [1, 1], [None, 1], ["a", "b"], [False, True], [0, 10**400], 3, {}],
    ids=["text", "one", "three", "descends", "empty", "null", "words", "bools", "huge", "number", "object"],
)
def test_compare_ignores_a_domain_that_is_no_interval(domain):
    module = sys.modules["hwlut.verify.synthesis.alternatives"]
    unit = hwlut.fit("tanh", 3, scales=(4,), domain=(-1, 1))
    plain, _ = module._fitted(unit.replace(meta={}), 2)
    narrow, _ = module._fitted(unit, 2)
    assert narrow != plain
    found, _ = module._fitted(unit.replace(meta={"domain": domain}), 2)
    assert found == plain


def test_the_form_asked_for_is_mapped(cells, capsys):
    unit = hwlut.fit("gelu", 3, input=Fixed(4), scales=(2,), intercept_bits=8, output=Fixed(4, 2))
    path = unit.save(cells.with_name("gelu_3.json"))
    registers = []
    for form in ((), ("--reloadable",)):
        assert main(["synth", str(path), "--liberty", str(cells), "--json", *form]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["recheck"]["ok"]
        registers.append(found["registers"])
    # Two banks of 3 slopes and intercepts of 8 bits each, and 2 breakpoints of 5 bits, at least.
    assert registers[1] - registers[0] >= 2 * (3 * (8 + 8) + 2 * 5)


def refused(capsys, *arguments):
    assert main(["synth", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith("hwlut: ")
    return err.splitlines()[-1].removeprefix("hwlut: ")


def test_refuses(cells, capsys):
    path = small().save(cells.with_name("small.json"))
    requantize = Requantize(input=Fixed(8), multipliers=(3,), shifts=(2,), output=Fixed(8))
    other = requantize.save(cells.with_name("other.json"))
    nonsense = cells.with_name("n.lib")
    nonsense.write_text("nonsense")
    for arguments, message in (
        ((path, "--target", "asic"), "target must be one of liberty, ice40, xilinx, not 'asic'"),
        ((path, "--target", "ice40", "--liberty", cells), "liberty must be given with target liberty alone, not ice40"),
        ((path, "--scale", 3), "Direct scale must be 1, not 3"),
        ((path, "--lanes", 2), "Direct lanes must not be given, not 2"),
        ((path, "--compare", "--reloadable"), "--compare must be given without --reloadable"),
        ((path, "--compare", "--stages", "2"), "--compare must be given without --stages"),
        ((path, "--stages", "6"), "Direct stages must be from 1 to 2, not 6"),
        ((path, "--plot", "x.png"), "--plot must be given with --compare"),
        ((path, "--compare", "--plot", "x.exe"), "picture must be a file of .png, .svg, .pdf, not 'x.exe'"),
        ((path, "--compare"), "accuracy needs a table that names its function; 'direct' has none"),
        ((other, "--compare"), "compare needs a Pwl, Direct or Multiplier table, not Requantize 'requantize'"),
        ((path, "--liberty", "none.lib"), "none.lib: no such file"),
        ((path, "--liberty", nonsense), f"{nonsense}: not a liberty file: it has no cell with an area"),
    ):
        assert refused(capsys, *arguments) == message
    nonsense.write_text(CELLS)
    assert refused(capsys, path, "--liberty", nonsense).startswith("yosys cannot map direct: ERROR: FF ")
    with pytest.raises(ValueError, match="^yosys cannot map m: .*ERROR: "):
        map_verilog("module m(input clk; endmodule", "m", "ice40")


def test_missing_tools(monkeypatch, tmp_path):
    monkeypatch.setattr(liberty_module, "_OSU018", Path("/nowhere/osu018.lib"))
    remedy = "give one with --liberty, or on Debian and Ubuntu: apt install qflow-tech-osu018"
    with pytest.raises(ToolError, match=f"^OSU 180 nm liberty: not found at /nowhere/osu018.lib; {remedy}$"):
        Liberty.read()
    yosys = tmp_path / "yosys"
    yosys.write_text("#!/bin/sh\necho 'Yosys 0.9 (git sha1 1979e0b)'\n")
    yosys.chmod(0o755)
    remedy = "install it, on Debian and Ubuntu with: apt install yosys"
    for path, problem in ((tmp_path, "0.9 found"), (tmp_path / "empty", "not found")):
        monkeypatch.setenv("PATH", str(path))
        flow.find_yosys.cache_clear()
        with pytest.raises(ToolError, match=f"^yosys: {problem}, 0.23 or newer needed; {remedy}$"):
            flow.find_yosys()
    flow.find_yosys.cache_clear()


def test_without_a_simulator(cells, monkeypatch):

    def missing(*_, **__):
        raise ToolError("verilator", "not found, 5.006 or newer needed", "install it")

    monkeypatch.setattr(sys.modules["hwlut.verify.synthesis.synthesize"], "check", missing)
    found = synthesize(small(), liberty=cells)
    assert found.recheck is None and found.ok and found.to_dict()["recheck"] is None
    assert "re-check  not run (verilator: not found, 5.006 or newer needed; install it)" in str(found)
