"""Products of separable form, for operands too wide for a table."""

from collections.abc import Iterable

import numpy as np

from hwlut.decomposition.factors import Factors
from hwlut.decomposition.terms import Terms, int8_factors, narrowed
from hwlut.fields import shorten

__all__ = ["separable"]

_LARGEST = 1 << 62
_SAMPLES = 1 << 14


def separable(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Factors:
    """The table ``sum_i f_i[a] * g_i[b]`` as int8 products, of pairs (f_i, g_i) of integers [A] and [B].

    No table is made. The terms of a pair follow from the ranges of f and g without their gcds: one up to 255, three
    for both from 256 to 2^14 - 1, else the base-256 digits of f times those of g. The result is exact by construction,
    and compared at 16,384 random places (seed 0) all the same.

    Raises
    ------
    TypeError: not pairs of arrays of integers.
    ValueError: no pair, lengths that differ, or a sum of |f_i| * |g_i| that reaches 2^62.
    """
    f, g = _checked(pairs)
    factors = int8_factors(narrowed(Terms.of(f, g)), f.T @ g[:, 0], f[:, 0] @ g)
    random = np.random.default_rng(0)
    a, b = (random.integers(0, x.shape[1], _SAMPLES) for x in (f, g))
    found = factors.p[a] + factors.q[b]
    for u, v, weight in zip(factors.u, factors.v, factors.weights):
        found += weight * u[a].astype(np.int64) * v[b]
    assert np.array_equal(found, np.einsum("ts,ts->s", f[:, a], g[:, b])), "separable: a wrong decomposition"
    return factors


def _checked(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"separable pairs must be of two arrays each, not {shorten(pair)}")
        for side, given in zip(sides, pair):
            values = np.asarray(given)
            if values.dtype.kind not in "iu":
                raise TypeError(f"separable factors must be arrays of integers, not of {values.dtype}")
            if values.ndim != 1 or not values.size:
                raise ValueError(f"separable factors must be non-empty and 1-dimensional, not of shape {values.shape}")
            if side and len(side[0]) != len(values):
                raise ValueError(f"separable factors must be as long as the first, {len(side[0])}, not {len(values)}")
            side.append(values)
    if not sides[0]:
        raise ValueError("separable needs at least one pair")
    largest = sum(_largest(f) * _largest(g) for f, g in zip(*sides))
    if max(largest, *(_largest(x) for side in sides for x in side)) >= _LARGEST:
        raise ValueError("separable products must be below 2^62 in magnitude")
    f, g = (np.stack([x.astype(np.int64) for x in side]) for side in sides)
    return f, g


def _largest(x: np.ndarray) -> int:
    return max(-int(x.min()), int(x.max()))
