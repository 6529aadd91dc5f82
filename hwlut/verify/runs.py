"""What a simulated design is sent, and what it must answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwlut.unit import Unit
from hwlut.verify.beats import Stream, streams
from hwlut.verify.lanes import pack, spread
from hwlut.verify.reload import Reloads
from hwlut.verify.stimulus import Stimulus

__all__ = ["Run", "plan_runs"]

_INTERRUPT = 64  # beats before a reset in mid-stream
_Labelled = tuple[np.ndarray, Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One way to send a unit's vectors.

    inputs: beats by stream, uint8 (beats, bytes). beats: how many must come out. independent: as in
    `hwlut.verify.engine.Job`. interrupt: beats after which a reset is in mid-stream. reloads: how many tables are
    loaded. expected: from the cycles in which each stream's beats were taken, the results, int64 (beats x lanes,), and
    their labels.
    """

    inputs: dict[str, np.ndarray]
    beats: int
    independent: bool
    interrupt: int
    reloads: int
    expected: Callable[[Mapping[str, np.ndarray]], _Labelled]


def plan_runs(unit: Unit, description: Mapping[str, Any], vectors: Stimulus, against: str, seed: int) -> list[Run]:
    """Every vector, over the lanes; and where tables can be loaded, every vector again while they are. Of a design that
    adds up its beats, the sums.

    Parameters
    ----------
    unit: whose vectors these are.
    description: the design's, as in its ``.rtl.json``.
    against: the software that computes the expected results.
    seed: of loaded tables.
    """
    source, *others = (stream for stream in streams(description).values() if stream.input)
    sink = next(stream for stream in streams(description).values() if not stream.input)
    if "sum" in description:
        return [_summing(source, vectors, against)]
    order = spread(source, vectors.inputs)
    lanes = order.shape[1]
    if len(sink.fields) != lanes:
        wanted = "one field" if lanes == 1 else f"{lanes} fields"
        raise ValueError(f"{sink.name} must have {wanted}, not {', '.join(sink.fields) or 'none'}")
    if len(others) > 1:
        raise ValueError(f"design must have one stream beside {source.name}, not {', '.join(s.name for s in others)}")
    lane = order.reshape(-1)
    known = vectors.results(against)[lane], {name: values[lane] for name, values in vectors.labels.items()}
    runs = [
        Run(
            inputs={source.name: pack(source, vectors.inputs, order)}
            | {stream.name: np.zeros((0, stream.bytes), np.uint8) for stream in others},
            beats=len(order),
            independent=True,
            interrupt=_INTERRUPT,
            reloads=0,
            expected=lambda accepted: known,
        )
    ]
    if others:
        load = others[0]
        plan = Reloads(unit, description["scale"], vectors, order, load, seed)
        runs.append(
            Run(
                inputs={source.name: pack(source, vectors.inputs, plan.order), load.name: plan.loads},
                beats=len(plan.order),
                independent=False,
                interrupt=_INTERRUPT,
                reloads=plan.tables,
                expected=lambda accepted: plan.expected(accepted[source.name], accepted[load.name], against),
            )
        )
    return runs


def _summing(source: Stream, vectors: Stimulus, against: str) -> Run:
    known = vectors.results(against), vectors.labels
    return Run(
        inputs={source.name: source.pack(vectors.inputs)},
        beats=len(known[0]),
        independent=False,
        interrupt=min(int(np.flatnonzero(vectors.inputs["last"])[1]), _INTERRUPT),  # all of the second sum but its end
        reloads=0,
        expected=lambda accepted: known,
    )
