"""What a design is sent, by what its description says that it does with its beats."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwlut.unit import Unit
from hwlut.verify.beats import streams
from hwlut.verify.lanes import pack, spread
from hwlut.verify.reload import Reloads
from hwlut.verify.row_runs import plan_rows
from hwlut.verify.runs import INTERRUPT, Plan, Run
from hwlut.verify.stimulus import Stimulus, stimulus
from hwlut.verify.stream_rows import plan_stream_rows
from hwlut.verify.sums import sums

__all__ = ["plan"]

_Planner = Callable[[Unit, Mapping[str, Any], str, int, bool], Plan]


def plan(unit: Unit, description: Mapping[str, Any], against: str, seed: int, short: bool) -> Plan:
    """Every vector, or the sums or rows of a design that takes several beats for a result; and where tables can be
    loaded, vectors again while they are.

    Parameters
    ----------
    unit: what is computed.
    description: the design's, as in its ``.rtl.json``.
    against: the software that computes the expected results.
    seed: of samples and of loaded tables.
    short: fewer vectors, for what is slow, where they are a sample anyway.
    """
    made = next((planner for key, planner in _PLANNERS.items() if key in description), _plan_beats)
    return made(unit, description, against, seed, short)


def _plan_beats(unit: Unit, description: Mapping[str, Any], against: str, seed: int, short: bool) -> Plan:
    """A result for each beat, or for each lane of a beat."""
    vectors = stimulus(unit, description["scale"], seed)
    source, *others = (stream for stream in streams(description).values() if stream.input)
    sink = next(stream for stream in streams(description).values() if not stream.input)
    order = spread(source, vectors.inputs)
    found = vectors.results(against)
    results = len(found) // vectors.vectors  # of a vector
    width = order.shape[1] * results
    if len(sink.fields) != width:
        wanted = "one field" if width == 1 else f"{width} fields"
        raise ValueError(f"{sink.name} must have {wanted}, not {', '.join(sink.fields) or 'none'}")
    if len(others) > 1:
        raise ValueError(f"design must have one stream beside {source.name}, not {', '.join(s.name for s in others)}")
    places = (order.reshape(-1, 1) * results + np.arange(results)).reshape(-1)
    known = found[places], {name: values[places] for name, values in vectors.labels.items()}
    declared = {"latency": description["latency"]}
    runs = [
        Run(
            inputs={source.name: pack(source, vectors.inputs, order)}
            | {stream.name: np.zeros((0, stream.bytes), np.uint8) for stream in others},
            beats=len(order),
            independent=True,
            expected=lambda accepted: known,
            declared=declared,
        )
    ]
    if others:
        load = others[0]
        loads = Reloads(unit, description["scale"], vectors, order, load, seed)
        runs.append(
            Run(
                inputs={source.name: pack(source, vectors.inputs, loads.order), load.name: loads.loads},
                beats=len(loads.order),
                independent=False,
                reloads=loads.tables,
                expected=lambda accepted: loads.expected(accepted[source.name], accepted[load.name], against),
            )
        )
    return _planned(vectors, runs)


def _plan_sums(unit: Unit, description: Mapping[str, Any], against: str, seed: int, short: bool) -> Plan:
    """A result for each beat with ``last``."""
    vectors = sums(unit, description, seed, short)
    source = next(stream for stream in streams(description).values() if stream.input)
    known = vectors.results(against), vectors.labels
    run = Run(
        inputs={source.name: source.pack(vectors.inputs)},
        beats=len(known[0]),
        independent=False,
        interrupt=min(int(np.flatnonzero(vectors.inputs["last"])[1]), INTERRUPT),  # all of the second sum but its end
        expected=lambda accepted: known,
        declared={"latency": description["latency"]},
    )
    return _planned(vectors, [run])


def _planned(vectors: Stimulus, runs: list[Run]) -> Plan:
    return Plan(runs=runs, vectors=vectors.vectors, exhaustive=vectors.exhaustive, scope=vectors.scope)


_PLANNERS: dict[str, _Planner] = {"sum": _plan_sums, "rows": plan_rows, "stream_rows": plan_stream_rows}
"""By the key of a description that says that a result is not one beat's."""
