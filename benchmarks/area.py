"""Rows of the pwl part: gates of piecewise-linear units and of the truth tables that they stand in for."""

import numpy as np

import hwlut
from benchmarks.report import Row
from hwlut.accuracy import accuracy
from hwlut.fixed import Fixed
from hwlut.functions import function
from hwlut.hdl import generate
from hwlut.verify.synthesis import map_verilog

__all__ = ["area_rows"]

_TABLE = "case statement between two registers"


def area_rows() -> list[Row]:
    """gelu on [-4, 4), hard-wired, as many bits out as in: 8 segments with handshake against a table without.

    The table is exact; how far the segments are off, in steps of the output, stands in each row's name.
    """
    fits, tables, steps = {}, {}, {}
    for bits in (8, 10, 11, 12, 13, 14, 16):
        output = Fixed(bits, bits - 3)
        unit = hwlut.fit("gelu", 8, input=Fixed(bits), scales=(bits - 3,), domain=(-4.0, 4.0), output=output)
        fits[bits] = _gates(generate(unit).verilog, unit.name)
        steps[bits] = accuracy(unit, (-4.0, 4.0))[0].max_error * 2 ** (bits - 3)
        tables[bits] = _gates(_case_statement("gelu", bits), "case_statement")
    rows = [
        Row(name="truth table of gelu, 8 bits in and out, hard-wired", unit="GE", ours=tables[8], target=200),
        Row(
            name="input bits from which on 8 hard-wired segments are smaller than a truth table",
            unit="bits",
            ours=min(bits for bits in fits if all(fits[wide] < tables[wide] for wide in fits if wide >= bits)),
            target=12,
        ),
    ]
    for bits, target in ((12, 1.0), (14, 0.5), (16, 0.2)):
        row = Row(
            name=f"gelu, 8 segments, {bits} bits in and out, hard-wired, off by at most {steps[bits]:.2g} steps",
            unit="GE",
            ours=fits[bits],
            baseline=tables[bits],
            against=_TABLE,
            target=target,
            bounds="ratio",
        )
        rows.append(row)
    return [*rows, _reloadable_row()]


def _reloadable_row() -> Row:
    """A reloadable unit of 8 segments, all int8, against a reloadable table of 256 bytes; both double-buffered."""
    unit = hwlut.fit("gelu", 8, scales=(5,), slope_frac=6, intercept_bits=8, intercept_frac=6, output=Fixed(8, 5))
    return Row(
        name="gelu, 8 segments, all int8, reloadable",
        unit="GE",
        ours=_gates(generate(unit, reloadable=True).verilog, unit.name),
        baseline=_gates(_RELOADABLE_TABLE, "reloadable_table"),
        against="reloadable 256-entry table, without handshake",
        target=0.2,
        bounds="ratio",
    )


_RELOADABLE_TABLE = """
module reloadable_table(input clk, input rst, input [7:0] x, output reg [7:0] y,
                        input [7:0] load_data, input load_valid, input load_last);
  reg [7:0] entries [0:511];
  reg [7:0] held, place;
  reg bank;
  always @(posedge clk) begin
    held <= x;
    y <= entries[{bank, held}];
    if (load_valid) begin
      entries[{~bank, place}] <= load_data;
      place <= load_last ? 0 : place + 1;
      bank <= bank ^ load_last;
    end
    if (rst) begin place <= 0; bank <= 0; end
  end
endmodule
"""


def _gates(verilog: str, module: str) -> float:
    """Gate equivalents in OSU's 180 nm cells, before layout."""
    found = map_verilog(verilog, module).gate_equivalents
    assert found is not None
    return found


def _case_statement(name: str, bits: int) -> str:
    """The function's table over [-4, 4), rounded to as many bits, between two registers."""
    codes = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    exact = np.ldexp(function(name)(np.ldexp(codes.astype(np.float64), 3 - bits)), bits - 3)
    values = np.clip(np.floor(exact + 0.5).astype(np.int64), codes[0], codes[-1])
    arms = (f"{bits}'d{code % (1 << bits)}: y <= {bits}'d{value % (1 << bits)};" for code, value in zip(codes, values))
    ports = f"input clk, input [{bits - 1}:0] x, output reg [{bits - 1}:0] y"
    body = "always @(posedge clk) begin held <= x; case (held)\n" + "\n".join(arms) + "\nendcase end"
    return f"module case_statement({ports});\nreg [{bits - 1}:0] held;\n{body}\nendmodule\n"
