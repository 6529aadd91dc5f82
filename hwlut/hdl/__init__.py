"""Hardware: Amaranth components of units, and the Verilog they become."""

from hwlut.hdl import direct as _direct  # noqa: F401 (a kind's module registers its component)
from hwlut.hdl import lut_matmul as _lut_matmul  # noqa: F401
from hwlut.hdl import multiplier as _multiplier  # noqa: F401
from hwlut.hdl import program as _program  # noqa: F401
from hwlut.hdl import pwl as _pwl  # noqa: F401
from hwlut.hdl import requantize as _requantize  # noqa: F401
from hwlut.hdl.axi import RESETS
from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.description import read_description
from hwlut.hdl.emit import Rtl, generate, verilog
from hwlut.hdl.reload import load_entries

__all__ = ["RESETS", "Rtl", "UnitComponent", "component", "generate", "load_entries", "read_description", "verilog"]
