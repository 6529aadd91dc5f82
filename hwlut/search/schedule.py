"""Weights that rise while a search goes on, so that its policy commits."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["SCHEDULES"]

SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "constant": lambda done: 1.0,
        "linear": lambda done: done,
        "cosine": lambda done: (1 - math.cos(math.pi * done)) / 2,
        "step": lambda done: float(done >= 0.5),
    }
)
"""The share, 0 to 1, of the highest weight, by that of the search that is done, 0 to 1."""
