"""Proofs of generated ports: a wrapper that breaks a promise of one is refuted in just that."""

import re

import pytest
from lut_units import random_unit
from test_proofs import HAND, direct, proof_of

from hwlut import Fixed, Multiplier, load
from hwlut.accel import generate_tile
from hwlut.hdl import Rtl, generate
from hwlut.program import softmax
from hwlut.units import Tile
from hwlut.verify.proofs import prove_stream

HOLD = "valid and payload stay until ready"
SILENT = "low in the cycle after a reset"

NARROW = Tile(
    rows=1,
    columns=1,
    multipliers=(Multiplier(family="exact", bits=2, signed=True),),
    accumulator_bits=8,
    value_bits=8,
    input_bits=2,
    factor_bits=8,
    operations=(),
    loops=1,
    values=2,
    inputs=2,
    weights=2,
    constants=2,
)
"""The least of all, since a promise that does not hold is asked of all logic there is."""


@pytest.fixture(autouse=True)
def tools(need):
    need("yosys", "yosys-abc")


def wrapped(rtl, changed, logic=""):
    """The design within one whose ports are the same but for those `changed`: what drives them, `inner_PORT` being what
    drives an output within; `logic` may use `odd`, which is high in every other cycle.
    """
    module, ports = rtl.description["module"], rtl.description["ports"]
    text = re.sub(rf"\\{module}\.", r"\\inner.", re.sub(rf"(?m)^module {module}\b", "module inner", rtl.verilog))
    lines = [f"module {module} ({', '.join(port['name'] for port in ports)});"]
    lines += [f"  {port['dir']} [{port['width'] - 1}:0] {port['name']};" for port in ports]
    lines += [f"  wire [{port['width'] - 1}:0] inner_{port['name']};" for port in ports]
    lines += ["  reg odd;", "  always @(posedge clk) odd <= ~odd;", f"  {logic}"]
    for port in ports:
        name, output = port["name"], port["dir"] == "output"
        target, source = (name, f"inner_{name}") if output else (f"inner_{name}", name)
        lines.append(f"  assign {target} = {changed.get(name, source)};")
    joined = ", ".join(f".{name}(inner_{name})" for name in (port["name"] for port in ports))
    lines += [f"  inner within ({joined});", "endmodule\n"]
    return Rtl(text + "\n".join(lines), rtl.description)


def refuted(rtl, changed, logic=""):
    proof = prove_stream(wrapped(rtl, changed, logic), seconds=20)
    assert all(found.proven is not None for found in proof.findings), str(proof)
    return {(found.port, found.text.partition(":")[0]) for found in proof.findings if found.proven is False}


@pytest.fixture(scope="module")
def tile():
    return generate_tile(NARROW, "rst")


def test_a_tile_wrapped_is_proven(tile):
    assert refuted(tile, {}) == set()


def test_ports_of_a_tile(tile):
    changed = {
        "m_axis_tdata": "inner_m_axis_tdata ^ odd",
        "m_axis_mark_tvalid": "inner_m_axis_mark_tvalid & odd",
        "s_axis_tready": "inner_s_axis_tready | odd",
        "s_axil_rdata": "inner_s_axil_rdata ^ odd",
        "s_axil_bvalid": "inner_s_axil_bvalid & odd",
    }
    assert refuted(tile, changed) == {
        ("m_axis", HOLD),
        ("m_axis_mark", HOLD),
        ("s_axis_tready", SILENT),
        ("s_axil_r", HOLD),
        ("s_axil_b", HOLD),
        ("s_axil_b", "each aw gets one response"),
        ("s_axil_b", "each w gets one response"),
    }


def test_responses_of_a_tile(tile):
    found = refuted(tile, {"s_axil_arready": "1'b1", "s_axil_bvalid": "inner_s_axil_bvalid | odd"})
    assert found >= {("s_axil_r", "each ar gets one response"), ("s_axil_b", "each w gets one response")}


def test_only_a_write_of_clear_withdraws(tile):
    """Not a cycle later, and not another write."""
    logic = "reg answered; always @(posedge clk) answered <= s_axil_bvalid;"
    changed = {
        "m_axis_tvalid": "inner_m_axis_tvalid & !answered",
        "m_axis_mark_tvalid": "inner_m_axis_mark_tvalid & !(s_axil_bvalid & !answered & s_axil_bresp == 0)",
    }
    assert refuted(tile, changed, logic) == {("m_axis", HOLD), ("m_axis_mark", HOLD)}


UNITS = {
    "LutMatmul": lambda: generate(
        random_unit(1, encoder="tree", k=4, v=1, features=3, outputs=3), banks=2, tile=2, encoders=1
    ),
    "reloadable": lambda: generate(load("pretrained/gelu_8.json"), scale=5, reloadable=True, stages=1),
    "softmax": lambda: generate(softmax(input=Fixed(6, 4), output=Fixed(6, 6, signed=False), most=4)),
}


@pytest.mark.parametrize("kind", UNITS)
def test_ports_of_units(kind):
    changed = {"m_axis_tdata": "inner_m_axis_tdata ^ odd"}
    assert refuted(UNITS[kind](), changed) == {("m_axis", HOLD)}


@pytest.mark.parametrize(
    "changed, text",
    [
        ({"s_axis_tvalid": "s_axis_tvalid & odd"}, "each beat gives one"),
        ({"s_axis_tlast": "s_axis_tlast & odd"}, "each sum gives one"),
    ],
    ids=["beats", "sums"],
)
def test_losses(changed, text):
    sums = "s_axis_tlast" in changed
    rtl = generate(Multiplier(name="sums", family="exact", bits=4), terms=4) if sums else generate(direct(), stages=1)
    assert refuted(rtl, changed) == {("m_axis", text)}


GATED = HAND.replace(
    "      data <= (full ? held : s_axis_tdata) * 3;\n",
    "",
).replace(
    "endmodule",
    """  reg runs;
  wire gated = clk & runs;
  always @(negedge clk) runs <= move;
  always @(posedge gated) data <= (full ? held : s_axis_tdata) * 3;
endmodule""",
)


def test_a_gated_clock_is_an_enable():
    assert proof_of(GATED).ok
    (found,) = [each for each in proof_of(GATED.replace("runs <= move", "runs <= 1")).findings if not each.proven]
    assert (found.port, found.text) == ("m_axis", HOLD)


def test_a_gated_memory_keeps_what_it_holds():
    """One that is written where the gate is shut, too, shows another payload."""
    text = GATED.replace("  always @(posedge gated) data", "  reg [7:0] kept [0:1]; always @(posedge gated) kept[0]")
    text = text.replace("m_axis_tdata = data", "m_axis_tdata = kept[0]")
    assert proof_of(text).ok
    (found,) = [each for each in proof_of(text.replace("runs <= move", "runs <= 1")).findings if not each.proven]
    assert (found.port, found.text) == ("m_axis", HOLD)
