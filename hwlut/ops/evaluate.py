"""Units by their tables: the fast way to a unit of few input bits."""

import functools

import torch

from hwlut.fixed import Fixed, signed_bits
from hwlut.ops.lookup import lookup
from hwlut.unit import Unit

__all__ = ["evaluate", "narrowest", "table"]

_INPUT_BITS = 16


@functools.lru_cache(maxsize=64)
def table(unit: Unit, scale: int | None = None, device: torch.device | str = "cpu") -> torch.Tensor:
    """What `unit` returns for every input code, in ascending order, from ``unit.input.min`` on.

    The dtype is the narrowest of int8, uint8, int16, int32 and int64 that holds the output format or, of a unit that
    returns its accumulator, every entry. The tensor is kept for later calls: it is not to be written to. Raises
    TypeError for a unit without a single input and ValueError for one of more than 16 bits or of several channels.
    """
    low, high = _codes(unit)
    codes = torch.arange(low, high + 1)
    results = unit(codes) if scale is None else unit(codes, scale=scale)
    format = getattr(unit, "output", None) or Fixed(signed_bits(int(results.min()), int(results.max())))
    return results.to(device, narrowest(format))


def _codes(unit: Unit) -> tuple[int, int]:
    """The lowest and highest input code of a unit that can be tabulated."""
    format = getattr(unit, "input", None)
    if not isinstance(format, Fixed):
        raise TypeError(f"table unit must be a unit of one input, not {type(unit).__name__}")
    if format.bits > _INPUT_BITS:
        raise ValueError(f"table unit must have at most {_INPUT_BITS} input bits, not {format.bits}")
    channels = getattr(unit, "channels", 1)
    if channels != 1:
        raise ValueError(f"table unit must have one channel, not {channels}")
    return format.min, format.max


def narrowest(format: Fixed) -> torch.dtype:
    """The narrowest of int8, uint8, int16, int32 and int64 that holds every code of `format`."""
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if limits.min <= format.min and format.max <= limits.max:
            return dtype
    return torch.int64


def evaluate(unit: Unit, codes: torch.Tensor, scale: int | None = None) -> torch.Tensor:
    """``unit(codes, scale)`` by one look-up in its table, with the table's dtype.

    The codes are taken to lie in the input format: one outside it is held to the nearer end. Not for
    tracing: a module that is compiled or exported holds `table` in a buffer and calls `lookup`.
    """
    return lookup(codes, table(unit, scale, codes.device), _codes(unit)[0])
