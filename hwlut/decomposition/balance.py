"""Another basis for the same table, with vectors of smaller range."""

import numpy as np

from hwlut.decomposition.terms import RANGE, Terms, narrowed, ranges

__all__ = ["Effort", "balanced"]

_TRIED = 8  # of the steps that look best by their variances, as many are measured by their ranges
_STEPS = 8  # for one vector before the next has its turn
_SWEEPS = 40
_STEP = 1 << 15  # effort of one search for a step, beyond the numbers of the terms
_NARROWING = 10  # effort of a split and what it may end in, for each number of the terms


class Effort:
    """How much work may still be done, counted in numbers looked at, so that results do not depend on the machine."""

    def __init__(self, numbers: int):
        self.left = numbers

    def spend(self, numbers: int) -> bool:
        """Whether there was effort left."""
        self.left -= numbers
        return self.left >= 0


def balanced(terms: Terms, effort: Effort) -> Terms:
    """The same table in terms of range at most 255, in as few as steps of descent find.

    A step adds l c times vector j of one side to vector i of it, and subtracts l d times vector i of the other side
    from vector j there, where c and d are the weights j and i without their gcd: that leaves the table as it is. It is
    taken where it lowers the sum of the logarithms of the ranges, first of all ranges, then of those above 255 alone.
    (Seysen's reduction, Combinatorica 13, 1993, has the same steps and sums squared lengths.) A vector that stays too
    wide is split into two digits, of which the high one may then narrow the others too.
    """
    terms = terms.primitive()
    _descend(terms, 1, effort, sweeps=3)
    _descend(terms, RANGE, effort)
    best = narrowed(terms.primitive())
    while True:
        terms = terms.primitive()
        if len(terms.w) >= len(best.w) or not effort.spend(_NARROWING * (terms.u.size + terms.v.size)):
            return best
        widest = np.maximum(ranges(terms.u), ranges(terms.v))
        if not (widest > RANGE).any():
            return terms
        terms = terms.split(np.arange(len(widest)) == widest.argmax())
        _descend(terms, RANGE, effort)
        best = min(best, narrowed(terms.primitive()), key=lambda found: len(found.w))


def _descend(terms: Terms, floor: int, effort: Effort, sweeps: int = _SWEEPS) -> None:
    """Take steps, in place, until none lowers the ranges above `floor`."""
    for _ in range(sweeps):
        stepped = False
        for x, y in ((terms.v, terms.u), (terms.u, terms.v)):
            for index in np.argsort(-ranges(x), kind="stable"):
                for _ in range(_STEPS):
                    if not effort.spend(_STEP + x.size + y.size) or not _step(x, y, terms.w, index, floor):
                        break
                    stepped = True
        if not stepped:
            return


def _step(x: np.ndarray, y: np.ndarray, w: np.ndarray, i: int, floor: int) -> bool:
    """Replace x[i] and one y[j] by the best step found, if one is better than none."""
    width = ranges(x[i : i + 1])[0]
    if width <= floor or len(w) == 1:
        return False
    common = np.gcd(w[i], w)
    c, d = w // common, w[i] // common
    xs, ys = (z - z.mean(axis=1, keepdims=True) for z in (x, y))
    xx, yy = (np.einsum("tn,tn->t", z, z) for z in (xs, ys))
    xi, yi = xs @ xs[i], ys @ ys[i]
    for_x = -xi / np.maximum(xx * c, 1)
    for_y = yi / np.maximum(yy[i] * d, 1)
    factors = np.rint(np.stack([for_x, for_y, (for_x + for_y) / 2, np.ones(len(w)), -np.ones(len(w))]))

    def logarithm(squares: np.ndarray, length: int) -> np.ndarray:
        return np.log2(np.maximum(np.sqrt(np.maximum(squares, 0) * (12 / length)), floor))

    after_x = xx[i] + factors * c * (2 * xi + factors * c * xx)
    after_y = yy + factors * d * (factors * d * yy[i] - 2 * yi)
    score = logarithm(yy, y.shape[1]) - logarithm(after_x, x.shape[1]) - logarithm(after_y, y.shape[1])
    score[factors == 0] = -np.inf
    score[:, i] = -np.inf
    tried = np.argsort(-score, axis=None, kind="stable")[:_TRIED]
    tried = tried[score.flat[tried] > -np.inf]
    if not tried.size:
        return False
    j = tried % len(w)
    times = factors.flat[tried].astype(np.int64)
    new_x = x[i] + (times * c[j])[:, None] * x[j]
    new_y = y[j] - (times * d[j])[:, None] * y[i]
    before = np.log2(max(width, floor)) + np.log2(np.maximum(ranges(y[j]), floor))
    gain = before - np.log2(np.maximum(ranges(new_x), floor)) - np.log2(np.maximum(ranges(new_y), floor))
    best = int(gain.argmax())
    if gain[best] < 1e-9:
        return False
    x[i], y[j[best]] = new_x[best], new_y[best]
    return True
