"""From a table to its factors."""

from collections.abc import Iterator

import numpy as np

from hwlut.decomposition.balance import Effort, balanced
from hwlut.decomposition.factors import Factors
from hwlut.decomposition.lattice import LIMIT, Distinct, lattice_terms
from hwlut.decomposition.monomials import monomial_terms
from hwlut.decomposition.terms import Terms, int8_factors, narrowed
from hwlut.fields import shorten

__all__ = ["decompose"]

_LARGEST = 1 << 40
_ENTRIES = 1 << 24
_LATTICE_SECONDS = 2
_EFFORT = 10**8
_WITH_ERROR = 1 << 20  # entries; the error of a larger table has as many distinct rows as the table
_EXACT = 1 << 62  # sums below this are exact in int64


def decompose(products: np.ndarray, known: Factors | None = None) -> Factors:
    """The table `products` as a sum of as few int8 products as are found, equal in every entry.

    products: integers [A, B], below 2^40 in magnitude, in value order of the operands (which decides nothing but how
    soon a few terms are found). known: factors of this very table; the result has no more terms.

    A table without structure comes back too, in more terms than it has rows: look such a table up instead.
    The same table gives the same factors, except for one so unstructured that the search for a lattice basis
    ends by the clock.

    Raises
    ------
    TypeError: not an array of integers, or `known` no Factors.
    ValueError: not two-dimensional, empty, above 2^24 entries or 2^40 in magnitude; more than 1,024 distinct rows
    and as many distinct columns; or `known` is of another table.
    """
    table = _checked(products)
    best = _checked_known(known, table)
    centred = table - table[:1] - table[:, :1] + table[0, 0]
    grid = Distinct(centred)
    least = np.linalg.matrix_rank(grid.entries.astype(float)) if max(grid.entries.shape) <= LIMIT else 0
    starts = []
    for start in _starts(centred, grid):
        starts.append((narrowed(start), start))
        best = _fewer(best, starts[-1][0], table)
        if best is not None and best.terms <= least:
            return best
    if best is None:
        rows, columns = grid.entries.shape
        raise ValueError(
            f"a table to decompose must have at most {LIMIT} distinct rows or columns, not {rows} and {columns}"
        )
    effort = Effort(_EFFORT)
    for _, start in sorted(starts, key=lambda pair: len(pair[0].w)):
        if best.terms > least and len(start.w) < best.terms:
            best = _fewer(best, balanced(start, effort), table) or best
    return best


def _checked(products: np.ndarray) -> np.ndarray:
    table = np.asarray(products)
    if table.dtype.kind not in "iu":
        raise TypeError(f"a table to decompose must be an array of integers, not of {table.dtype}")
    if table.ndim != 2 or not 0 < table.size <= _ENTRIES:
        raise ValueError(
            f"a table to decompose must be 2-dimensional with 1 to 2^24 entries, not of shape {table.shape}"
        )
    low, high = int(table.min()), int(table.max())
    if max(-low, high) >= _LARGEST:
        raise ValueError(f"a table to decompose must be below 2^40 in magnitude, not from {low} to {high}")
    return table.astype(np.int64)


def _checked_known(known: Factors | None, table: np.ndarray) -> Factors | None:
    if known is None:
        return None
    if not isinstance(known, Factors):
        raise TypeError(f"known must be Factors, not {shorten(known)}")
    if not np.array_equal(known.products(), table):
        raise ValueError("known must be factors of the table itself, not of another")
    return known


def _starts(centred: np.ndarray, grid: Distinct) -> Iterator[Terms]:
    """Terms of the table, of any range: entry by entry, from lattices, and from monomials."""
    rows, columns = centred.shape
    nothing = Terms.of(np.zeros((0, rows), np.int64), np.zeros((0, columns), np.int64))
    # Most approximate products are better as an exact product and a small error than as they are.
    exact = Terms.of(np.arange(rows)[None], np.arange(columns)[None])
    error = centred - exact.table()
    sides = [(error, exact, False), (error.T, exact, True), (centred, nothing, False), (centred.T, nothing, True)]

    def complete(terms: Terms, side: int) -> Terms:
        _, rest, transposed = sides[side]
        return (terms.swapped() if transposed else terms).joined(rest)

    for side, (table, _, _) in enumerate(sides):
        terms = monomial_terms(table)
        if terms is not None:
            yield complete(terms, side)
    yield from _one_by_one(grid)
    if centred.size > _WITH_ERROR:
        sides[:2] = []
    for side, terms in lattice_terms([table for table, _, _ in sides], _LATTICE_SECONDS):
        yield complete(terms, side)


def _one_by_one(grid: Distinct) -> Iterator[Terms]:
    """One term for each distinct row, or column."""
    for transposed, index, entries in (
        (False, grid.row, grid.entries[:, grid.column]),
        (True, grid.column, grid.entries[grid.row].T),
    ):
        if len(entries) <= LIMIT:
            terms = Terms.of((index == np.arange(len(entries))[:, None]).astype(np.int64), entries)
            yield terms.swapped() if transposed else terms


def _fewer(best: Factors | None, terms: Terms, table: np.ndarray) -> Factors | None:
    """Factors made of `terms` (of ranges up to 255) where they are fewer than `best` and equal the table, else that."""
    if best is not None and best.terms <= len(terms.w):
        return best
    factors = int8_factors(terms, table[:, 0], table[0])
    exact = factors.bound < _EXACT and np.array_equal(factors.products(), table)
    return factors if exact else best
