"""Checks of values in an ``.rtl.json``, each with a message that names the place."""

from typing import Any

from hwlut.fields import shorten

__all__ = ["check_integer", "check_keys"]


def check_keys(label: str, value: Any, keys: tuple[str, ...]) -> None:
    """Refuse all but an object of exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"{label} must be an object of {', '.join(keys)}, not {shorten(value)}")


def check_integer(label: str, value: Any, low: int, high: int) -> None:
    """Refuse all but an integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{label} must be an integer from {low} to {high}, not {shorten(value)}")
