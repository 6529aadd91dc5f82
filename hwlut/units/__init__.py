"""The kinds of unit."""

from hwlut.unit import Resources, Unit, load
from hwlut.units import applied, movement, operations, patches, products, reductions
from hwlut.units.direct import Direct
from hwlut.units.families import Family
from hwlut.units.lut_matmul import Encoder, LutMatmul
from hwlut.units.metrics import Metrics
from hwlut.units.multiplier import Multiplier
from hwlut.units.ports import Port
from hwlut.units.program import Program
from hwlut.units.pwl import Pwl, Symmetry
from hwlut.units.requantize import Requantize
from hwlut.units.tile import Operation, Tile

_NODES = applied, movement, operations, patches, products, reductions  # registered by being imported

__all__ = [
    "Unit",
    "Resources",
    "Pwl",
    "Symmetry",
    "Direct",
    "Encoder",
    "Family",
    "LutMatmul",
    "Metrics",
    "Multiplier",
    "Port",
    "Program",
    "Operation",
    "Requantize",
    "Tile",
    "load",
]
