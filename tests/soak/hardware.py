"""Designs driven as checks drive them, freely and with pauses and resets of a case's own."""

import random
from collections.abc import Callable

import numpy as np

from hwlut.hdl import Rtl
from hwlut.verify.beats import streams
from hwlut.verify.engine import Job, Outcome, refused
from hwlut.verify.plan import plan
from hwlut.verify.runs import Run
from soak.case import Case
from soak.difference import Difference
from soak.sizes import sized

__all__ = ["driven"]


def driven(case: Case, rtl: Rtl, simulate: Callable[[Job], Outcome], about: int) -> int:
    """Run a design on about so many vectors of each kind; how many results were compared.

    Raises Difference for a wrong one, a broken protocol, and what takes other cycles than declared.
    """
    with sized(about):
        planned = plan(case.unit, rtl.description, "reference", case.seed, short=True)
    compared = 0
    for number, run in enumerate(planned.runs):
        for paused in (False, True):
            job = _job(case, rtl, run, paused, case.seed + number)
            compared += _compared(run, job, simulate(job))
    return compared


def _job(case: Case, rtl: Rtl, run: Run, paused: bool, seed: int) -> Job:
    sent = len(run.inputs["s_axis"])
    interrupt = random.Random(seed).randint(1, sent) if run.independent else run.interrupt
    return Job(
        rtl=rtl, inputs=run.inputs, expected={"m_axis": run.beats}, seed=seed,
        idle=case.idle if paused else 0.0, stall=case.stall if paused else 0.0,
        interrupt=interrupt if paused and case.interrupt else 0,
    )  # fmt: skip


def _compared(run: Run, job: Job, outcome: Outcome) -> int:
    if outcome.fault is not None:
        raise Difference(outcome.fault)
    for name, cycles in outcome.accepted.items():
        if len(cycles) < len(job.inputs[name]):
            raise Difference(refused(name, len(cycles), len(job.inputs[name])))
    sink = streams(job.rtl.description)["m_axis"]
    got = np.stack(list(sink.unpack(outcome.outputs["m_axis"]).values()), axis=1).reshape(-1)
    wanted, labels = run.expected(outcome.accepted)
    if len(got) != len(wanted):
        raise Difference(f"{len(got)} results, not {len(wanted)}")
    if len(wrong := np.flatnonzero(got != wanted)):
        at = int(wrong[0])
        shown = {name: values[at].item() for name, values in labels.items()}
        raise Difference(f"{len(wrong)} results differ, first {shown}: {wanted[at]}, not {got[at]}")
    for what, cycles in ({} if job.idle or job.stall else run.measured(outcome)).items():
        if what in run.declared and cycles != run.declared[what]:
            raise Difference(f"{what} is declared as {run.declared[what]} cycles, not {cycles}")
    return len(got)
