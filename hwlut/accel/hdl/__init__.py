"""Hardware of tiles: what computes, what tells it what to, and the top level of both."""

from hwlut.accel.hdl.executor import Executor
from hwlut.accel.hdl.top import TileTop

__all__ = ["Executor", "TileTop"]
