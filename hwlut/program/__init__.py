"""Programs for whole functions: range reduction around a small table."""

from hwlut.program.functions import FUNCTIONS, range_reduced

__all__ = ["FUNCTIONS", "range_reduced"]
