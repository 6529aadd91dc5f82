"""One way to send vectors to a design, and what it must make of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwlut.verify.engine import Outcome

__all__ = ["INTERRUPT", "Labelled", "Plan", "Run"]

INTERRUPT = 64
"""Beats before a reset in mid-stream."""

Labelled = tuple[np.ndarray, Mapping[str, np.ndarray]]
"""Results, int64 (beats x lanes,), and their labels."""


def _latency(outcome: Outcome) -> dict[str, int]:
    return {} if outcome.latency is None else {"latency": outcome.latency}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One way to send a unit's vectors.

    inputs: beats by stream, uint8 (beats, bytes). beats: how many must come out. independent: as in
    `hwlut.verify.engine.Job`. interrupt: beats after which a reset is in mid-stream. reloads: how many tables are
    loaded. expected: from the cycles in which each stream's beats were taken, what comes out. order: of the results'
    places, in which the first wrong one is looked for, where that is another. measured: what took how many cycles, by
    name, in an outcome without pauses; declared: how many each must take.
    """

    inputs: dict[str, np.ndarray]
    beats: int
    independent: bool
    interrupt: int = INTERRUPT
    reloads: int = 0
    expected: Callable[[Mapping[str, np.ndarray]], Labelled]
    order: np.ndarray | None = None
    measured: Callable[[Outcome], Mapping[str, int]] = _latency
    declared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a check does to a design. vectors, exhaustive, scope: as in `hwlut.verify.Report`."""

    runs: Sequence[Run]
    vectors: int
    exhaustive: bool
    scope: str
