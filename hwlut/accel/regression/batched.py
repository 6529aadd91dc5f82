"""Tiles in the batch engine."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwlut.accel.regression.cases import Case
from hwlut.hdl import Rtl
from hwlut.verify import verilator
from hwlut.verify.beats import streams
from hwlut.verify.bench import BenchTests
from hwlut.verify.engine import Job, Outcome, refused

__all__ = ["run"]

_PAUSES = {"free": 0.0, "with_pauses": 0.25}


def run(rtl: Rtl, cases: Sequence[Case], seed: int, waves: Path | None) -> BenchTests:
    """Whether each case gives what the model does, freely and with pauses: results, marks and their cycles."""
    tests = {f"{case.name}_{how}": (case, chance) for case in cases for how, chance in _PAUSES.items()}
    jobs = [_job(rtl, case, chance, seed + number) for number, (case, chance) in enumerate(tests.values())]
    if waves is not None:
        jobs[-1] = dataclasses.replace(jobs[-1], waves=waves)
    outcomes = verilator.run(jobs)
    messages = {
        name: _wrong(rtl, case, chance, outcome) for (name, (case, chance)), outcome in zip(tests.items(), outcomes)
    }
    return BenchTests(outcomes[0].tool, messages)


def _job(rtl: Rtl, case: Case, chance: float, seed: int) -> Job:
    return Job(
        rtl=rtl,
        inputs={"s_axis_command": case.words.astype("<u8").view(np.uint8).reshape(-1, 8), "s_axis": case.data},
        expected={"m_axis": len(case.results), "m_axis_mark": len(case.marks)},
        idle=chance,
        stall=chance,
        seed=seed,
        quiet=case.ran.cycles,
    )


def _wrong(rtl: Rtl, case: Case, chance: float, outcome: Outcome) -> str | None:
    """The first thing that is not as it must be."""
    if outcome.fault is not None:
        return outcome.fault
    if message := _difference("result", outcome.outputs["m_axis"], case.results):
        return message
    marks = streams(rtl.description)["m_axis_mark"].unpack(outcome.outputs["m_axis_mark"])
    told = np.stack([marks[name] for name in ("number", "cycles", "commands", "error")], axis=1)
    if message := _difference("mark", told, case.marks):
        return message
    stalled = marks["stalled_commands"] + marks["stalled_data"] + marks["stalled_results"]
    if not chance and stalled.any():
        return f"{stalled.max()} cycles are counted as stalls where nothing pauses"
    times = np.diff(outcome.delivered["m_axis_mark"])
    if not chance and (message := _difference("mark's distance in cycles", times, np.diff(told[:, 1]))):
        return message
    for name, cycles in outcome.accepted.items():
        if len(cycles) < (count := {"s_axis_command": len(case.words), "s_axis": len(case.data)}[name]):
            return refused(name, len(cycles), count)
    return None


def _difference(what: str, found: np.ndarray, expected: np.ndarray) -> str | None:
    """The first difference of two arrays of as many rows, in words."""
    wrong = np.nonzero((found != expected).any(axis=tuple(range(1, found.ndim))))[0]
    if not len(wrong):
        return None
    return f"{what} {wrong[0]} is {found[wrong[0]].tolist()}, not {expected[wrong[0]].tolist()}"
