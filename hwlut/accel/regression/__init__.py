"""Tiles in simulators, on random commands and on commands in error: what they do is what the model does."""

from hwlut.accel.regression.cases import Case, errors, runs
from hwlut.accel.regression.check import ENGINES, check_tile
from hwlut.accel.regression.report import TileReport

__all__ = ["ENGINES", "Case", "TileReport", "check_tile", "errors", "runs"]
