"""Some cases through all engines, in a process of its own."""

import faulthandler
import json
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwlut.errors import ToolError
from hwlut.hdl import Rtl
from hwlut.verify import cocotb, pysim
from soak.case import Case, drawn
from soak.difference import Difference
from soak.emission import emitted
from soak.engines import SOFTWARE, share_of
from soak.found import SHARED, Batch, Finding
from soak.hardware import driven
from soak.library import Library
from soak.sizes import FEW, SOME

__all__ = ["LIMIT_S", "run_batch", "simulated"]

LIMIT_S = 3600
"""After so long a batch hangs, and its process ends."""

_SIMULATORS = {"pysim": (1 / 16, FEW, pysim.run), "cocotb": (1 / 1500, FEW, cocotb.run)}


def _cpu() -> float:
    """Seconds that this process and those that it started and that ended have computed."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class _Running:
    def __init__(self, batch: Batch, journal: Path):
        self.batch, self._journal = batch, journal

    def step(self, case: Case, engine: str, about: int, compute) -> None:
        """One comparison, noted in the journal before it starts, so that a crash can be told."""
        self.note(case.number, engine)
        start = _cpu()
        try:
            compared = compute()
            if compared is not None:
                self.batch.compared[case.number, engine] = compared
        except Difference as difference:
            self._found(case, engine, about, str(difference))
        except ToolError as error:
            self.batch.refused[case.number, engine] = str(error)
        except ValueError as error:
            if engine not in ("c", "onnx"):
                self._found(case, engine, about, f"ValueError: {error}")
            else:
                self.batch.refused[case.number, engine] = str(error)
        except Exception as error:
            self._found(case, engine, about, f"{type(error).__name__}: {error}")
        self.time(engine, start)

    def note(self, number: int | None, engine: str) -> None:
        self._journal.write_text(json.dumps([number, engine]))

    def time(self, stage: str, start: float) -> None:
        self.batch.seconds[stage] = self.batch.seconds.get(stage, 0.0) + _cpu() - start

    def _found(self, case: Case, engine: str, about: int, message: str) -> None:
        self.batch.findings.append(Finding(case.number, case.kind, engine, message[:2000], about))


def run_batch(seed: int, numbers: Sequence[int], journal: str, kind: str | None = None) -> Batch:
    """The cases of these numbers, of one kind where it is given."""
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    running = _Running(Batch(), Path(journal))
    start = _cpu()
    cases = []
    for number in numbers:
        running.note(number, "draw")
        cases.append(drawn(seed, number, kind))
    running.time("draw", start)
    for case in cases:
        running.batch.keys[case.number] = (case.kind, case.key)
        for engine, (kinds, share, compute) in SOFTWARE.items():
            if case.kind in kinds and share_of(case, engine, share) and (engine != "tile" or case.built):
                running.step(case, engine, SOME, lambda compute=compute, case=case: compute(case, SOME))
    _hardware(running, [case for case in cases if case.form is not None])
    faulthandler.cancel_dump_traceback_later()
    return running.batch


def _hardware(running: _Running, cases: list[Case]) -> None:
    running.note(None, SHARED)
    start = _cpu()
    made = []
    for case, rtl in zip(cases, emitted(cases)):
        if isinstance(rtl, Rtl):
            made.append((case, rtl))
        elif isinstance(rtl, ValueError):
            running.batch.refused[case.number, "verilator"] = str(rtl)
        else:
            running.batch.findings.append(
                Finding(case.number, case.kind, "verilator", f"{type(rtl).__name__}: {rtl}"[:2000], SOME)
            )
    running.time("emission", start)
    with tempfile.TemporaryDirectory(prefix="hwlut-soak-") as folder:
        start = _cpu()
        library = Library([rtl for _, rtl in made], Path(folder))
        running.time("build", start)
        for number, (case, rtl) in enumerate(made):
            if number in library.errors:
                finding = Finding(case.number, case.kind, "verilator", library.errors[number], SOME)
                running.batch.findings.append(finding)
                continue
            running.step(
                case, "verilator", SOME,
                lambda number=number, case=case, rtl=rtl: driven(
                    case, rtl, lambda job: library.run(number, job), SOME
                ),
            )  # fmt: skip
    for case, rtl in made:
        for engine, (share, about, _) in _SIMULATORS.items():
            if share_of(case, engine, share):
                running.step(
                    case, engine, about,
                    lambda case=case, rtl=rtl, engine=engine, about=about: simulated(case, rtl, engine, about),
                )  # fmt: skip


def simulated(case: Case, rtl: Rtl, engine: str, about: int) -> int:
    """A design in one of the slower simulators."""
    run = _SIMULATORS[engine][2]
    return driven(case, rtl, lambda job: run([job])[0], about)
