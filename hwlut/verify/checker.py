"""The check: one engine against another, over all of a unit's vectors."""

import dataclasses
import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwlut.errors import ToolError
from hwlut.unit import Unit
from hwlut.units.lut_matmul import LutMatmul
from hwlut.units.multiplier import Multiplier
from hwlut.units.program import Program
from hwlut.verify import rows as _rows  # noqa: F401 (a kind's module registers its vectors)
from hwlut.verify.programs import tapped
from hwlut.verify.report import Pass, Report
from hwlut.verify.stimulus import Stimulus, check_device, check_seed, stimulus
from hwlut.verify.waves import check_place, recorded

if TYPE_CHECKING:
    from hwlut.hdl import Rtl
    from hwlut.verify.engine import Outcome
    from hwlut.verify.runs import Plan, Run

__all__ = ["ENGINES", "SOFTWARE", "check"]

SOFTWARE = ("reference", "cpu", "cuda")
"""What computes a unit without hardware."""

_FLOWS = (0.0, 0.25)
_SIMULATORS = {  # what runs Verilog, and the (idle, stall) chances it is run with
    "verilator": tuple((flow, flow) for flow in _FLOWS),
    "cocotb": tuple((idle, stall) for idle in (0.0, 0.25, 0.75) for stall in (0.0, 0.25, 0.75)),
    "pysim": tuple((flow, flow) for flow in _FLOWS),
}
ENGINES = (*_SIMULATORS, *SOFTWARE)
"""Everything that computes a unit."""


@dataclass(kw_only=True)
class _Findings:
    """What the passes have shown so far."""

    passes: list[Pass] = dataclasses.field(default_factory=list)
    tool: str = ""
    measured: dict[str, int] = dataclasses.field(default_factory=dict)
    mismatches: int = 0
    first: dict[str, int | str | None] | None = None
    fault: str | None = None

    def compare(
        self,
        expected: np.ndarray,
        got: np.ndarray,
        labels: Mapping[str, np.ndarray],
        order: np.ndarray | None = None,
    ) -> None:
        """Count where `got`, which may have stopped early, differs; all (n,), `labels` by name.

        `order`: as in `hwlut.verify.runs.Run`.
        """
        wrong = np.flatnonzero(expected[: len(got)] != got)
        self.mismatches += len(wrong) + len(expected) - len(got)
        if self.first is None and self.mismatches:
            if order is not None:
                wrong = order[np.isin(order, wrong)]
            at = int(wrong[0]) if len(wrong) else len(got)
            shown = {name: values[at].item() for name, values in labels.items()}
            self.first = {**shown, "expected": int(expected[at]), "got": int(got[at]) if at < len(got) else None}

    def add(self, outcome: "Outcome", run: "Run", idle: float, stall: float) -> None:
        """Take in one simulated pass; what is declared to take so many cycles must do so where nothing pauses."""
        self.passes.append(Pass(idle=idle, stall=stall, cycles=outcome.cycles, reloads=run.reloads))
        self.tool = outcome.tool
        self.fault = self.fault or outcome.fault
        measured = {} if idle or stall or not run.declared else dict(run.measured(outcome))
        for name, cycles in measured.items():
            declared = run.declared[name]
            if name not in self.measured and cycles != declared and self.fault is None:
                self.fault = f"{name} is declared as {declared} cycles, not {cycles}"
        self.measured = measured | self.measured


def check(
    unit: Unit,
    engine: str = "verilator",
    against: str = "reference",
    *,
    scale: int | None = None,
    verilog: "str | Path | Rtl | None" = None,
    values: str | Sequence[str] = (),
    waves: str | Path | None = None,
    seed: int = 0,
) -> Report:
    """Compare what `engine` computes with what `against` does, on every code.

    A simulator runs the unit's Verilog freely and with random pauses on both sides; its stream
    protocol and latency are checked too.

    Parameters
    ----------
    unit: what is checked.
    engine: "verilator", "cocotb", "pysim"; or "reference", "cpu", "cuda" for software alone.
    against: "reference" (the definition), "cpu" or "cuda" (its kernels).
    scale: check the hardware hard-wired for one scale; None checks every scale.
    verilog: what to run instead of the default design: an `Rtl` from `hwlut.hdl.generate`, or a
        Verilog file, which the ``.rtl.json`` beside it describes where there is one.
    values: of a program, names of values that are compared, too, or "all": a variant of the default design has them as
        outputs, and the first mismatch is that of the first node.
    waves: file for a waveform of the last pass: VCD, or FST from cocotb on Icarus.
    seed: of stalls, of samples and of the registers before reset.

    Raises ValueError for bad arguments and bad Verilog, ToolError for missing tools.
    """
    start = time.perf_counter()
    if not isinstance(unit, Unit):
        raise TypeError(f"check unit must be a unit, not {type(unit).__name__}")
    check_seed(seed)
    check_place("waves", waves)
    found = _Findings()
    covered: Stimulus | Plan  # what the report says of the vectors
    for label, value, known in (("engine", engine, ENGINES), ("against", against, SOFTWARE)):
        if value not in known:
            raise ValueError(f"{label} must be one of {', '.join(known)}, not {value!r}")
    if engine in SOFTWARE:
        if verilog is not None or waves is not None:
            raise ValueError(f"engine {engine} runs no Verilog: verilog and waves must not be given")
        if values:
            raise ValueError(f"engine {engine} runs no Verilog: values must not be given")
        check_device(engine)
        found.tool = _implementation(unit, engine)
        sample = covered = stimulus(unit, scale, seed)
        found.compare(sample.results(against), sample.results(engine), sample.labels)
    else:
        from hwlut.hdl.streamed import streamed
        from hwlut.verify.design import design_of
        from hwlut.verify.plan import plan

        computed = _tapped(unit, verilog, values) if values else unit
        rtl = design_of(computed, scale, verilog)
        if rtl.description["reset"] is None:
            rtl = streamed(unit, rtl)
        scale = rtl.description["scale"]
        planned = covered = plan(computed, rtl.description, against, seed, short=engine != "verilator")
        with recorded(waves) as trace:
            _simulate(found, planned.runs, engine, rtl, seed, trace)
    return Report(
        unit=unit.name,
        schema=unit.schema,
        digest=unit.digest,
        engine=engine,
        tool=found.tool,
        against=f"{against} ({kernel})" if (kernel := _implementation(unit, against)) else against,
        scale=scale,
        seed=seed,
        vectors=covered.vectors,
        exhaustive=covered.exhaustive,
        scope=covered.scope,
        passes=tuple(found.passes),
        latency=found.measured.get("latency"),
        cycles_per_row=found.measured.get("a row"),
        load_cycles=found.measured.get("a load"),
        mismatches=found.mismatches,
        first=found.first,
        fault=found.fault,
        seconds=time.perf_counter() - start,
    )


def _implementation(unit: Unit, engine: str) -> str:
    """What a kernel engine ran, which must be a kernel; empty for others."""
    if engine == "reference":
        return ""
    from hwlut import ops

    if isinstance(unit, Multiplier):
        ran = ops.approx_matmul_path(unit, 1 << unit.a.bits, 1, 1 << unit.b.bits, engine)
    else:
        ran = ops.implementation("lut_matmul" if isinstance(unit, LutMatmul) else "lookup", engine)
    if ran == "torch":
        raise ToolError(
            f"{engine} kernel",
            f"none for {unit.name}, so torch would be compared with itself",
            "see the warning above, if there is one",
        )
    return ran


def _tapped(unit: Unit, verilog: "str | Path | Rtl | None", values: str | Sequence[str]) -> Program:
    if not isinstance(unit, Program):
        raise ValueError(f"{type(unit).__name__} {unit.name!r} has no values beside its result")
    if verilog is not None:
        raise ValueError("values must be given for hwlut's own design in its default form, without another one")
    return tapped(unit, values)


def _simulate(found: _Findings, runs: "Sequence[Run]", engine: str, rtl: "Rtl", seed: int, waves: Path | None) -> None:
    from hwlut.verify.beats import streams
    from hwlut.verify.engine import Job, refused

    sink = next(stream for stream in streams(rtl.description).values() if not stream.input)
    cases = [(run, idle, stall) for run in runs for idle, stall in _SIMULATORS[engine]]
    jobs = [
        Job(
            rtl=rtl,
            inputs=run.inputs,
            expected={sink.name: run.beats},
            independent=run.independent,
            idle=idle,
            stall=stall,
            seed=seed + number,
            interrupt=run.interrupt if idle else 0,
            waves=waves if number == len(cases) - 1 else None,
        )
        for number, (run, idle, stall) in enumerate(cases)
    ]
    simulate = importlib.import_module(f"hwlut.verify.{engine}").run
    for (run, idle, stall), outcome in zip(cases, simulate(jobs)):
        values = np.stack(list(sink.unpack(outcome.outputs[sink.name]).values()), axis=1)
        expected, labels = run.expected(outcome.accepted)
        # What came out before it went in is caught as a beat too many or as one refused.
        found.compare(expected, values.reshape(-1)[: len(expected)], labels, run.order)
        found.add(outcome, run, idle, stall)
        for name, cycles in outcome.accepted.items():
            if not run.independent and len(cycles) < len(run.inputs[name]):
                found.fault = found.fault or refused(name, len(cycles), len(run.inputs[name]))
