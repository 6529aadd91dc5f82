"""The picture of a unit, found by the unit's kind."""

from functools import singledispatch
from typing import TYPE_CHECKING

from hwlut.plot.function import function_figure
from hwlut.unit import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "figure"]

FORMATS = ("png", "svg", "pdf")
"""Endings of the files that a picture can be saved to."""


@singledispatch
def figure(unit: Unit, domain: tuple[float, float] | None = None) -> "Figure":
    """A picture of `unit`: of one that names its function as `hwlut.plot.function` draws it over `domain`; of a
    Multiplier, which takes no domain, its errors.

    Raises ValueError for a unit that is neither.
    """
    return function_figure(unit, domain)
