"""hwlut: from a neural network's operations to verified Verilog.

A unit is a handful of integers; hwlut fits it, runs it in PyTorch, writes it as Verilog, and
proves that all of these agree.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are loaded when first used: torch and Amaranth take seconds, most commands need neither.
_HOMES = {
    "Fixed": "hwlut.fixed",
    "Rounding": "hwlut.fixed",
    "ToolError": "hwlut.errors",
    "Unit": "hwlut.units",
    "Pwl": "hwlut.units",
    "Direct": "hwlut.units",
    "LutMatmul": "hwlut.units",
    "Multiplier": "hwlut.units",
    "Program": "hwlut.units",
    "Requantize": "hwlut.units",
    "load": "hwlut.importers",
    "component": "hwlut.hdl",
    "verilog": "hwlut.hdl",
    "check": "hwlut.verify",
    "Simulation": "hwlut.lowering",
    "export": "hwlut.lowering",
}

__all__ = ["__version__", "fit", *_HOMES]

if TYPE_CHECKING:
    from hwlut.errors import ToolError
    from hwlut.fit import fit
    from hwlut.fixed import Fixed, Rounding
    from hwlut.hdl import component, verilog
    from hwlut.importers import load
    from hwlut.lowering import Simulation, export
    from hwlut.units import Direct, LutMatmul, Multiplier, Program, Pwl, Requantize, Unit
    from hwlut.verify import check


def __getattr__(name: str) -> Any:
    if name == "fit":  # a package that is called: hwlut.fit("gelu")
        return importlib.import_module("hwlut.fit")
    if name not in _HOMES:
        raise AttributeError(f"module 'hwlut' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
