"""What a proof has found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwlut.files import write_atomic

__all__ = ["Finding", "Proof", "Trace"]


@dataclass(frozen=True)
class Trace:
    """A counterexample: the numbers at a design's ports, cycle by cycle, of the given widths. The promise is broken in
    the last cycle; before the first one registers hold anything.
    """

    widths: Mapping[str, int]
    cycles: tuple[Mapping[str, int], ...]

    def __str__(self) -> str:
        """A row a port, hexadecimal, a column a cycle."""
        shown = {name: [f"{cycle[name]:x}" for cycle in self.cycles] for name in self.widths}
        rows = {"cycle": [str(number) for number in range(len(self.cycles))], **shown}
        wide = [max(len(texts[cycle]) for texts in rows.values()) for cycle in range(len(self.cycles))]
        head = max(len(name) for name in rows)
        return "\n".join(
            f"{name:<{head}}  {'  '.join(f'{text:>{width}}' for text, width in zip(texts, wide))}"
            for name, texts in rows.items()
        )

    def save(self, path: Path, module: str) -> None:
        """Write a VCD file, 10 ns a cycle."""
        marks = {name: f"v{number}" for number, name in enumerate(self.widths)}
        lines = ["$timescale 1ns $end", f"$scope module {module} $end", "$var wire 1 clk clk $end"]
        lines += [f"$var wire {width} {marks[name]} {name} $end" for name, width in self.widths.items()]
        lines += ["$upscope $end", "$enddefinitions $end"]
        for number, cycle in enumerate(self.cycles):
            lines += [f"#{10 * number}", "1clk", *(f"b{cycle[name]:b} {marks[name]}" for name in self.widths)]
            lines += [f"#{10 * number + 5}", "0clk"]
        write_atomic(path, "\n".join([*lines, f"#{10 * len(self.cycles)}", ""]))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One promise. port: whose. text: what is promised. proven: True; False where the trace shows the contrary; None
    where neither was found in time. by: how; depth: of how many cycles. seconds: that it took.
    """

    port: str
    text: str
    proven: bool | None
    by: str
    depth: int
    seconds: float
    trace: Trace | None = None

    @property
    def result(self) -> str:
        """One word."""
        return {True: "proven", False: "REFUTED", None: "UNKNOWN"}[self.proven]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """All promises of a design. design: its module. digest: of its unit. tool: what proved. seconds: all of it."""

    design: str
    digest: str
    tool: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """True when there are promises and all are proven."""
        return bool(self.findings) and all(finding.proven for finding in self.findings)

    @property
    def refuted(self) -> Finding | None:
        """The first promise that is broken."""
        return next((finding for finding in self.findings if finding.proven is False), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, with `ok`."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        rows = [("design", f"{self.design} (digest {self.digest[:12]})"), ("by", self.tool)]
        for finding in self.findings:
            rows.append((finding.result, f"{finding.port}: {finding.text} ({finding.by})"))
            if finding.trace is not None:
                rows += [("", line) for line in str(finding.trace).splitlines()]
        rows.append(("result", f"{'PASS' if self.ok else 'FAIL'} in {self.seconds:.1f} s"))
        return "\n".join(f"{label:<11} {text}" for label, text in rows)
