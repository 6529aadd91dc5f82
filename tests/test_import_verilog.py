"""Multipliers in Verilog: assignments, cells and hierarchies as netlists, and hostile files refused in one line."""

import itertools

import pytest
from circuits import every_pair, products, verilog
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut.importers import multipliers, verilog_circuit

STYLES = {"assignments": None, "bare_cells": "", "behavioural_cells": "PDKGEN"}
SIZES = {"mul8u_x": (8, 8, False), "mul8s_x": (8, 8, True), "mul7x3u_x": (7, 3, False), "mul2x5s_x": (2, 5, True)}


@pytest.fixture
def read(tmp_path):
    """Reads a text as a multiplier in Verilog."""

    def unit(text, **options):
        path = tmp_path / "circuit.v"
        path.write_text(text)
        return multipliers.read(path, **options)

    return unit


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SIZES)
def test_exact_multipliers_in_every_style(read, style, name):
    a_bits, b_bits, signed = SIZES[name]
    unit = read(verilog(a_bits, b_bits, signed, name, STYLES[style]))
    assert (unit.a.bits, unit.b.bits, unit.a.signed, unit.name) == (a_bits, b_bits, signed, name)
    assert unit.meta["published"] == {"MAE": "0"}
    pairs = every_pair(unit)
    assert products(unit, pairs) == [a * b for a, b in pairs]


def test_words_parts_and_hierarchies(read):
    text = """
`timescale 1ns/100ps
module half(x, y, z);
  input [3:0] x, y;
  output [7:0] z;
  wire [7:0] r0, r1, r2, r3;
  assign r0 = {4'b0000, x & {4{y[0]}}}, r1 = {3'd0, x & {4{y[1]}}, 1'b0};
  assign r2 = {2'h0, x & {4{y[2]}}, {2{1'b0}}};
  assign r3 = {1'b0, (y[3] ? x : 4'b0), 3'b0};
  assign z[7:0] = (r0 + r1) + (r2 + r3);
endmodule
module mul8u_x ( input [7:0] A, B, output [15:0] O, );
  localparam TOP = 7;
  localparam MIDDLE = 4;
  wire [7:0] ll, lh, hl, hh;
  half one(A[3:0], B[3:0], ll);
  half two(.x(A[3:0]), .y(B[TOP:MIDDLE]), .z(lh));
  half three(.z(hl), .x(A[TOP:MIDDLE]), .y(B[3:0]));
  half four(A[TOP:MIDDLE], B[TOP:MIDDLE], hh);
  wire [8:0] cross;
  assign cross = lh + hl;
  assign O = {hh, ll} + {3'b0, cross, 4'b0};
endmodule
"""
    unit = read(text)
    pairs = every_pair(unit)
    assert products(unit, pairs) == [a * b for a, b in pairs]


def test_a_sum_keeps_its_carry_where_its_target_is_wider(read):
    text = "module mul2u_x(input [1:0] A, input [1:0] B, output [3:0] O); assign O = A + B; endmodule"
    unit = read(text)
    assert products(unit, every_pair(unit)) == [a + b for a, b in every_pair(unit)]
    text = "module mul2u_x(input [1:0] A, input [1:0] B, output [3:0] O); assign O = {A + B}; endmodule"
    assert products(read(text), every_pair(unit)) == [(a + b) % 4 for a, b in every_pair(unit)]


OPERATORS = {
    "A - B": lambda a, b: a - b,
    "~(A & B)": lambda a, b: ~(a & b),
    "A ~^ B": lambda a, b: ~(a ^ b),
    "{&A, |A, ^A, !A}": lambda a, b: (a == 7) << 3 | (a > 0) << 2 | a.bit_count() % 2 << 1 | (a == 0),
    "{A == B, A != B, A && B, A || B}": lambda a, b: (a == b) << 3 | (a != b) << 2 | bool(a and b) << 1 | bool(a or b),
    "~&A": lambda a, b: int(a != 7),
    "{~|A, ~^A, ^~A, ~ |B}": lambda a, b: (a == 0) << 3 | (1 - a.bit_count() % 2) * 6 | (b == 0),
    "A[0] ? B : A": lambda a, b: b if a & 1 else a,
    "A | B & A ^ 3'b101": lambda a, b: a | (b & a) ^ 5,
    "{2{A}} ^ B": lambda a, b: (a << 3 | a) ^ b,
}


@pytest.mark.parametrize("text", OPERATORS)
def test_operators(read, text):
    unit = read(f"module mul3u_x(input [2:0] A, input [2:0] B, output [5:0] O); assign O = {text}; endmodule")
    assert products(unit, every_pair(unit)) == [OPERATORS[text](a, b) % 64 for a, b in every_pair(unit)]


CELLS = {
    "INVX1": lambda a: {"Y": 1 - a},
    "BUFX2": lambda a: {"Y": a},
    "AND2X1": lambda a, b: {"Y": a * b},
    "OR2X1": lambda a, b: {"Y": max(a, b)},
    "XOR2X1": lambda a, b: {"Y": int(a != b)},
    "XNOR2X1": lambda a, b: {"Y": int(a == b)},
    "NAND2X1": lambda a, b: {"Y": 1 - a * b},
    "NAND3X1": lambda a, b, c: {"Y": 1 - a * b * c},
    "NOR2X1": lambda a, b: {"Y": 1 - max(a, b)},
    "NOR3X1": lambda a, b, c: {"Y": 1 - max(a, b, c)},
    "AOI21X1": lambda a, b, c: {"Y": 1 - max(a * b, c)},
    "AOI22X1": lambda a, b, c, d: {"Y": 1 - max(a * b, c * d)},
    "OAI21X1": lambda a, b, c: {"Y": 1 - max(a, b) * c},
    "OAI22X1": lambda a, b, c, d: {"Y": 1 - max(a, b) * max(c, d)},
    "MUX2X1": lambda a, b, s: {"Y": b if s else a},
    "HAX1": lambda a, b: {"YS": (a + b) % 2, "YC": (a + b) // 2},
    "FAX1": lambda a, b, c: {"YS": (a + b + c) % 2, "YC": (a + b + c) // 2},
}


@pytest.mark.parametrize("cell", CELLS)
def test_cells(read, cell):
    inputs = "ABS" if cell == "MUX2X1" else "ABCD"[: CELLS[cell].__code__.co_argcount]
    outputs = list(CELLS[cell](*[0] * len(inputs)))
    bits = dict(zip(inputs, ["A[0]", "A[1]", "B[0]", "B[1]"]))
    ports = [f".{port}({bit})" for port, bit in bits.items()] + [f".{port}(O[{n}])" for n, port in enumerate(outputs)]
    rest = f"assign O[3:{len(outputs)}] = 0;"
    head = "module mul2u_x(A, B, O); input [1:0] A, B; output [3:0] O;"
    unit = read(f"{head} {cell} u({', '.join(ports)}); {rest} endmodule")
    for (a, b), found in zip(every_pair(unit), products(unit, every_pair(unit))):
        given = [a & 1, a >> 1, b & 1, b >> 1][: len(inputs)]
        assert found == sum(CELLS[cell](*given)[port] << n for n, port in enumerate(outputs))


def test_every_cell_has_its_sizes():
    names = {name.rstrip("0123456789").rstrip("X") for name in CELLS}
    assert {name.rstrip("0123456789").rstrip("X") for name in verilog_circuit.CELLS} == names | {"CLKBUF"}


def test_a_module_in_the_file_hides_the_cell_of_its_name(read):
    text = (
        "module mul2u_x(input [1:0] A, input [1:0] B, output [3:0] O);"
        " AND2X1 u(.A(A[0]), .B(B[0]), .Y(O[0])); assign O[3:1] = 0; endmodule\n"
        "module AND2X1(input A, B, output Y); assign Y = A | B; endmodule"
    )
    unit = read(text)
    assert products(unit, every_pair(unit)) == [(a | b) & 1 for a, b in every_pair(unit)]


def test_long_chains_need_no_recursion(read):
    steps = "".join(f"INVX1 i{n}(w[{n}], w[{n + 1}]);\n" for n in range(5000))
    text = (
        "module mul2u_x(input [1:0] A, input [1:0] B, output [3:0] O);\n wire [5000:0] w;\n"
        f"{steps} assign w[0] = A[0], O[0] = w[5000], O[3:1] = {'|'.join(['B'] * 5000)}; endmodule"
    )
    unit = read(text)
    assert unit.gates is None and unit.outputs == (2, 4, 5, 0)


# What is refused

TOP = "module mul2u_x(A, B, O);\n input [1:0] A, B;\n output [3:0] O;\n {}\nendmodule"
DONE = "assign O = 0;"
HOSTILE = {
    "include": ('`include "/etc/passwd"\n' + TOP.format(DONE), "line 1: '`include \"/etc/passwd\"' has no place here"),
    "define": (TOP.format("`define X 1\n" + DONE), "line 4: '`define X 1' has no place"),
    "initial": (TOP.format("initial begin end " + DONE), "line 4: 'initial' has no place in a combinational circuit"),
    "always": (TOP.format("always @(A) O = B; " + DONE), "line 4: 'always' has no place"),
    "system": (TOP.format('$system("rm -rf /"); ' + DONE), "line 4: '$system' has no place"),
    "system_value": (TOP.format("assign O = $random;"), "line 4: unexpected '$random' in an expression"),
    "register": (TOP.format("reg x; " + DONE), "line 4: 'reg' has no place"),
    "signed": (
        "module mul2u_x(input signed [1:0] A, input [1:0] B, output [3:0] O); endmodule",
        "line 1: 'signed' has no",
    ),
    "loop": (
        TOP.format("wire x, y; assign x = y & A[0];\nassign y = ~x; assign O = x;"),
        "line 5: bit 0 of 'x' depends",
    ),
    "self": (TOP.format("wire x; assign x = x; assign O = x;"), "line 4: bit 0 of 'x' depends on itself"),
    "undriven": (TOP.format("wire [2:1] x;\nassign O = x;"), "line 5: bit 0 of 'x' has no driver"),
    "undriven_output": (TOP.format("assign O[2:0] = 0;"), "line 1: bit 3 of 'O' has no driver"),
    "unconnected": (
        TOP.format("AND2X1 u(.A(A[0]), .Y(O[0])); assign O[3:1] = 0;"),
        "line 4: port 'B' of AND2X1 is not connected",
    ),
    "two_drivers": (TOP.format("assign O = 0;\nassign O[1] = A[0];"), "line 5: bit 1 of 'O' has two drivers"),
    "driven_input": (TOP.format("assign A[1] = 0; " + DONE), "line 1: bit 1 of 'A', an input, has a driver"),
    "undeclared": (TOP.format("assign O = x;"), "line 4: 'x' is not declared"),
    "outside": (TOP.format("assign O = A[2];"), "line 4: 'A' has bits [1:0], not [2:2]"),
    "variable_index": (TOP.format("assign O = A[B];"), "line 4: 'B' is no number of 0s and 1s"),
    "ascending": (TOP.format("wire [0:3] x; " + DONE), "line 4: a range must fall, from at most 65535, not [0:3]"),
    "huge_range": (TOP.format("wire [99999999:0] x; " + DONE), "line 4: a range must fall, from at most 65535"),
    "twice": (TOP.format("wire x; wire [1:0] x; " + DONE), "line 4: 'x' is declared twice"),
    "unknown": (TOP.format("assign O = 4'b10xz;"), 'line 4: "4\'b10xz" is no number of 0s and 1s'),
    "no_width": (TOP.format("assign O = {'b1, A};"), "line 4: \"'b1\" needs a width, such as 1'b1"),
    "signed_number": (TOP.format("assign O = 8'shFF;"), 'line 4: signed numbers are not read: "8\'shFF"'),
    "wider_than_its_port": (
        TOP.format("wire [3:0] x;\nAND2X1 u(A[0], B[0], x);\nassign O = x;"),
        "line 6: bit 1 of 'x' has no driver",
    ),
    "wide_number": (TOP.format("assign O = 2'd4;"), 'line 4: "2\'d4" does not fit in its width'),
    "no_cell": (TOP.format("SRAM u(A, O);"), "line 4: there is no module or known cell 'SRAM'"),
    "no_port": (TOP.format("AND2X1 u(.Q(A));"), "line 4: AND2X1 has no port 'Q'"),
    "many_ports": (TOP.format("INVX1 u(A[0], O[0], O[1]);"), "line 4: INVX1 has no port 2"),
    "mixed_ports": (TOP.format("INVX1 u(A[0], .Y(O[0]));"), "line 4: port 'Y' is connected twice, or ports by name"),
    "driven_number": (TOP.format("INVX1 u(A[0], 1'b0);"), "line 4: an output must be connected to a net"),
    "nested": (TOP.format(f"assign O = {'(' * 9999}A{')' * 9999};"), "line 4: the expression is nested more than 100"),
    "alternating": (TOP.format(f"assign O = {'A+A-' * 999}A;"), "line 4: the expression is nested more than 100"),
    "repeated": (TOP.format("assign O = {9999{{9999{A}}}};"), "line 4: the expression is more than 65536 bits wide"),
    "no_repeat": (TOP.format("assign O = {A{B}};"), "line 4: how often to repeat must be a number from 1"),
    "recursion": (
        TOP.format("m x(A[0], O[0]);") + "\nmodule m(input a, output b); m x(a, b); endmodule",
        "line 6: modules are nested more than 16 deep",
    ),
    "doubling": (
        TOP.format("m0 x(); m0 y();")
        + "".join(f"\nmodule m{n}(); {f'm{n + 1} x(); ' * 60} endmodule" for n in range(12))
        + "\nmodule m12(); endmodule",
        "the circuit takes more than 2097152 steps",
    ),
    "two_tops": (
        TOP.format(DONE) + "\n" + TOP.format(DONE).replace("mul2u_x", "mul2u_y"),
        "line 1: exactly one module that no",
    ),
    "no_top": (TOP.format(DONE).replace("A", "X"), "line 1: exactly one module that no other uses"),
    "same_name": (TOP.format(DONE) + "\n" + TOP.format(DONE), "line 6: module 'mul2u_x' stands twice"),
    "half_declared": ("module m(x); endmodule", "line 1: port 'x' of m is neither input nor output"),
    "no_end": ("module m(input x);", "line 1: the file ends too early"),
    "not_verilog": ("hello", "line 1: expected 'module', not 'hello'"),
    "empty": ("", "line 1: exactly one module that no other uses"),
    "wide": (TOP.format(DONE).replace("1:0", "16:0"), "bits must be from 2 to 16, not 17"),
    "too_wide": (TOP.replace("[3:0] O", "[4:0] O").format("assign O = 31;"), "the result must be of at most 4 bits"),
    "no_sign": (TOP.format(DONE).replace("mul2u_x", "times"), "signed must be given: the name times does not tell it"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_verilog_is_refused_in_one_line(read, tmp_path, case):
    text, message = HOSTILE[case]
    with pytest.raises(ValueError) as caught:
        read(text, format="verilog")
    assert str(caught.value).startswith(f"{tmp_path / 'circuit.v'}: {message}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


VALID = [
    text.replace("(", " ( ").replace(")", " ) ").replace(";", " ; ").replace(",", " , ").split()
    for text in (verilog(2, 2, True, "mul2s_x", "PDKGEN"), verilog(3, 2, False, "mul3x2u_x", None))
]
INSERTED = [[], ["("], ["99999"], ["\x00"], ["'b"], ["~"], ["{"], ["assign"], ["endmodule"], ["[", "7", ":", "0", "]"]]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_verilog_never_escapes(data, tmp_path_factory):
    """Whatever tokens are dropped, doubled or exchanged, the file is read or refused in one line."""
    tokens = list(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        place, other = (data.draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        tokens[place : place + 1] = data.draw(st.sampled_from([[tokens[other]], [tokens[place]] * 2, *INSERTED]))
    path = tmp_path_factory.mktemp("v") / "x.v"
    path.write_text(" ".join(tokens))
    try:
        multipliers.read(path, "verilog", signed=True)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_refused(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("v") / "x.v"
    path.write_text(text)
    with pytest.raises(ValueError):
        multipliers.read(path, "verilog", signed=True)


def test_c_and_verilog_of_one_circuit_are_one_function(read, tmp_path):
    from circuits import c_shifted

    path = tmp_path / "circuit.c"
    path.write_text(c_shifted(5, 4, True, "mul5x4s_x"))
    first, second = multipliers.read(path), read(verilog(5, 4, True, "mul5x4s_x"))
    pairs = list(itertools.product(range(-16, 16), range(-8, 8)))
    assert products(first, pairs) == products(second, pairs)
