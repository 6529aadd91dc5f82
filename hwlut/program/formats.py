"""What the formats and sizes of whole operators must be."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hwlut.fields import shorten
from hwlut.fixed import Fixed

__all__ = ["building", "check_format", "check_size"]


def check_format(label: str, format: Any, low: int, high: int) -> None:
    """TypeError or ValueError where `format` is no Fixed of `low` to `high` bits with a frac."""
    if not isinstance(format, Fixed) or format.frac is None:
        raise TypeError(f"{label} must be a Fixed with a frac, not {shorten(format)}")
    if not low <= format.bits <= high:
        raise ValueError(f"{label} bits must be from {low} to {high}, not {format.bits}")


def check_size(label: str, size: Any, most: int) -> None:
    """TypeError or ValueError where `size` is no integer from 1 to `most`."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{label} must be an integer, not {shorten(size)}")
    if not 1 <= size <= most:
        raise ValueError(f"{label} must be from 1 to {most}, not {size}")


@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Say what cannot be built where a node or a table is refused."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what} cannot be built: {error}") from None
