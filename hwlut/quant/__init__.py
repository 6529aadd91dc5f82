"""Real values to codes and back: the one quantizer, its ranges, calibration."""

from hwlut.quant.affine import Quantized
from hwlut.quant.calibration import Calibrated, calibrate
from hwlut.quant.quantizer import Quantizer

__all__ = ["Calibrated", "Quantized", "Quantizer", "calibrate"]
