"""Vectors spread over the lanes of a design."""

from collections.abc import Mapping

import numpy as np

from hwlut.verify.beats import Stream

__all__ = ["pack", "spread"]


def _lanes(source: Stream, inputs: Mapping[str, np.ndarray]) -> int:
    """How many codes a beat takes: 1 where every field of a vector is a field of the beat."""
    split = next((name for name in inputs if name not in source.fields), None)
    return sum(f"{split}{lane}" in source.fields for lane in range(len(source.fields))) or 1


def spread(source: Stream, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which vector each lane of each beat of `source` takes, int64 (beats, lanes).

    Vectors keep their order. A beat's lanes have the fields without a lane number in common, so
    where those change, and at the end, the last vector is repeated until the beat is full.

    Parameters
    ----------
    inputs: the vectors, (n,) by field; a field `q` is split over fields q0, q1, ... where the
        stream has those.
    """
    count = len(next(iter(inputs.values())))
    lanes = _lanes(source, inputs)
    if lanes == 1:
        return np.arange(count)[:, None]
    common = [values for name, values in inputs.items() if name in source.fields]
    changes = [np.flatnonzero(np.diff(values)) + 1 for values in common]
    edges = np.unique(np.concatenate([[0, count], *changes]))
    runs = [
        np.minimum(np.arange(first, first - (first - beyond) // lanes * lanes), beyond - 1)
        for first, beyond in zip(edges, edges[1:])
    ]
    return np.concatenate(runs).reshape(-1, lanes)


def pack(source: Stream, inputs: Mapping[str, np.ndarray], order: np.ndarray) -> np.ndarray:
    """Beats of `source`, uint8 (beats, bytes), that hold the vectors in the `order` of `spread`."""
    fields = {}
    for name, values in inputs.items():
        if name in source.fields or order.shape[1] == 1:
            fields[name] = values[order[:, 0]]
        else:
            fields |= {f"{name}{lane}": values[order[:, lane]] for lane in range(order.shape[1])}
    return source.pack(fields)
