"""Arrays of real numbers that someone else gave."""

from numbers import Real
from typing import Any

import numpy as np

__all__ = ["reals"]


def reals(label: str, given: Any) -> np.ndarray:
    """`given` as float64 of its own shape.

    Raises TypeError, naming `label`, where an item is no number (text and truth values are none), is
    beyond float64, or where rows differ in length.
    """
    try:
        items = np.asarray(given, dtype=object)
        if all(isinstance(item, Real) and not isinstance(item, bool) for item in items.flat):
            return items.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"{label} must be arrays of real numbers")
