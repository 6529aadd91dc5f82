"""Real numbers to the codes of a port, and back."""

import torch

from hwlut.units.codes import result_dtype
from hwlut.units.ports import Port

__all__ = ["decoded", "encoded"]

_FLOAT_BITS = 24  # significant ones


def encoded(port: Port, x: torch.Tensor) -> torch.Tensor:
    """Codes of real numbers, ``round_half_even(x / step) + zero_point``, saturated, NaN to the code of zero.

    int32 where that holds the format, else int64. The division is in float32, as that of quantizers, where that holds
    step and codes, and `x` is no float64; else in float64. Of a port of integers, `x` itself; TypeError where that is
    real.
    """
    if not port.real:
        if x.is_floating_point() or x.is_complex():
            raise TypeError(f"Program input {port.name!r} must be integers, not {x.dtype}")
        return x.int() if x.dtype == torch.bool else x
    step = torch.tensor(port.scale, dtype=torch.float64, device=x.device)
    if x.dtype != torch.float64 and port.format.bits <= _FLOAT_BITS and port.scale == float(step.float()):
        step = step.float()
    low, high, zero = port.format.min, port.format.max, port.zero_point
    steps = (x.to(step.dtype) / step).nan_to_num(0.0, torch.inf, -torch.inf)
    return (steps.clamp(low - zero, high - zero).round().to(torch.int64) + zero).to(result_dtype(port.format))


def decoded(port: Port, codes: torch.Tensor) -> torch.Tensor:
    """float32 numbers that codes of a `port` stand for, rounded once; of the shape of the codes."""
    return ((codes.double() - port.zero_point) * port.scale).float()
