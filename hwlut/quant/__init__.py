"""Real values to codes and back: the one quantizer, its observer, calibration."""

from hwlut.quant.calibration import calibrate
from hwlut.quant.observer import Observer
from hwlut.quant.quantizer import Quantizer

__all__ = ["Observer", "Quantizer", "calibrate"]
