"""Sums of weighted outer products of integer vectors, and how to narrow them to int8."""

from typing import NamedTuple

import numpy as np

from hwlut.decomposition.factors import Factors

__all__ = ["RANGE", "Terms", "int8_factors", "narrowed", "ranges"]

RANGE = 255
"""The widest difference of two values of a vector that an offset brings into int8."""

_DIGIT = 256
_HALF_DIGIT = 128


class Terms(NamedTuple):
    """The table ``sum_t w[t] * u[t, a] * v[t, b]``; u, v, w: int64 [R, A], [R, B], [R].

    Only its part beyond sums of a row's and a column's number counts here, so a constant may be added to any vector.
    """

    u: np.ndarray
    v: np.ndarray
    w: np.ndarray

    @classmethod
    def of(cls, u: np.ndarray, v: np.ndarray) -> "Terms":
        """Terms of weight 1, with the gcd of each vector moved into the weight and zero terms left out."""
        return cls(u, v, np.ones(len(u), np.int64)).primitive()

    def primitive(self) -> "Terms":
        """The same table: each vector divided by the gcd of its values' differences, zero terms left out."""
        kept = self._replace(u=self.u - self.u[:, :1], v=self.v - self.v[:, :1])
        used = kept.u.any(axis=1) & kept.v.any(axis=1)
        u, v, w = (x[used] for x in kept)
        for x in (u, v):
            divisor = np.gcd.reduce(x, axis=1)
            x //= divisor[:, None]
            w = w * divisor
        return Terms(u, v, w)

    def table(self) -> np.ndarray:
        """int64 [A, B]."""
        return (self.u.T * self.w) @ self.v

    def joined(self, other: "Terms") -> "Terms":
        """The sum of two tables."""
        return Terms(*(np.concatenate(pair) for pair in zip(self, other)))

    def swapped(self) -> "Terms":
        """The transposed table."""
        return Terms(self.v, self.u, self.w)

    def split(self, chosen: np.ndarray) -> "Terms":
        """The same table with the high digit of the wider vector of each `chosen` term (bool [R]) on its own."""
        wider_u = chosen & (ranges(self.u) > ranges(self.v))
        terms = self._split_v(chosen & ~wider_u)
        added = len(terms.w) - len(self.w)
        return terms.swapped()._split_v(np.pad(wider_u, (0, added))).swapped().primitive()

    def _split_v(self, chosen: np.ndarray) -> "Terms":
        low, high = _digits(self.v[chosen], _DIGIT)
        v = self.v.copy()
        v[chosen] = low
        return Terms(self.u, v, self.w).joined(Terms(self.u[chosen], high, self.w[chosen] * _DIGIT))


def ranges(x: np.ndarray) -> np.ndarray:
    """Difference of the largest and the smallest value of each row."""
    return np.ptp(x, axis=1)


def _digits(x: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) with x = low + base * high + a constant for each row, low in 0 .. base - 1, high from 0."""
    shifted = x - x.min(axis=1, keepdims=True)
    return shifted % base, shifted // base


def narrowed(terms: Terms) -> Terms:
    """The same table in terms whose vectors all have a range of at most 255.

    A wide vector is written in base-256 digits, which takes as many terms as there are digits. A product of two
    vectors of range below 2^14 takes three terms and not four (Karatsuba, Soviet Physics Doklady 7, 1963): with
    u = u0 + 128 u1 and v = v0 + 128 v1, u v is -127 u0 v0 + 128 (u0 + u1)(v0 + v1) + 128 * 127 u1 v1.
    """
    terms = terms.primitive()
    while True:
        u, v = ranges(terms.u), ranges(terms.v)
        wide = np.maximum(u, v) > RANGE
        if not wide.any():
            return terms
        thirds = (np.minimum(u, v) > RANGE) & (np.maximum(u, v) < _HALF_DIGIT**2)
        terms = _karatsuba(terms, thirds) if thirds.any() else terms.split(wide)


def _karatsuba(terms: Terms, chosen: np.ndarray) -> Terms:
    (u0, u1), (v0, v1) = (_digits(x[chosen], _HALF_DIGIT) for x in (terms.u, terms.v))
    w = terms.w[chosen] * _HALF_DIGIT
    result = Terms(*(x[~chosen] for x in terms))
    for product in (
        Terms(u0, v0, terms.w[chosen] * (1 - _HALF_DIGIT)),
        Terms(u0 + u1, v0 + v1, w),
        Terms(u1, v1, w * (_HALF_DIGIT - 1)),
    ):
        result = result.joined(product)
    return result.primitive()


def int8_factors(terms: Terms, first_column: np.ndarray, first_row: np.ndarray) -> Factors:
    """`terms` of ranges up to 255, with the p and q that give the table this first column [A] and first row [B]."""
    u, v = (_shifted(x) for x in (terms.u, terms.v))
    p = first_column - u.T @ (terms.w * v[:, 0])
    q = first_row - (terms.w * u[:, 0]) @ v - p[0]
    return Factors(u=u.astype(np.int8), v=v.astype(np.int8), weights=terms.w, p=p, q=q)


def _shifted(x: np.ndarray) -> np.ndarray:
    """Each row in int8: as it is where it fits, else around 0."""
    low, high = x.min(axis=1), x.max(axis=1)
    fits = (low >= -_HALF_DIGIT) & (high < _HALF_DIGIT)
    return x - np.where(fits, 0, low + _HALF_DIGIT)[:, None]
