"""The kinds of unit."""

from hwlut.unit import Resources, Unit, load
from hwlut.units.direct import Direct
from hwlut.units.program import Program
from hwlut.units.pwl import Pwl, Symmetry
from hwlut.units.requantize import Requantize

__all__ = ["Unit", "Resources", "Pwl", "Symmetry", "Direct", "Program", "Requantize", "load"]
