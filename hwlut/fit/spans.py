"""Cheapest paths of a fixed number of spans over boundaries."""

import numpy as np

__all__ = ["Spans"]


class Spans:
    """A graph whose nodes are boundaries and whose edges are spans, ordered by left, then right.

    Every boundary must have its empty span, left == right. Cheapest paths of a number of spans
    start at boundary 0 and end at the last.
    """

    def __init__(self, boundaries: int, left: np.ndarray, right: np.ndarray):
        self.boundaries = boundaries
        self.left = left
        self.right = right
        self.by_right = np.argsort(right, kind="stable")
        self.left_starts = np.searchsorted(left, np.arange(boundaries))
        self.right_starts = np.searchsorted(right[self.by_right], np.arange(boundaries))

    def forward(self, costs: np.ndarray, segments: int) -> np.ndarray:
        """(segments + 1, boundaries): cheapest path of so many spans from boundary 0 to each."""
        return self._sweep(0, self.left[self.by_right], costs[self.by_right], self.right_starts, segments)

    def backward(self, costs: np.ndarray, segments: int) -> np.ndarray:
        """(segments + 1, boundaries): cheapest path of so many spans from each boundary to the last."""
        return self._sweep(self.boundaries - 1, self.right, costs, self.left_starts, segments)

    def _sweep(
        self, origin: int, before: np.ndarray, costs: np.ndarray, starts: np.ndarray, segments: int
    ) -> np.ndarray:
        cheapest = np.full((segments + 1, self.boundaries), np.inf)
        cheapest[0, origin] = 0
        totals = np.empty_like(costs)
        for n in range(segments):
            np.take(cheapest[n], before, out=totals, mode="clip")
            totals += costs
            np.minimum.reduceat(totals, starts, out=cheapest[n + 1])
        return cheapest

    def useful(self, costs: np.ndarray, segments: int, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """Which spans lie on a path of at most `limit`, empty spans included, and what each span may cost."""
        least = np.full(len(costs), np.inf)
        rest, after = np.empty_like(least), np.empty_like(least)
        for ahead, behind in zip(self.forward(costs, segments)[:-1], self.backward(costs, segments)[-2::-1]):
            np.take(ahead, self.left, out=rest, mode="clip")
            rest += np.take(behind, self.right, out=after, mode="clip")
            np.minimum(least, rest, out=least)
        slack = limit - least
        return (costs <= slack) | (self.left == self.right), slack

    def path(self, costs: np.ndarray, forward: np.ndarray, tolerance: float) -> np.ndarray:
        """Nodes of the cheapest path, both ends included; of those within `tolerance`, the leftmost."""
        nodes = [self.boundaries - 1]
        ends = np.append(self.right_starts[1:], len(self.left))
        for before in forward[-2::-1]:
            edges = self.by_right[self.right_starts[nodes[-1]] : ends[nodes[-1]]]
            totals = before[self.left[edges]] + costs[edges]
            nodes.append(self.left[edges[np.argmax(totals <= totals.min() + tolerance)]])
        return np.array(nodes[::-1])

    def find(self, path: np.ndarray) -> np.ndarray:
        """The edges along a path of nodes."""
        return np.searchsorted(self.left * self.boundaries + self.right, path[:-1] * self.boundaries + path[1:])
