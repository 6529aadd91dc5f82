"""Explorations of designs: networks and arrays, by measured accuracy and synthesised costs."""

from hwlut.explore.choices import Array, LookUps, Network
from hwlut.explore.costs import Budget
from hwlut.explore.driver import explore
from hwlut.explore.result import Design, Exploration, Trained
from hwlut.explore.space import Space

__all__ = ["Array", "Budget", "Design", "Exploration", "LookUps", "Network", "Space", "Trained", "explore"]
