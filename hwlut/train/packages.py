"""Packages that only some models and tasks need."""

import importlib.util

from hwlut.errors import ToolError

__all__ = ["needed"]


def needed(*packages: str, remedy: str = "install it with: pip install 'hwlut[tasks]'") -> None:
    """Raise ToolError for the first package that is not installed; none is imported."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ToolError(package, "not found", remedy)
