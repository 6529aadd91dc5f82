"""The numbers of look-ups in the form that standard tensor operators take them.

Codes and prototypes are counted from the zero point, so that a padded zero is 0, and held in float32, as their
distances are: |d| sums and maxima are at most 255 v. A squared distance is compared as p p - 2 p x, in float32 where no
number of it can pass 2^24, else in float64: exact in any order. Operands are at most 2^9, which TF32 holds too.
"""

import numpy as np

from hwlut.units.lut_matmul import CODE, LutMatmul

__all__ = ["first_entries", "leaves", "prototypes", "squares"]

_EXACT = 1 << 24  # integers up to here are float32 numbers


def squares(unit: LutMatmul) -> tuple[np.ndarray, np.ndarray]:
    """-2 p as [C, v, K] and p p as [C, 1, K], both in the type in which p p - 2 p x is exact."""
    counted = _counted(unit, np.float64)
    squared = np.square(counted).sum(-1)
    longest = max(unit.zero_point - CODE.min, CODE.max - unit.zero_point)
    greatest = (squared + 2 * longest * np.abs(counted).sum(-1)).max()
    dtype = np.float32 if greatest <= _EXACT else np.float64
    return np.swapaxes(-2 * counted, 1, 2).astype(dtype, order="C"), squared[:, None].astype(dtype)


def prototypes(unit: LutMatmul) -> np.ndarray:
    """Prototypes as float32 [C, K, v]."""
    return _counted(unit, np.float32)


def leaves(unit: LutMatmul) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of trees: thresholds float32 [C (K - 1)], the input of a padded row that each compares at each level
    int64 [depth, C], and the place of each tree's first threshold int64 [C]."""
    assert unit.thresholds is not None and unit.dimensions is not None
    thresholds = unit.thresholds.astype(np.int64) - unit.zero_point
    codebooks = np.arange(unit.codebooks, dtype=np.int64)
    inputs = unit.dimensions.astype(np.int64).T + unit.v * codebooks
    return thresholds.ravel().astype(np.float32), inputs, codebooks * (unit.k - 1)


def first_entries(unit: LutMatmul) -> np.ndarray:
    """The row of each codebook's first entry in the table as [C K, M], int64 [C]."""
    return np.arange(unit.codebooks, dtype=np.int64) * unit.k


def _counted(unit: LutMatmul, dtype: type) -> np.ndarray:
    assert unit.prototypes is not None
    return (unit.prototypes.astype(np.int64) - unit.zero_point).astype(dtype)
