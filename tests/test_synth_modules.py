"""Designs of many modules, mapped one by one: what is the same is mapped once, and all of it is counted."""

import re
import subprocess

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal, signed
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from hwlut import ToolError
from hwlut.verify.synthesis import Liberty, map_modules, map_verilog, ram
from hwlut.verify.synthesis.distinct import distinct


class Cells(Component):
    """`rows` x 3 cells in one module each, without ports of their own, and a memory of a row's sums."""

    def __init__(self, rows=2, odd=False):
        self.rows = rows
        self.odd = odd
        self.x = [Signal(signed(4), name=f"x_{row}") for row in range(rows)]
        self.w = [Signal(signed(4), name=f"w_{column}") for column in range(3)]
        super().__init__({"add": In(1), "at": In(3), "sums": Out(12 * rows)})

    def elaborate(self, platform):
        m = Module()
        for row, x in enumerate(self.x):
            m.submodules[f"row_{row}"] = inner = Module()
            total = 0
            for column, w in enumerate(self.w):
                inner.submodules[f"cell_{column}"] = cell = Module()
                found = Signal(signed(12), name=f"sum_{row}_{column}")
                product = x * w + (column if self.odd else 0)
                with cell.If(self.add):
                    cell.d.sync += found.eq(found + product)
                total = total + found
            inner.submodules.held = memory = Memory(shape=signed(12), depth=8, init=[])
            write, reads = memory.write_port(), [memory.read_port() for _ in range(2)]
            inner.d.comb += [write.en.eq(self.add), write.addr.eq(self.at), write.data.eq(total)]
            inner.d.comb += [reads[0].addr.eq(self.at), reads[1].addr.eq(~self.at)]
            difference = Signal(12, name=f"difference_{row}")
            inner.d.comb += difference.eq(reads[0].data - reads[1].data)
            m.d.comb += self.sums.word_select(row, 12).eq(difference)
        return m

    @property
    def verilog(self):
        ports = [self.add, self.at, self.sums, *self.x, *self.w]
        return verilog.convert(self, name="cells", ports=ports, emit_src=False, strip_internal_attrs=True)


@pytest.fixture
def osu018(need):
    need("yosys", "sta")
    try:
        return Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")


def test_modules_that_differ_in_names_are_one():
    modules, top = distinct(Cells().verilog, "cells")
    assert len(modules) == 3  # a cell, a row, the top
    assert list(modules[top].instances) == ["row_0", "row_1"]
    (row,) = set(modules[top].instances.values())
    assert list(modules[row].instances) == ["cell_0", "cell_1", "cell_2"]
    assert len(set(modules[row].instances.values())) == 1


def test_modules_that_differ_in_a_constant_are_not():
    modules, top = distinct(Cells(odd=True).verilog, "cells")
    (row,) = set(modules[top].instances.values())
    assert len(set(modules[row].instances.values())) == 3


def test_parts_are_all_that_is_there(osu018, tmp_path):
    """The sum over the instances is what yosys counts in the whole netlist."""
    text = Cells().verilog
    found = map_modules(text, "cells", osu018)
    assert found.modules == 3 and len(found.parts) == 1 + 2 * (1 + 3)
    assert {part.registers for part in found.parts if len(part.path) == 2} == {12}
    assert sum(part.registers for part in found.parts) == 6 * 12
    held = [part.memories for part in found.parts if part.memories]
    assert held == [{"held": 2 * 8 * 12}] * 2  # two reads are two copies

    files = {"mapped.v": found.verilog, "cells.lib": osu018.path.read_text(), "ram_cell.v": ram.FILES["ram_cell.v"]}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    script = [
        "read_liberty -lib cells.lib",
        "read_verilog -lib ram_cell.v",
        "read_verilog mapped.v",
        f"hierarchy -check -top {found.top}",
        "tee -o stat.txt stat -liberty cells.lib",
    ]
    (tmp_path / "script.ys").write_text("\n".join(script) + "\n")
    subprocess.run(["yosys", "-q", "script.ys"], cwd=tmp_path, check=True)
    (whole,) = re.findall(r"Chip area for top module .*: ([\d.]+)", (tmp_path / "stat.txt").read_text())
    assert float(whole) == sum(part.area for part in found.parts)


def test_a_single_module_is_mapped_as_ever(osu018):
    text = """\
module top(clk, a, b, y);
  input clk;
  input [3:0] a;
  input [3:0] b;
  output [7:0] y;
  reg [7:0] y;
  always @(posedge clk)
    y <= a * b;
endmodule
"""
    found, flat = map_modules(text, "top", osu018), map_verilog(text, "top", liberty=osu018)
    (part,) = found.parts
    assert (part.path, part.area, part.registers, part.memories) == ((), flat.area, 8, {})
    assert (found.modules, part.delay, found.delay_by, found.tool) == (1, flat.delay, flat.delay_by, flat.tool)


def test_bad_verilog_is_refused(osu018):
    text = "module top(clk, y);\n  input clk;\n  output y;\n  assign y = nothing(;\nendmodule\n"
    with pytest.raises(ValueError, match="^yosys cannot map m[0-9a-f]+: "):
        map_modules(text, "top", osu018)


BENCH = """\
module bench;
  reg clk = 0;
  reg [1:0] enable, at, at_0, at_1;
  reg [7:0] written;
  wire [15:0] before, after;
  held before_mapping (.clk(clk), .enable(enable), .at(at), .at_0(at_0), .at_1(at_1), .written(written), .read(before));
  mapped after_mapping (.clk(clk), .enable(enable), .at(at), .at_0(at_0), .at_1(at_1), .written(written), .read(after));
  integer step, differ = 0, known = 0;
  initial begin
    for (step = 0; step < 400; step = step + 1) begin
      {enable, at, at_0, at_1} = step < 4 ? {2'b11, step[1:0], 4'b0} : $random;
      written = $random;
      #1 clk = 1;
      #1 clk = 0;
      if (step > 4) begin
        known = known + (^before !== 1'bx);
        differ = differ + (before !== after);
      end
    end
    $display("%0d differ of %0d", differ, known);
  end
endmodule
"""


def test_ram_with_reads_and_enables_of_bits_does_what_it_did(osu018, need, tmp_path):
    need("iverilog")
    text = """\
module held(clk, enable, at, at_0, at_1, written, read);
  input clk;
  input [1:0] enable, at, at_0, at_1;
  input [7:0] written;
  output [15:0] read;
  reg [15:0] read;
  reg [7:0] words [3:0];
  always @(posedge clk) begin
    if (enable[0]) words[at][3:0] <= written[3:0];
    if (enable[1]) words[at][7:4] <= written[7:4];
    read <= {words[at_1], words[at_0]};
  end
endmodule
"""
    mapped = map_verilog(text, "held", liberty=osu018)
    assert mapped.ram_bits == 2 * 4 * 8 and mapped.registers == 0
    (tmp_path / "all.v").write_text(text + mapped.flat.replace("module held", "module mapped") + BENCH)
    subprocess.run(["iverilog", "-g2005", "-s", "bench", "-o", "bench", "all.v"], cwd=tmp_path, check=True)
    told = subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert told.strip() == "0 differ of 395"


def test_a_way_of_half_a_period_counts_twice(osu018):
    text = "module top(clk, a, y);\n  input clk;\n  input [7:0] a;\n  output [7:0] y;\n  reg [7:0] y;\n"
    text += "  always @({} clk)\n    y <= a * a;\nendmodule\n"
    whole, half = (map_verilog(text.format(edge), "top", liberty=osu018).delay for edge in ("posedge", "negedge"))
    assert 1.9 * whole < half < 2.1 * whole
