"""Memories that are no gates: RAM with registered reads, which a library of standard cells does not have."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["CELL", "FILES", "held", "plain"]

CELL = "hwlut_ram"
"""The cell that stands for a RAM of one write port, with an enable of each bit, and one registered read port."""

_PORTS = """\
module hwlut_ram #(parameter WIDTH = 1, parameter SIZE = 1, parameter ABITS = 1) (
    input clk, input read, input [ABITS-1:0] read_at, output {kind} [WIDTH-1:0] word,
    input [WIDTH-1:0] write, input [ABITS-1:0] write_at, input [WIDTH-1:0] written
);
"""

_MODEL = (
    _PORTS.format(kind="reg")
    + """\
    reg [WIDTH-1:0] words [SIZE-1:0];
    always @(posedge clk) begin
        if (read) word <= words[read_at];
        words[write_at] <= (words[write_at] & ~write) | (written & write);
    end
endmodule
"""
)

_MAP = """\
(* techmap_celltype = "$mem_v2" *)
module hwlut_mem (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
    parameter MEMID = "";
    parameter signed SIZE = 1;
    parameter signed OFFSET = 0;
    parameter signed ABITS = 1;
    parameter signed WIDTH = 1;
    parameter INIT = 1'bx;
    parameter signed RD_PORTS = 1;
    parameter RD_CLK_ENABLE = 1'b1;
    parameter RD_CLK_POLARITY = 1'b1;
    parameter RD_TRANSPARENCY_MASK = 1'b0;
    parameter RD_COLLISION_X_MASK = 1'b0;
    parameter RD_WIDE_CONTINUATION = 1'b0;
    parameter RD_CE_OVER_SRST = 1'b0;
    parameter RD_ARST_VALUE = 1'b0;
    parameter RD_SRST_VALUE = 1'b0;
    parameter RD_INIT_VALUE = 1'b0;
    parameter signed WR_PORTS = 1;
    parameter WR_CLK_ENABLE = 1'b1;
    parameter WR_CLK_POLARITY = 1'b1;
    parameter WR_PRIORITY_MASK = 1'b0;
    parameter WR_WIDE_CONTINUATION = 1'b0;
    input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
    input [RD_PORTS*ABITS-1:0] RD_ADDR;
    output [RD_PORTS*WIDTH-1:0] RD_DATA;
    input [WR_PORTS-1:0] WR_CLK;
    input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
    input [WR_PORTS*ABITS-1:0] WR_ADDR;
    wire _TECHMAP_FAIL_ =
        WR_PORTS != 1 || RD_CLK_ENABLE != {RD_PORTS{1'b1}} || OFFSET != 0 || RD_TRANSPARENCY_MASK != 0;
    genvar port;
    generate
        for (port = 0; port < RD_PORTS; port = port + 1) begin : copies
            hwlut_ram #(.WIDTH(WIDTH), .SIZE(SIZE), .ABITS(ABITS)) ram (
                .clk(RD_CLK[port]), .read(RD_EN[port]),
                .read_at(RD_ADDR[port*ABITS +: ABITS]), .word(RD_DATA[port*WIDTH +: WIDTH]),
                .write(WR_EN), .write_at(WR_ADDR), .written(WR_DATA)
            );
        end
    endgenerate
endmodule
"""

FILES = {
    "ram_cell.v": _PORTS.format(kind="") + "endmodule\n",
    "ram_map.v": _MAP,
    "ram_model.v": _MODEL,
}
"""What yosys reads: the cell's ports, what becomes one for each of its read ports, and what it does."""


def held(cells: Mapping[str, Any]) -> dict[str, int]:
    """Bits of the RAM in the cells of a netlist in yosys's JSON, by the name of its memory: of all copies of that."""
    found: dict[str, int] = {}
    for name, cell in cells.items():
        if cell["type"] == CELL:
            memory, given = name.partition(".copies[")[0], cell["parameters"]
            found[memory] = found.get(memory, 0) + int(given["WIDTH"], 2) * int(given["SIZE"], 2)
    return found


def plain(netlist: str) -> str:
    """Verilog without parameters of RAM, which OpenSTA does not read."""
    return re.sub(rf"^(\s*{CELL}) #\(.*?\n  \)", r"\1", netlist, flags=re.MULTILINE | re.DOTALL)
