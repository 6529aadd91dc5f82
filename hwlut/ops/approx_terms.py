"""The fewest factors of 8 or 16 bits: terms of a decomposition put together where they share a factor."""

from typing import NamedTuple

import numpy as np

from hwlut.decomposition import Factors

__all__ = ["Group", "groups"]


class Group(NamedTuple):
    """``weight * sum over t of u[t, a] * v[t, b]``: u [T, A] and v [T, B] of one dtype."""

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


class _Room(NamedTuple):
    """What the factors of a term may be, and the size of their products."""

    factors: np.iinfo
    limit: int

    def holds(self, term: _Term) -> bool:
        low, high = min(term.u.min(), term.v.min()), max(term.u.max(), term.v.max())
        sizes = np.abs(term.u).max() * np.abs(term.v).max()
        return bool(low >= self.factors.min and high <= self.factors.max and sizes <= self.limit)


def groups(factors: Factors, limit: int, dtype: type[np.int8] | type[np.int16]) -> tuple[Group, ...]:
    """The terms of `factors` in `dtype`, int8 or int16, by weight; products of u and v are at most `limit` in size.

    Terms that share v (the digits of a wide u) become one, then those that share u; a weight goes into the factors
    where they have room for it. Groups of weight 1 come first.
    """
    terms = [
        _Term(int(w), u.astype(np.int64), v.astype(np.int64)) for w, u, v in zip(factors.weights, factors.u, factors.v)
    ]
    room = _Room(np.iinfo(dtype), limit)
    terms = _merged(terms, room)
    terms = [term.swapped for term in _merged([term.swapped for term in terms], room)]
    by_weight: dict[int, list[_Term]] = {}
    for term in (_folded(term, room) for term in terms):
        by_weight.setdefault(term.weight, []).append(term)
    return tuple(
        Group(weight, np.array([t.u for t in same], dtype), np.array([t.v for t in same], dtype))
        for weight, same in sorted(by_weight.items(), key=lambda item: item[0] != 1)
    )


def _merged(terms: list[_Term], room: _Room) -> list[_Term]:
    """Terms of the same v, up to a factor, as one where its u has room."""
    sharing: dict[bytes, list[tuple[_Term, _Term]]] = {}
    for term in terms:
        weight, u, v = term
        divisor = int(np.gcd.reduce(v)) * (-1 if v[np.flatnonzero(v)[:1]].sum() < 0 else 1)
        if divisor:  # else the term is zero
            alike = _Term(weight * divisor, u, v // divisor)
            sharing.setdefault(alike.v.tobytes(), []).append((alike, term))
    merged: list[_Term] = []
    for same in sharing.values():
        first, _ = same[0]
        u = sum((alike.weight * alike.u for alike, _ in same), np.zeros_like(first.u))
        divisor = int(np.gcd.reduce(u))
        if divisor:
            whole = _Term(divisor, u // divisor, first.v)
            merged.extend([whole] if room.holds(whole) else [term for _, term in same])
    return merged


def _folded(term: _Term, room: _Room) -> _Term:
    """The term with its weight in the factors, a power of two in v and the rest in u, where they have room for it."""
    weight, u, v = term
    for power in (1 << i for i in range(16) if weight % (1 << i) == 0):
        whole = _Term(1, u * (weight // power), v * power)
        if room.holds(whole):
            return whole
    return term
