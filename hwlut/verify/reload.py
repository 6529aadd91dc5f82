"""Tables loaded in mid-stream, and what a design must make of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from hwlut.hdl.reload import load_entries
from hwlut.units import Pwl, Unit
from hwlut.verify.beats import Stream
from hwlut.verify.stimulus import Stimulus, evaluator

__all__ = ["Reloads", "random_table"]

_MOST_BEATS = 4096
_MOST_TABLES = 32


def random_table(unit: Pwl, rng: np.random.Generator) -> Pwl:
    """A table of the formats of `unit`: breakpoints in and around the reach of its scales, some of them equal.

    Every other one has slopes and intercepts at the ends of their formats.
    """
    lowest, highest = unit.table_codes
    count = unit.segments - 1
    drops = unit.breakpoint_frac - rng.choice(unit.scales, count)
    codes = rng.integers(lowest - 1, highest + 2, count, dtype=np.int64)
    points = [int(code) << int(drop) for code, drop in zip(codes, drops)]
    points = [p + int(rng.integers(1 << drop)) if rng.random() < 0.5 else p for p, drop in zip(points, drops)]
    points = [points[int(rng.integers(count))] if rng.random() < 0.2 else p for p in points]
    extreme = rng.random() < 0.5

    def numbers(low: int, high: int) -> list[int]:
        if extreme:
            return [(low, high)[int(end)] for end in rng.integers(0, 2, unit.segments)]
        return rng.integers(low, high, unit.segments, dtype=np.int64, endpoint=True).tolist()

    return unit.replace(
        breakpoints=sorted(min(max(p, -(1 << 62)), 1 << 62) for p in points),
        slopes=numbers(unit.slope.min, unit.slope.max),
        intercepts=numbers(unit.intercept.min, unit.intercept.max),
    )


class Reloads:
    """A run that loads one random table after the other while it computes, then every vector on the last one.

    Among the loads are one that lacks an entry and one that has an entry too many: both must change
    nothing.

    Parameters
    ----------
    unit: the table after reset.
    scale: the design's hard-wired scale, or None.
    vectors, order: what is computed, and its place in the beats (`hwlut.verify.lanes.spread`).
    load: the design's load stream.
    seed: of the tables and their mixture with the vectors.

    Raises ValueError for a unit whose kind has no load stream.

    Members: order, int64 (beats, lanes), the vectors of this run; loads, uint8 (beats, bytes), the
    beats of the load stream; tables, how many of the loads count.
    """

    def __init__(self, unit: Unit, scale: int | None, vectors: Stimulus, order: np.ndarray, load: Stream, seed: int):
        if not isinstance(unit, Pwl):
            raise ValueError(f"{type(unit).__name__} {unit.name!r} cannot be reloaded")
        rng = np.random.default_rng([seed, 1])
        mixed = max(min(len(order), _MOST_BEATS), 64 * unit.segments)
        self.order = np.concatenate([order[rng.integers(0, len(order), mixed)], order])
        self.tables = min(_MOST_TABLES, mixed // (4 * unit.segments))
        self._vectors = vectors
        self._units = [unit, *(random_table(unit, rng) for _ in range(self.tables))]
        loads = [load_entries(table, scale) for table in self._units[1:]]
        counts = [True] * len(loads)
        wrong = [loads[0] + loads[0][:1], loads[1][:-1]]
        for entries, place in zip(wrong, rng.integers(0, len(loads), len(wrong)).tolist()):
            if entries:
                loads.insert(place, entries)
                counts.insert(place, False)
        columns = np.array([entry for entries in loads for entry in entries], dtype=np.int64).T
        last = np.concatenate([[0] * (len(entries) - 1) + [1] for entries in loads])
        self.loads = load.pack(dict(zip(("breakpoint", "slope", "intercept"), columns)) | {"last": last})
        # The beats of the load stream with which a table takes the place of the one before.
        self._ends = np.flatnonzero(last)[counts]

    def expected(
        self, accepted: np.ndarray, loaded: np.ndarray, against: str
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the design must answer, int64 (beats x lanes,), and its labels.

        Parameters
        ----------
        accepted, loaded: the cycles in which it took the beats of this run and of the load stream.
            A beat taken in the cycle in which a load ends still has the table before.
        against: the software that computes the results.
        """
        ends = loaded[self._ends[self._ends < len(loaded)]]
        table = np.searchsorted(ends, accepted, side="left")
        vector = self.order[: len(accepted)].reshape(-1)
        labels = {name: values[vector] for name, values in self._vectors.labels.items()}
        labels["table"] = np.repeat(table, self.order.shape[1])
        return _results(self._units, labels, against), labels


def _results(units: Sequence[Pwl], labels: Mapping[str, np.ndarray], against: str) -> np.ndarray:
    """Each vector's result by the unit that its label ``table`` names."""
    import torch

    found = np.zeros(len(labels["q"]), np.int64)
    for table, unit in enumerate(units):
        evaluate = evaluator(unit, against)
        for scale in unit.scales:
            at = np.flatnonzero((labels["table"] == table) & (labels["scale"] == scale))
            if len(at):
                result = evaluate(torch.from_numpy(labels["q"][at]), {"scale": scale})
                found[at] = result.cpu().to(torch.int64).numpy()
    return found
