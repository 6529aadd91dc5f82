"""The protocol of a design's ports, proven for all time."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from hwlut.hdl import Rtl
from hwlut.verify.proofs.clocks import one_clock
from hwlut.verify.proofs.paths import paths
from hwlut.verify.proofs.report import Finding, Proof, Trace
from hwlut.verify.proofs.solver import Answer, Circuit, circuit, prover
from hwlut.verify.proofs.surround import Claim, claims, surround

__all__ = ["prove_stream", "trace_of"]

SECONDS = 60.0
"""For each promise, by default."""


def prove_stream(design: Rtl, seconds: float = SECONDS) -> Proof:
    """Prove what the ports of `design` promise (docs/verification.md), whatever is offered to it and whatever registers
    begin with.

    First multiplications and memories may give anything: most promises hold all the same, and so for what they do give.
    What is left is proven or refuted of the whole design.

    Parameters
    ----------
    design: Verilog and description, with a clock.
    seconds: for each promise; what takes longer is unknown.

    Raises ValueError for a design without a clock, for one with others than ``clk`` and those gated from it, and for
    Verilog that yosys refuses; ToolError where yosys or its abc is missing.
    """
    started = time.perf_counter()
    description = design.description
    if description["reset"] is None:
        raise ValueError(f"{description['module']} must have a clock, or be a multiplier's")
    tool = prover()
    verilog = one_clock(design.verilog, description["module"])
    found = _without_paths(verilog, description)
    promised = claims(description, verilog)
    surrounding = surround(description, verilog, promised)
    answers: dict[int, Finding] = {}
    for cut in (True, False):
        left = [number for number in range(len(promised)) if number not in answers]
        if not left:
            break
        with circuit(surrounding.texts, len(promised), cut, surrounding.ties) as made:
            for number in left:
                answer = made.ask(number, seconds)
                if answer.never or not cut:
                    answers[number] = _finding(promised[number], answer, made, description)
    return Proof(
        design=description["module"],
        digest=description["digest"],
        tool=tool,
        findings=(*found, *(answers[number] for number in range(len(promised)))),
        seconds=time.perf_counter() - started,
    )


def _without_paths(verilog: str, description: Mapping[str, Any]) -> list[Finding]:
    started = time.perf_counter()
    found = paths(verilog, description["module"])
    seconds = time.perf_counter() - started
    return [
        Finding(
            port=port["name"],
            text=f"no logic leads to it from {found.get(port['name'], 'any input')}",
            proven=port["name"] not in found,
            by="structure",
            depth=0,
            seconds=seconds,
        )
        for port in description["ports"]
        if port["dir"] == "output"
    ]


def _finding(claim: Claim, answer: Answer, made: Circuit, description: Mapping[str, Any]) -> Finding:
    trace = trace_of(made, answer, description["ports"]) if answer.never is False else None
    by, depth, seconds = answer.by, answer.depth, answer.seconds
    return Finding(
        port=claim.port, text=claim.text, proven=answer.never, by=by, depth=depth, seconds=seconds, trace=trace
    )


def trace_of(made: Circuit, answer: Answer, ports: Sequence[Mapping[str, Any]]) -> Trace:
    """What the ports show of a counterexample."""
    widths = {port["name"]: port["width"] for port in ports if port["name"] != "clk"}
    cycles = made.graph.run(answer.inputs)
    return Trace(widths, tuple({name: cycle[f"see_{name}"] for name in widths} for cycle in cycles))
