"""How benchmarks take the time."""

import statistics
import time
from collections.abc import Callable

__all__ = ["medians"]


def medians(repeats: int, *calls: Callable[[], object]) -> list[float]:
    """Median wall time of each call in seconds, made in turn; a first round is not counted."""
    rounds = []
    for _ in range(repeats + 1):
        times = []
        for call in calls:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        rounds.append(times)
    return [statistics.median(times) for times in zip(*rounds[1:])]
