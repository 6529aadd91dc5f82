"""The fewest 16-bit factors: int8 terms of a decomposition put together where they share a factor."""

from typing import NamedTuple

import numpy as np

from hwlut.decomposition import Factors

__all__ = ["Group", "groups"]

_LARGEST = (1 << 15) - 1


class Group(NamedTuple):
    """``weight * sum over t of u[t, a] * v[t, b]``: int16 u [T, A] and v [T, B]."""

    weight: int
    u: np.ndarray
    v: np.ndarray

    @property
    def bound(self) -> int:
        """Size that the sum over t of u * v does not exceed."""
        u, v = (np.abs(x.astype(np.int64)).max(1) for x in (self.u, self.v))
        return int(u @ v)


class _Term(NamedTuple):
    weight: int
    u: np.ndarray
    v: np.ndarray

    @property
    def swapped(self) -> "_Term":
        return _Term(self.weight, self.v, self.u)


def groups(factors: Factors, limit: int) -> tuple[Group, ...]:
    """The terms of `factors` as int16 terms, by weight; the products of u and v are at most `limit` in size.

    Terms that share v (the digits of a wide u) become one, then those that share u; a weight goes into the factors
    where they have room for it. Groups of weight 1 come first.
    """
    terms = [
        _Term(int(w), u.astype(np.int64), v.astype(np.int64)) for w, u, v in zip(factors.weights, factors.u, factors.v)
    ]
    terms = _merged(terms, limit)
    terms = [term.swapped for term in _merged([term.swapped for term in terms], limit)]
    by_weight: dict[int, list[_Term]] = {}
    for term in (_folded(term, limit) for term in terms):
        by_weight.setdefault(term.weight, []).append(term)
    return tuple(
        Group(weight, np.array([t.u for t in same], np.int16), np.array([t.v for t in same], np.int16))
        for weight, same in sorted(by_weight.items(), key=lambda item: item[0] != 1)
    )


def _merged(terms: list[_Term], limit: int) -> list[_Term]:
    """Terms of the same v, up to a factor, as one where its u has room."""
    sharing: dict[bytes, list[_Term]] = {}
    for weight, u, v in terms:
        divisor = int(np.gcd.reduce(v)) * (-1 if v[np.flatnonzero(v)[:1]].sum() < 0 else 1)
        if divisor:  # else the term is zero
            sharing.setdefault((v // divisor).tobytes(), []).append(_Term(weight * divisor, u, v // divisor))
    merged: list[_Term] = []
    for same in sharing.values():
        u = sum((term.weight * term.u for term in same), np.zeros_like(same[0].u))
        divisor = int(np.gcd.reduce(u))
        if divisor:
            whole = _Term(divisor, u // divisor, same[0].v)
            merged.extend([whole] if _fits(whole, limit) else same)
    return merged


def _folded(term: _Term, limit: int) -> _Term:
    """The term with its weight in the factors, a power of two in v and the rest in u, where they have room for it."""
    weight, u, v = term
    for power in (1 << i for i in range(16) if weight % (1 << i) == 0):
        whole = _Term(1, u * (weight // power), v * power)
        if _fits(whole, limit):
            return whole
    return term


def _fits(term: _Term, limit: int) -> bool:
    u, v = np.abs(term.u).max(), np.abs(term.v).max()
    return bool(u <= _LARGEST and v <= _LARGEST and u * v <= limit)
