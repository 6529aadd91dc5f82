"""Trained models as integer programs."""

from hwlut.lowering.lowering import Lowered, Lowering, export
from hwlut.lowering.simulation import Simulation

__all__ = ["Lowered", "Lowering", "Simulation", "export"]
