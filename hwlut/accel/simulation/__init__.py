"""Programs on tiles, simulated whole: what comes out is compared, and what it took is told."""

from hwlut.accel.simulation.report import LayerReport, Report
from hwlut.accel.simulation.run import simulate
from hwlut.accel.simulation.tracing import trace

__all__ = ["LayerReport", "Report", "simulate", "trace"]
