"""Proofs: what holds of generated Verilog for all time, and for all operands."""

from hwlut.verify.proofs.multiplier import prove_multiplier
from hwlut.verify.proofs.report import Finding, Proof, Trace
from hwlut.verify.proofs.stream import prove_stream

__all__ = ["Finding", "Proof", "Trace", "prove_multiplier", "prove_stream"]
