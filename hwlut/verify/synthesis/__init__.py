"""Synthesis: what a unit takes up once it is gates or look-up tables, before layout."""

from hwlut.verify.synthesis import alternatives as _alternatives  # noqa: F401 (registers its kinds with compare)
from hwlut.verify.synthesis import shipped as _shipped  # noqa: F401
from hwlut.verify.synthesis.batch import synthesize_each
from hwlut.verify.synthesis.compare import Candidate, Comparison, compare, picture
from hwlut.verify.synthesis.flow import TARGETS, Netlist, map_verilog
from hwlut.verify.synthesis.liberty import Liberty
from hwlut.verify.synthesis.modules import Hierarchy, Part, map_modules
from hwlut.verify.synthesis.synthesize import Synthesis, synthesize

__all__ = [
    "TARGETS",
    "Candidate",
    "Comparison",
    "Hierarchy",
    "Liberty",
    "Netlist",
    "Part",
    "Synthesis",
    "compare",
    "map_modules",
    "map_verilog",
    "picture",
    "synthesize",
    "synthesize_each",
]
