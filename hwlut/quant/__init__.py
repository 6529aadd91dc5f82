"""Real values to codes and back: the one quantizer, its ranges, calibration."""

import importlib
from typing import Any

from hwlut.quant.affine import Quantized
from hwlut.quant.calibration import Calibrated, calibrate
from hwlut.quant.formats import Format, Minifloat, parse_format
from hwlut.quant.quantizer import Quantizer
from hwlut.quant.ranged import RangedQuantizer
from hwlut.quant.steps import multiplier_and_shift

__all__ = [
    "Calibrated",
    "Format",
    "Minifloat",
    "Quantized",
    "Quantizer",
    "RangedQuantizer",
    "calibrate",
    "multiplier_and_shift",
    "parse_format",
]


def __getattr__(name: str) -> Any:
    if name == "search":  # its home lies above, where models are trained, and imports this package
        return importlib.import_module("hwlut.search").search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
