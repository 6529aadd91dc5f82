"""Tables as polynomials in the bits of their operands."""

import numpy as np

from hwlut.decomposition.terms import Terms

__all__ = ["monomial_terms"]


_MOST = 256


def monomial_terms(table: np.ndarray) -> Terms | None:
    """One term for each product of bits of a (u: 1 where a has them all) that the table has a use for.

    table: int64 [A, B]. Its coefficients come from the Moebius transform along a, which has an integer inverse.
    None where A is no power of two, or more than 256 products are needed.
    """
    rows = len(table)
    if rows & (rows - 1):
        return None
    v = table.copy()
    step = 1
    while step < rows:
        pairs = v.reshape(-1, 2, step, v.shape[1])
        pairs[:, 1] -= pairs[:, 0]
        step *= 2
    used = v.any(axis=1)
    if used.sum() > _MOST:
        return None
    bits = np.flatnonzero(used)[:, None]
    u = (np.arange(rows) & bits) == bits
    return Terms.of(u.astype(np.int64), v[used])
