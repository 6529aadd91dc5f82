"""Pictures of units, a module a kind."""

from hwlut.plot import multiplier as _multiplier  # noqa: F401 (a kind's module registers its picture)
from hwlut.plot import program as _program  # noqa: F401
from hwlut.plot.figure import FORMATS, figure

__all__ = ["FORMATS", "figure"]
