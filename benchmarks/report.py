"""What every benchmark prints and writes: benchmarks/results/<part>.json and docs/benchmarks.md."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hwlut.files import write_atomic

__all__ = ["Row", "report"]

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = _ROOT / "benchmarks" / "results"
_PAGE = _ROOT / "docs" / "benchmarks.md"
_APART = _ROOT / "benchmarks" / "apart.md"
"""What no benchmark measures, written by hand."""
_FEATURES = ("fma", "avx", "amx", "asimd", "sve")

_HEAD = """# Benchmarks

Written by `./dev bench PART`; each section is one part's last run. *Ratio* is ours divided by the baseline. A target
bounds the ratio where it says so, else our own figure; *holds* compares it with the figure of that run.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure and what it must reach.

    name: what was measured. unit: of `ours` and `baseline`. ours: our figure, None where this
    machine cannot run it. against: what the baseline is, in words. baseline: its figure, None where
    there is none to compare with.
    sense: "<=" or ">=". target: the bound, None where the figure only stands beside others.
    bounds: what the target bounds, "ours" or "ratio".
    """

    name: str
    unit: str
    ours: float | None
    against: str | None = None
    baseline: float | None = None
    sense: str = "<="
    target: float | None = None
    bounds: str = "ours"

    @property
    def ratio(self) -> float | None:
        """ours / baseline."""
        return None if self.baseline is None or self.ours is None else self.ours / self.baseline

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None where nothing was run or there is none."""
        if self.ours is None or self.target is None:
            return None
        figure = self.ours if self.bounds == "ours" else self.ratio
        if figure is None:
            raise ValueError(f"benchmark {self.name!r} bounds a ratio and must have a baseline")
        return figure <= self.target if self.sense == "<=" else figure >= self.target


def report(part: str, rows: Sequence[Row], tools: Mapping[str, str]) -> None:
    """Print the rows of one part, write its results and refresh the page of all parts.

    `tools` are versions of programs beside those of Python and its packages.
    """
    packages = {name: importlib.metadata.version(name) for name in ("hwlut", "numpy", "torch")}
    result = {
        "machine": _machine(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {"python": platform.python_version()} | packages | dict(tools),
        "command": f"./dev bench {part}",
        "rows": [asdict(row) | {"ratio": row.ratio, "holds": row.holds} for row in rows],
    }
    write_atomic(_RESULTS / f"{part}.json", json.dumps(result, indent=1) + "\n")
    sections = (_section(path.stem, json.loads(path.read_text())) for path in sorted(_RESULTS.glob("*.json")))
    write_atomic(_PAGE, "\n".join([_HEAD, _APART.read_text(), *sections]))
    for line in _table(result["rows"]):
        print(line)


def _machine() -> dict[str, Any]:
    """The processor with its vector features, and the GPU where there is one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    gpu = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpu = subprocess.run(query, capture_output=True, text=True).stdout.strip() or None
    return {
        "cpu": facts.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "features": [flag for flag in flags if flag.startswith(_FEATURES)],
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _section(part: str, result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return "\n".join(
        [
            f"## {part}",
            "",
            f"`{result['command']}` on {result['date']}: {machine['cpu']}, {machine['cores']} cores"
            f" ({', '.join(machine['features'])}){gpu}, {machine['system']}; {versions}.",
            "",
            *_table(result["rows"]),
            "",
        ]
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as an aligned Markdown table."""
    cells = [["what", "ours", "baseline", "ratio", "target", "holds"], *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    cells.insert(1, ["-" * widths[0], *(("-" * (width - 1)) + ":" for width in widths[1:5]), "-" * widths[5]])
    padded = (
        [
            text.rjust(width) if 1 <= place <= 4 else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths))
        ]
        for line in cells
    )
    return ["| " + " | ".join(line) + " |" for line in padded]


def _cells(row: Mapping[str, Any]) -> list[str]:
    baseline = "-" if row["baseline"] is None else f"{_figure(row['baseline'], row['unit'])} ({row['against']})"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
    target = "-" if row["target"] is None else f"ratio {row['sense']} {row['target']:g}"
    if row["target"] is not None and row["bounds"] == "ours":
        target = f"{row['sense']} {_figure(row['target'], row['unit'])}"
    ours = "not run" if row["ours"] is None else _figure(row["ours"], row["unit"])
    return [row["name"], ours, baseline, ratio, target, {True: "yes", False: "NO", None: "-"}[row["holds"]]]


def _figure(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}"
