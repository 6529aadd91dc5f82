"""Numbers of few bits in int64 arrays."""

from typing import Any

import numpy as np

from hwlut.fixed import Fixed, Rounding

__all__ = ["from_bits", "from_bytes", "low_bits", "round_shift", "to_bytes", "wrap"]


def wrap(values: Any, bits: int) -> Any:
    """The low bits of int64 values as two's complement."""
    return np.int64(values) << (64 - bits) >> (64 - bits)


def low_bits(values: Any, format: Fixed) -> Any:
    """The low bits of int64 values as a code."""
    return wrap(values, format.bits) if format.signed else values & format.max


def from_bytes(data: np.ndarray, bits: int) -> np.ndarray:
    """int64 [...], two's complement, from the low bits of up to 8 bytes each, uint8 [..., bytes]."""
    whole = np.zeros((*data.shape[:-1], 8), np.uint8)
    whole[..., : data.shape[-1]] = data
    return wrap(whole.view("<i8")[..., 0], bits)


def to_bytes(values: np.ndarray, size: int) -> np.ndarray:
    """uint8 [..., size] of int64 values, the low end first."""
    return values.astype("<i8")[..., None].view(np.uint8)[..., :size]


def from_bits(bits: np.ndarray, signed: bool = True) -> np.ndarray:
    """int64 [...] of uint8 bits [..., at most 63], the low end first."""
    count = bits.shape[-1]
    found = from_bytes(np.packbits(bits, axis=-1, bitorder="little"), 64)
    return wrap(found, count) if signed else found


def round_shift(values: np.ndarray, shift: Any, rounding: Rounding) -> np.ndarray:
    """``round(values * 2^-shift)`` exactly, of shifts from 0 to 63 that broadcast."""
    shift = np.int64(shift)
    kept = values >> shift
    if rounding is Rounding.FLOOR:
        return kept
    below = np.maximum(shift - 1, 0)  # place of the half
    half = (values >> below) & (shift > 0)
    if rounding is Rounding.HALF_EVEN:
        half &= ((values & (np.int64(1) << below) - 1) != 0) | kept
    return kept + (half & 1)
