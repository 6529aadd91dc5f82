"""Continuous tables: neighbouring lines have the same value at the breakpoint between them, exactly.

The intercepts follow from the first one, b[i + 1] = b[i] + (k[i] - k[i + 1]) * p[i], so that for given
breakpoints the error is a quadratic form of (b[0], k[0], ..., k[N - 1]), and its best integers are a
closest vector. They are rounded one after the other, each to what is best for those rounded before it
(Babai, "On Lovász' lattice reduction and the nearest lattice point problem", Combinatorica 6, 1986),
here with the best few vectors kept at each step. The breakpoints move one at a time while that gains.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwlut.fit.boundaries import Boundaries
from hwlut.fit.formats import formats
from hwlut.fit.lines import step
from hwlut.fit.objective import Problem, Solution
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed

__all__ = ["continuous"]

_KEPT = 8
"""Vectors kept at each step of rounding."""

_SEARCHED = 2
"""Pairs of formats whose breakpoints are searched: the best ones at the breakpoints of real lines."""

_NEAR = 4
"""Powers of two by which the next breakpoint moves along."""

_GAIN = 1e-6
"""Part of the error that a move must gain."""

_RIDGE = 1e-12
"""Part of a coefficient's curvature that is added, so that one which no point decides stays near 0."""

_Lines = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each row of breakpoints: error, (segments,) slopes, (segments,) intercepts."""


def continuous(problem: Problem, optimum: Solution) -> Solution:
    """A good continuous table, found from the one that is best without this demand.

    Where an intercept's last bit is coarser than that of a slope times a breakpoint, the breakpoints
    keep to the multiples that leave every intercept exact. Certified only where it is as good as the optimum.

    Raises ValueError where no intercept format serves.
    """
    boundaries = Boundaries.of(problem)
    hinges = _Hinges(problem, boundaries)
    start = hinges.descend(np.array(optimum.breakpoints, dtype=np.int64), 0, hinges.real)
    _, k, b = hinges.real(start[None])
    tried = [(pair.lines(pair.snapped(start)[None])[0][0], pair) for pair in _pairs(hinges, k, b)]
    best, error = None, np.inf
    for _, pair in sorted(tried, key=lambda one: one[0])[:_SEARCHED]:
        breakpoints = hinges.descend(pair.snapped(start), pair.grain, pair.lines)
        errors, k, b = pair.lines(breakpoints[None])
        if errors[0] < error * (1 - _GAIN):
            error, best = errors[0], pair.solution(breakpoints, k[0], b[0])
    if best is None:
        raise ValueError(f"fit continuous must have intercepts of more than {problem.intercept_bits} bits")
    mse, least = (problem.mse(problem.unit(solution, "trial")) for solution in (best, optimum))
    return replace(
        best,
        certified=optimum.certified and mse <= least + boundaries.moments.noise,
        lower_bound=optimum.lower_bound,
        bound_step=optimum.bound_step,
    )


def _pairs(hinges: "_Hinges", slopes: np.ndarray, intercepts: np.ndarray) -> list["_Pair"]:
    """The formats to try: such as suit the lines, and such as make every breakpoint exact."""
    problem = hinges.problem
    slope_formats, intercept_formats = formats(problem, slopes, intercepts)
    coarsest = slope_formats[0].format.frac or 0
    if problem.slope_frac == "auto":
        fracs = sorted({(intercept.frac or 0) - problem.breakpoint_frac for intercept in intercept_formats})
        every = [Fixed(problem.slope_bits, frac) for frac in fracs if 0 <= frac < coarsest]
        slope_formats = [Slopes.of(slope, problem.slope_digits) for slope in every] + slope_formats
    pairs = []
    for slope in slope_formats:
        exact = Fixed(problem.intercept_bits, min((slope.format.frac or 0) + problem.breakpoint_frac, 40))
        fitting = [exact] if problem.intercept_frac == "auto" and exact not in intercept_formats else []
        pairs += [_Pair(hinges, slope, intercept) for intercept in (*intercept_formats, *fitting)]
    return [pair for pair in pairs if pair.grain <= problem.breakpoint_frac]


@dataclass(frozen=True)
class _Hinges:
    """The error of continuous tables of a problem, whose points are cut at boundaries."""

    problem: Problem
    boundaries: Boundaries

    def form(self, breakpoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """G (rows, n, n) and h (rows, n): the error of v = (b[0], slopes) is v G v - 2 h v and a constant."""
        left, right = self._ends(breakpoints)
        sums = self.boundaries.moments.sums
        w, wx, wy, wxx, wxy, _ = (sums[:, right] - sums[:, left]).astype(np.float64)
        rows, segments = w.shape
        x = np.ldexp(breakpoints.astype(np.float64), -self.problem.breakpoint_frac)
        # Row i of `levels` has the weights of v in b[i]; those in k[i] are a unit vector.
        ahead = np.tri(segments, segments, -1)
        levels = np.ones((rows, segments, segments + 1))
        levels[:, :, 1:] = ahead * np.pad(x, ((0, 0), (0, 1)))[:, None]
        levels[:, :, 2:] -= np.tri(segments, segments)[:, 1:] * x[:, None]
        mixed = np.zeros((rows, segments + 1, segments + 1))
        mixed[:, :, 1:] = (wx[:, :, None] * levels).swapaxes(1, 2)
        form = levels.swapaxes(1, 2) @ (w[:, :, None] * levels) + mixed + mixed.swapaxes(1, 2)
        inner = np.arange(1, segments + 1)
        form[:, inner, inner] += wxx
        target = np.einsum("ri,rij->rj", wy, levels)
        target[:, 1:] += wxy
        return form, target

    def real(self, breakpoints: np.ndarray) -> _Lines:
        """The best lines of real coefficients."""
        form, target = self.form(breakpoints)
        v = np.linalg.solve(_ridged(form), target[..., None])[..., 0]
        x = np.ldexp(breakpoints.astype(np.float64), -self.problem.breakpoint_frac)
        b = np.cumsum(np.concatenate([v[:, :1], (v[:, 1:-1] - v[:, 2:]) * x], axis=1), axis=1)
        return self.errors(breakpoints, v[:, 1:], b), v[:, 1:], b

    def errors(self, breakpoints: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """(rows,) errors of real lines."""
        left, right = self._ends(breakpoints)
        lines = self.boundaries.moments.lines(left.ravel(), right.ravel())
        return lines.error(slopes.ravel(), intercepts.ravel()).reshape(left.shape).sum(axis=1)

    def descend(self, breakpoints: np.ndarray, grain: int, lines: Callable[[np.ndarray], _Lines]) -> np.ndarray:
        """Breakpoints, multiples of 2^grain, that no move improves, from given ones."""
        error = lines(breakpoints[None])[0][0]
        while True:
            before = error
            for place in range(len(breakpoints)):
                rows = self._moves(breakpoints, place, grain)
                errors = lines(rows)[0]
                best = errors.argmin()
                if errors[best] < error * (1 - _GAIN) - self.boundaries.moments.noise:
                    breakpoints, error = rows[best], errors[best]
            if not error < before:
                return breakpoints

    def _moves(self, breakpoints: np.ndarray, place: int, grain: int) -> np.ndarray:
        """(rows, breakpoints): the one at `place` moved by a power of two, the next one by a small one or none."""
        low, high = self.boundaries.first[0], self.boundaries.last[-1]
        far, near = (
            np.array([0, *(sign << away for away in range(grain, end) for sign in (-1, 1))])
            for end in (int(high - low).bit_length(), grain + _NEAR)
        )
        one, other = (part.ravel() for part in np.meshgrid(far, near if place + 1 < len(breakpoints) else [0]))
        rows = breakpoints.repeat(len(one)).reshape(-1, len(one)).T
        rows[:, place] += one
        rows[:, place + 1 : place + 2] += other[:, None]
        inside = (rows >= low) & (rows <= high)
        return rows[inside.all(axis=1) & (np.diff(rows) >= 0).all(axis=1)]

    def _ends(self, breakpoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Left and right boundary of each segment."""
        inner = self.boundaries.at(breakpoints)
        last = len(self.boundaries.cuts) - 1
        return np.pad(inner, ((0, 0), (1, 0))), np.pad(inner, ((0, 0), (0, 1)), constant_values=last)


@dataclass(frozen=True)
class _Pair:
    """The formats of a continuous table."""

    hinges: _Hinges
    slopes: Slopes
    intercept: Fixed

    @property
    def _finer(self) -> int:
        """Fraction bits of the intercepts beyond those of a slope times a breakpoint."""
        return (self.intercept.frac or 0) - (self.slopes.format.frac or 0) - self.hinges.problem.breakpoint_frac

    @property
    def grain(self) -> int:
        """Zeros at the end of every breakpoint."""
        return max(0, -self._finer)

    def snapped(self, breakpoints: np.ndarray) -> np.ndarray:
        """The multiples of 2^grain below breakpoints, or next to them."""
        return (breakpoints + (1 << self.grain >> 1)) >> self.grain << self.grain

    def lines(self, breakpoints: np.ndarray) -> _Lines:
        """Good lines of these formats, as codes; an error of infinity where an intercept leaves its format."""
        v = self._rounded(*self.hinges.form(breakpoints))
        k, p = v[..., 1:], breakpoints[:, None].astype(np.float64)
        rises = np.ldexp((k[..., :-1] - k[..., 1:]) * p, self._finer)
        b = np.cumsum(np.concatenate([v[..., :1], rises], axis=-1), axis=-1)
        rows, kept, segments = k.shape
        errors = self.hinges.errors(
            breakpoints.repeat(kept, axis=0),
            k.reshape(-1, segments) * step(self.slopes.format),
            b.reshape(-1, segments) * step(self.intercept),
        ).reshape(rows, kept)
        errors[((b < self.intercept.min) | (b > self.intercept.max)).any(axis=-1)] = np.inf
        best = np.arange(rows), errors.argmin(axis=1)
        return errors[best], k[best], b[best]

    def _rounded(self, form: np.ndarray, target: np.ndarray) -> np.ndarray:
        """(rows, kept, 1 + segments) integers of the lowest errors found, as floats."""
        rows, count = target.shape
        steps = np.full(count, step(self.slopes.format))
        steps[0] = step(self.intercept)
        lower = np.linalg.cholesky(_ridged(form * steps * steps[:, None]))
        aim = np.linalg.solve(lower, (target * steps)[..., None])[..., 0]
        v, cost = np.zeros((rows, 1, count)), np.zeros((rows, 1))
        for i in range(count - 1, -1, -1):
            rest = aim[:, i, None] - np.einsum("rj,rmj->rm", lower[:, i + 1 :, i], v[..., i + 1 :])
            diagonal = lower[:, i, i, None]
            codes = self._codes(rest / diagonal, i)
            costs = (cost[..., None] + (rest[..., None] - diagonal[..., None] * codes) ** 2).reshape(rows, -1)
            kept = np.argsort(costs, axis=1, kind="stable")[:, :_KEPT]
            cost = np.take_along_axis(costs, kept, axis=1)
            v = np.take_along_axis(v, (kept // codes.shape[-1])[..., None], axis=1)
            v[..., i] = np.take_along_axis(codes.reshape(rows, -1), kept, axis=1)
        return v

    def _codes(self, wanted: np.ndarray, i: int) -> np.ndarray:
        """The codes to try for each real one: the nearest of the first intercept, or three slopes."""
        if i == 0:
            return np.clip(np.rint(wanted), self.intercept.min, self.intercept.max)[..., None]
        nearest = self.slopes.nearest(wanted * step(self.slopes.format))[..., None] + np.array([0, -1, 1])
        return self.slopes.codes[np.clip(nearest, 0, len(self.slopes.codes) - 1)].astype(np.float64)

    def solution(self, breakpoints: np.ndarray, k: np.ndarray, b: np.ndarray) -> Solution:
        """The table of codes found."""
        p, slopes, intercepts = (tuple(int(code) for code in codes) for codes in (breakpoints, k, b))
        return Solution(p, self.slopes.format, slopes, self.intercept, intercepts, certified=False)


def _ridged(form: np.ndarray) -> np.ndarray:
    """Positive definite."""
    diagonal = np.einsum("...ii->...i", form)
    extra = _RIDGE * (diagonal + diagonal.max(axis=-1, keepdims=True) * 1e-3 + 1e-30)
    return form + extra[..., None] * np.eye(form.shape[-1])
