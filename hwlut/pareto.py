"""Which of several points no other beats."""

from collections.abc import Sequence

__all__ = ["unbeaten"]


def unbeaten(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Of each point whether no other is as small in every coordinate and smaller in one (the Pareto front)."""
    return [
        not any(other != point and all(a <= b for a, b in zip(other, point)) for other in points) for point in points
    ]
