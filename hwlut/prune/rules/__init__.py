"""Rules of operators: how the labels of channels pass through them."""

from hwlut.prune.rules import (
    convolutions,
    elementwise,
    lookup,
    movement,
    normalization,
    products,
    reduction,
    reshaping,
)
from hwlut.prune.rules.step import RULES, Results, Step, plain

__all__ = [
    "RULES",
    "Results",
    "Step",
    "convolutions",
    "elementwise",
    "lookup",
    "movement",
    "normalization",
    "plain",
    "products",
    "reduction",
    "reshaping",
]
