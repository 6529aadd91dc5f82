"""Accelerators: tiles, the commands that programs become on them, their cycles and their simulation."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwlut.accel.area import TileArea, tile_area
    from hwlut.accel.fit import fit_tile
    from hwlut.accel.regression import TileReport, check_tile
    from hwlut.accel.rtl import TileRtl, generate_tile
    from hwlut.accel.simulation import Report, simulate, trace

__all__ = [
    "Report",
    "TileArea",
    "TileReport",
    "TileRtl",
    "check_tile",
    "fit_tile",
    "generate_tile",
    "simulate",
    "tile_area",
    "trace",
]

_MODULES = {
    "Report": "simulation",
    "TileArea": "area",
    "TileReport": "regression",
    "TileRtl": "rtl",
    "check_tile": "regression",
    "fit_tile": "fit",
    "generate_tile": "rtl",
    "simulate": "simulation",
    "tile_area": "area",
    "trace": "simulation",
}


def __getattr__(name: str) -> Any:
    """Loads Amaranth and torch for what needs them alone."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"hwlut.accel.{_MODULES[name]}"), name)
