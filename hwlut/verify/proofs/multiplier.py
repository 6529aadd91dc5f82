"""A multiplier's Verilog and gates against its definition, for all operands."""

import time

from hwlut.hdl import Rtl, generate
from hwlut.units.multiplier import Multiplier
from hwlut.verify.proofs.definitions import DEFINED, definition
from hwlut.verify.proofs.report import Finding, Proof
from hwlut.verify.proofs.solver import TOP, circuit, prover
from hwlut.verify.proofs.stream import SECONDS, trace_of

__all__ = ["prove_multiplier"]


def prove_multiplier(
    unit: Multiplier, design: Rtl | None = None, gates: bool = True, seconds: float = SECONDS
) -> Proof:
    """Prove that a combinational design of `unit` computes what docs/multipliers.md says, for every pair of operands.

    Parameters
    ----------
    unit: a multiplier of a family with a formula, or a netlist.
    design: its Verilog; by default that of `generate`.
    gates: prove it also of the netlist that yosys makes of the Verilog, in standard cells.
    seconds: for each; operands of up to 20 bits together take as long as all their values, wider ones are left to SAT.

    Raises ValueError for a table and for Verilog that yosys refuses; ToolError where a tool or the cells are missing.
    """
    started = time.perf_counter()
    if unit.family not in DEFINED:
        raise ValueError(f"Multiplier family must be one of a formula, or netlist, not {unit.family.value}")
    rtl = generate(unit, combinational=True) if design is None else design
    if rtl.description["reset"] is not None:
        raise ValueError(f"{unit.name} must be combinational to be proven equal to its definition")
    texts = {"Verilog": rtl.verilog}
    if gates:
        from hwlut.verify.synthesis.flow import map_verilog

        texts["gates"] = map_verilog(rtl.verilog, rtl.description["module"]).flat
    ports = rtl.description["ports"]
    findings = []
    for what, verilog in texts.items():
        with circuit({"proof.v": _miter(unit, rtl), "definition.v": definition(unit), "design.v": verilog}, 1) as made:
            answer = made.ask(0, seconds)
            findings.append(
                Finding(
                    port=what,
                    text="p is the definition's of every a and b",
                    proven=answer.never,
                    by=answer.by,
                    depth=answer.depth,
                    seconds=answer.seconds,
                    trace=trace_of(made, answer, ports) if answer.never is False else None,
                )
            )
    return Proof(
        design=rtl.description["module"],
        digest=unit.digest,
        tool=prover(),
        findings=tuple(findings),
        seconds=time.perf_counter() - started,
    )


def _miter(unit: Multiplier, rtl: Rtl) -> str:
    """`TOP`: the design beside the definition."""
    a, b, p = (f"[{format.bits - 1}:0]" for format in (unit.a, unit.b, unit.product))
    return f"""module {TOP} (
  input {a} a, input {b} b, output {a} see_a, output {b} see_b, output {p} see_p, output broken_0
);
  wire {p} p, q;
  assign see_a = a;
  assign see_b = b;
  assign see_p = p;
  {rtl.description["module"]} design (.a(a), .b(b), .p(p));
  definition defined (.a(a), .b(b), .p(q));
  assign broken_0 = p != q;
endmodule
"""
