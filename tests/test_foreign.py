"""Files in C and Verilog are never executed where they are imported; where Verilog is simulated, it reaches nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from circuits import c_shifted

from hwlut import Multiplier, check
from hwlut.accel.rtl import generate_tile
from hwlut.cli import main
from hwlut.importers import multipliers
from hwlut.units import Tile
from hwlut.verify.foreign import check_foreign

ROOT = Path(__file__).resolve().parent.parent
UNIT = Multiplier(family="exact", bits=4, signed=False, name="mul4u_x")


def written(body):
    head = "module mul4u_x(input [3:0] A, input [3:0] B, output [7:0] O);"
    return f"{head}\nassign O = {{A, B}};\n{body}\nendmodule\n"


HOSTILE = {  # what would make the file `canary`, or read it
    "shell": 'initial $system("touch canary");',
    "file": 'integer f; initial begin f = $fopen("canary", "w"); $fclose(f); end',
    "dump": 'initial begin $dumpfile("canary"); $dumpvars; end',
    "memory": 'reg [7:0] m [0:1]; initial $readmemh("canary", m);',
    "written memory": 'reg [7:0] m [0:1]; initial $writememh("canary", m);',
    "C++": 'initial $c("fclose(fopen(\\"canary\\", \\"w\\"));");',
    "include": '`include "canary"',
    "a macro": '`define RUN $system\ninitial `RUN("touch canary");',
    "pasted": '`define RUN(x) $sys``x\ninitial `RUN(tem)("touch canary");',
    "quoted": '`define Q `"\ninitial $system("touch canary"); // `"',
    "escaped": 'initial \\$system ("touch canary");',
    "in an escaped name": 'wire \\a/*b ; initial $system("touch canary"); /* */',
    "after a comment in a string": 'initial $display("//"); initial $system("touch canary");',
    "a broken string": 'initial $display("a\\\n"); initial $system("touch canary"); //")',
    "DPI": 'import "DPI-C" function int system(string s); initial system("touch canary");',
    "C++ beside": '`systemc_implementation\nstatic int x = fclose(fopen("canary", "w"));\n`verilog',
    "a comment that is one to us alone": '`undef X /*\ninitial $system("touch canary"); // */',
    "a string that is one to us alone": 'initial $display("""first " """); initial $system("touch canary"); // "',
    "a name that is longer for them": 'wire \\a\v" ; initial $system("touch canary"); // "',
    "a character that they drop": 'initial $\rsystem("touch canary");',
    "a directive dropped into": '`\0include "canary"',
    "a directive defined in a comment": "// `define systemc_header\n`systemc_header\n#include <canary>",
    "a directive defined for nobody": "`ifdef NO\n`define systemc_header\n`endif\n`systemc_header\n#include <canary>",
    "behind a number": 'initial #1e3$system("touch canary");',
    "a macro with parameters": "`define RUN(FOO) `FOO\n`RUN(systemc_header)\n#include <canary>",
    "joined": '`define M memh\nreg [7:0] m [0:1]; initial $write`M("canary", m);',
    "joined to DPI": '`define A im\n`define B port\n`A`B "DPI-C" function int system(string s);',
}
HARMLESS = {
    "nothing": "",
    "told": '// (include) and "/*"\n/* // */ initial $display("$time // %d /*", $time);',
    "escaped": "wire \\$auto$alumacc.cc:485$7 , \\a.b[3] , \\$signature__addr ;",
    "macros": "`define WIDTH 4\n`ifdef NEVER\n`endif\nwire [`WIDTH - 1:0] w;",
    "lines of other systems": "wire a;\r\nwire b;\r\n",
}


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_designs_that_stay_inside(body):
    check_foreign(written(body))


@pytest.mark.parametrize("path", sorted((ROOT / "rtl").rglob("*.v")), ids=lambda path: path.name)
def test_what_is_shipped_stays_inside(path):
    check_foreign(path.read_text())


def test_tiles_stay_inside():
    check_foreign(generate_tile(Tile(name="t", rows=1, columns=2, multipliers=(UNIT,))).verilog)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_design_that_reaches_out_is_not_simulated(tmp_path, monkeypatch, capsys, body):
    """It is refused by its line, before there is a simulator; and `import` refuses it as well."""
    monkeypatch.chdir(tmp_path)
    UNIT.save("unit.json")
    (tmp_path / "foreign.v").write_bytes(written(body).encode())
    for arguments in (["sim", "unit.json"], ["sim", "unit.json", "--engine", "cocotb"]):
        assert main([*arguments, "--verilog", "foreign.v"]) == 2
        assert re.fullmatch(
            r"hwlut: foreign.v: line \d+: .* has no place in a design that is simulated\n", capsys.readouterr().err
        )
    assert main(["import", "foreign.v", "--format", "verilog"]) == 2
    assert re.fullmatch(r"hwlut: foreign.v: .*\n", capsys.readouterr().err)
    assert not (tmp_path / "canary").exists() and not list(tmp_path.glob("*/"))


@pytest.mark.parametrize(
    "body",
    ["file", "escaped", "a comment that is one to us alone", "a name that is longer for them", "behind a number"],
)
def test_the_canary_would_sing(need, tmp_path, body):
    """In a plain simulator the same file does what is refused here: the test above is one."""
    need("iverilog")
    memory = re.sub(r'system( ?)\("touch canary"\)', r'writememh\1("canary", m)', HOSTILE[body])
    (tmp_path / "foreign.v").write_text(written("reg [7:0] m [0:1];\n" + memory))
    subprocess.run(["iverilog", "-g2012", "-o", "x", "foreign.v"], cwd=tmp_path, check=True)
    subprocess.run([shutil.which("vvp"), "x"], cwd=tmp_path, check=False, capture_output=True, timeout=60)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "text",
    [
        '#include "canary.h"\n{}',
        "#define x __import__\n{}",
        '{}\n__attribute__((constructor)) void f() {{ system("touch canary"); }}',
        'int g(int x) {{ asm("nop"); return x; }}\n{}',
        '_Pragma("x") {}',
        '{}\nint mul4u_z(int A, int B) {{ return system("touch canary"); }}',
    ],
)
def test_c_is_parsed_without_a_compiler(tmp_path, monkeypatch, text):
    """No process is started, and what only a compiler knows is refused or, in a function that is not used, skipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", None)
    (tmp_path / "c.c").write_text(text.format(c_shifted(4, 4, False, "mul4u_x")))
    (tmp_path / "canary.h").write_text("#error")
    try:
        found = multipliers.read("c.c", "evoapprox-c")
    except ValueError as error:
        assert re.match(r"c.c: line \d+: ", str(error))
    else:
        assert "asm" in text and found.products().equal(UNIT.products())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.c", "canary.h"]


def test_a_missing_module_is_not_taken_from_the_current_folder(need, tmp_path, monkeypatch):
    need("g++", "verilator")
    monkeypatch.chdir(tmp_path)
    text = written("elsewhere x(.A(A));")
    (tmp_path / "elsewhere.v").write_text("module elsewhere(input [3:0] A); initial $stop; endmodule\n")
    (tmp_path / "foreign.v").write_text(text)
    with pytest.raises(ValueError, match="elsewhere"):
        check(UNIT, verilog="foreign.v")
