"""The Verilog around a design, whose outputs say that a promise of its ports is broken."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hwlut.share import share
from hwlut.verify.beats import Stream, streams
from hwlut.verify.proofs.solver import TOP

__all__ = ["Claim", "Surrounding", "claims", "surround"]


@dataclass(frozen=True)
class Claim:
    """A promise. port: of which port. text: what it says. module, parameters, wires: the checker of
    sim/formal_checks.v that watches it, and what that is connected to. slots: registers of the design that say where
    beats are, by their flat names, as that takes them.
    """

    port: str
    text: str
    module: str
    parameters: Mapping[str, int]
    wires: Mapping[str, str]
    slots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surrounding:
    """texts: the Verilog of `TOP`, of checkers and of the design. ties: as `circuit` takes them.

    `TOP` has an output ``broken_N`` of each claim and ``see_PORT`` of each port.
    """

    texts: dict[str, str]
    ties: dict[str, str] = field(default_factory=dict)


def claims(description: Mapping[str, Any], verilog: str) -> list[Claim]:
    """What the ports of such a design promise, but for what can be seen without a clock."""
    found = streams(description)
    made = [claim for stream in found.values() for claim in _handshake(stream, description)]
    if "registers" in description:
        made += _lite()
    elif "rows" not in description and "stream_rows" not in description:
        made += [_beats(description, verilog)]
    return made


def _handshake(stream: Stream, description: Mapping[str, Any]) -> Iterator[Claim]:
    name = stream.name
    signals = [] if stream.input else [f"{name}_tvalid"]
    if "tile" in description and stream.input:
        signals.append(f"{name}_tready")
    yield from _silent(signals)
    if not stream.input:
        payload = [port["name"] for port in stream.ports]
        yield _holds(name, f"{name}_tvalid", f"{name}_tready", payload, "cleared" if "tile" in description else "1'b0")


def _silent(signals: list[str]) -> Iterator[Claim]:
    for signal in signals:
        yield Claim(signal, "low in the cycle after a reset", "hwlut_silent", {}, {"signal": signal})


def _holds(port: str, valid: str, ready: str, payload: list[str], excused: str = "1'b0") -> Claim:
    wires = {"known": "known", "excused": excused, "valid": valid, "ready": ready}
    wires["payload"] = f"{{{', '.join(payload)}}}"
    return Claim(port, "valid and payload stay until ready", "hwlut_holds", {"WIDTH": -1}, wires)


def _keeps(port: str, text: str, most: int, entered: str, left: str, slots: tuple[str, ...] = ()) -> Claim:
    parameters = {"MOST": most, "BITS": most.bit_length() + 2, "SLOTS": len(slots)}
    return Claim(port, text, "hwlut_keeps", parameters, {"known": "known", "entered": entered, "left": left}, slots)


def _moves(stream: str) -> str:
    return f"{stream}_tvalid & {stream}_tready"


def _beats(description: Mapping[str, Any], verilog: str) -> Claim:
    """No beat is lost and none made up: a pipeline holds a beat in each row of registers and one before."""
    most = description["latency"] + 1
    entered, what = _moves("s_axis"), "each beat"
    slots: tuple[str, ...] = ()
    if "sum" in description:
        entered, what = f"{entered} & s_axis_tlast", "each sum"
    else:
        slots = _slots(verilog, description["module"], most)
    return _keeps("m_axis", f"{what} gives one: 0 to {most} are within", most, entered, _moves("m_axis"), slots)


def _slots(verilog: str, module: str, most: int) -> tuple[str, ...]:
    """The registers that say where beats are, where the design has those that hwlut writes; else none."""
    start = re.search(rf"^module \\{module}\.datapath +\(", verilog, re.MULTILINE)
    if start is None:
        return ()
    text = verilog[start.end() : verilog.index("endmodule", start.end())]
    names = ["skid_full", *(f"valid_{row}" for row in range(most - 1))]
    found = [name for name in names if re.search(rf"^  (?:reg|wire) {name};", text, re.MULTILINE)]
    return tuple(f"design.datapath.{name}" for name in found) if len(found) == most else ()


def _lite() -> list[Claim]:
    port = "s_axil"
    signals = [f"{port}_{name}" for name in ("awready", "wready", "bvalid", "arready", "rvalid")]
    made = list(_silent(signals))
    made.append(_holds(f"{port}_b", f"{port}_bvalid", f"{port}_bready", [f"{port}_bresp"]))
    made.append(_holds(f"{port}_r", f"{port}_rvalid", f"{port}_rready", [f"{port}_rdata", f"{port}_rresp"]))
    for request, response in (("aw", "b"), ("w", "b"), ("ar", "r")):
        entered, left = (f"{port}_{each}valid & {port}_{each}ready" for each in (request, response))
        text = f"each {request} gets one response: 0 to 2 wait"
        made.append(_keeps(f"{port}_{response}", text, 2, entered, left))
    return made


def surround(description: Mapping[str, Any], verilog: str, promised: list[Claim]) -> Surrounding:
    """The module `TOP` around a design, with a checker of each of the claims."""
    ports = [port for port in description["ports"] if port["name"] != "clk"]
    lines = [f"module {TOP} ("]
    heads = ["  input clk"]
    heads += [f"  input [{p['width'] - 1}:0] {p['name']}" for p in ports if p["dir"] == "input"]
    heads += [f"  output [{p['width'] - 1}:0] see_{p['name']}" for p in ports]
    heads += [f"  output broken_{number}" for number in range(len(promised))]
    lines += [",\n".join(heads), ");"]
    lines += [f"  wire [{p['width'] - 1}:0] {p['name']};" for p in ports if p["dir"] == "output"]
    lines += [f"  assign see_{p['name']} = {p['name']};" for p in ports]
    named = ", ".join(f".{port['name']}({port['name']})" for port in description["ports"])
    lines += [f"  {description['module']} design ({named});"]
    lines += [f"  wire reset = {'rst' if description['reset'] == 'rst' else '~aresetn'};"]
    lines += ["  reg known = 0;", "  always @(posedge clk) known <= known | reset;"]
    lines += ["  wire cleared;", _cleared(description)]
    widths = {port["name"]: port["width"] for port in description["ports"]}
    ties: dict[str, str] = {}
    for number, claim in enumerate(promised):
        parameters = dict(claim.parameters)
        if "WIDTH" in parameters:
            parameters["WIDTH"] = sum(widths[name] for name in claim.wires["payload"][1:-1].split(", "))
        wires = dict(claim.wires)
        if "SLOTS" in parameters:
            count = len(claim.slots)
            lines.append(f"  wire [{count}:0] slots_{number};")
            ties |= {f"slots_{number}[{slot}]": name for slot, name in enumerate(claim.slots)}
            wires["slots"] = f"slots_{number}"
        given = ", ".join(f".{name}({value})" for name, value in parameters.items())
        shown = ", ".join(f".{name}({wire})" for name, wire in wires.items())
        of = f"#({given}) " if given else ""
        lines.append(
            f"  {claim.module} {of}claim_{number} (.clk(clk), .reset(reset), {shown}, .broken(broken_{number}));"
        )
    lines.append("endmodule\n")
    checkers = share("sim", "formal_checks.v").read_text()
    return Surrounding({"proof.v": "\n".join(lines), "checks.v": checkers, "design.v": verilog}, ties)


def _cleared(description: Mapping[str, Any]) -> str:
    """What says that a write of CLEAR has withdrawn what a tile would send."""
    fields = {
        (register["name"], each["name"]): each["lsb"]
        for register in description.get("registers", ())
        for each in register["fields"]
    }
    bit = fields.get(("CONTROL", "CLEAR"))
    if bit is None:
        return "  assign cleared = 0;"
    names = ("wvalid", "wready", "wdata", "wstrb", "bvalid", "bresp")
    wires = ", ".join(f".{name}(s_axil_{name})" for name in names)
    return f"  hwlut_cleared #(.BIT({bit})) clearing (.clk(clk), .reset(reset), {wires}, .cleared(cleared));"
