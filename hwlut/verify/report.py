"""What a check found."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Pass", "Report"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One run over all vectors.

    idle, stall: chances of a pause a cycle. cycles: clock cycles, None in software. reloads: how
    many tables were loaded in its course.
    """

    idle: float
    stall: float
    cycles: int | None
    reloads: int = 0

    def __str__(self) -> str:
        flow = (
            "free-running" if not (self.idle or self.stall) else f"{self.idle:.0%} idle, {self.stall:.0%} back-pressure"
        )
        if self.reloads:
            flow += f", {self.reloads} tables loaded"
        return flow if self.cycles is None else f"{flow}: {self.cycles} cycles"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of `hwlut.check`.

    Parameters
    ----------
    unit, schema, digest: what was checked.
    engine, tool: what computed it, with versions; of "cpu" and "cuda" whether a kernel or torch ran.
    against: what gave the expected results, likewise.
    scale: the hard-wired scale, or None. seed: of stalls and samples.
    vectors: how many a pass. exhaustive: whether they are every code. scope: which they are, in words.
    passes: the runs. latency, cycles_per_row, load_cycles: cycles measured, None where not measured or where there is
    none; of rows of several beats the time from the first beat of one to its first result, from one to the next, and of
    a load of a table.
    mismatches: wrong results over all passes. first: the first one (its input, expected, got).
    fault: a broken stream protocol or another number of cycles than declared, or None. seconds: wall time of the check.
    """

    unit: str
    schema: str
    digest: str
    engine: str
    tool: str
    against: str
    scale: int | None
    seed: int
    vectors: int
    exhaustive: bool
    scope: str
    passes: tuple[Pass, ...]
    latency: int | None
    cycles_per_row: int | None
    load_cycles: int | None
    mismatches: int
    first: dict[str, int | str | None] | None
    fault: str | None
    seconds: float

    @property
    def ok(self) -> bool:
        """True when something was compared and everything agreed."""
        return self.vectors > 0 and self.mismatches == 0 and self.fault is None

    @property
    def cycles(self) -> int:
        """Clock cycles of all passes."""
        return sum(run.cycles or 0 for run in self.passes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, with `ok` and `cycles`."""
        return {"ok": self.ok, **asdict(self), "cycles": self.cycles}

    def __str__(self) -> str:
        rows = [
            ("unit", f"{self.unit} ({self.schema}, digest {self.digest[:12]})"),
            ("engine", f"{self.engine}: {self.tool}" if self.tool else self.engine),
            ("against", self.against),
            ("vectors", f"{self.vectors}: {self.scope}"),
            *((f"pass {number}", str(run)) for number, run in enumerate(self.passes, 1)),
        ]
        times = (("latency", self.latency), ("a row", self.cycles_per_row), ("a load", self.load_cycles))
        rows += [(label, f"{cycles} cycles") for label, cycles in times if cycles is not None]
        rows.append(("mismatches", str(self.mismatches)))
        if self.first is not None:
            rows.append(("first", ", ".join(f"{key} {value}" for key, value in self.first.items())))
        if self.fault is not None:
            rows.append(("fault", self.fault))
        rows.append(("result", f"{'PASS' if self.ok else 'FAIL'} in {self.seconds:.2f} s"))
        return "\n".join(f"{label:<11} {text}" for label, text in rows)
