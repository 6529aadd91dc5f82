"""What a table's errors are, by the unit's kind: content for --json, and rows of text."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from hwlut.accuracy import accuracy, fitted_domain, metrics
from hwlut.cli.screen import cell
from hwlut.unit import Unit
from hwlut.units.multiplier import Multiplier

__all__ = ["Errors", "errors", "metric_rows"]


@dataclasses.dataclass(frozen=True)
class Errors:
    """content: of the JSON. title, headers, rows, summary: of the text."""

    content: dict[str, Any]
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    summary: str | None = None


@singledispatch
def errors(unit: Unit, domain: tuple[float, float] | None) -> Errors:
    """The errors of a unit that names its function, over `domain` or the function's own."""
    found = accuracy(unit, domain)
    low, high = domain or fitted_domain(unit)
    mean = math.fsum(row.mse for row in found) / len(found)
    ends = [end if math.isfinite(end) else None for end in (low, high)]
    where = "all codes" if math.isinf(low) and math.isinf(high) else f"[{low:g}, {high:g}]"
    return Errors(
        content={"domain": ends, "scales": [dataclasses.asdict(row) for row in found], "mse": mean},
        title=f"{unit.name} against {unit.function} on {where}",
        headers=["scale", "codes", "mse", "max |error|", "at code", "at x"],
        rows=[[row.scale, row.codes, row.mse, row.max_error, row.code, row.x] for row in found],
        summary=f"mean mse over scales: {mean:.4g}",
    )


@errors.register
def _(unit: Multiplier, domain: tuple[float, float] | None) -> Errors:
    if domain is not None:
        raise ValueError(f"Multiplier domain must not be given, not {domain[0]:g} to {domain[1]:g}")
    found = metrics(unit)
    title = f"{unit.name} against the exact product of {unit.a} and {unit.b}"
    return Errors(content=found, title=title, headers=[], rows=metric_rows(found))


def metric_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The metrics of a multiplier as text; none of a unit without."""
    if not found:
        return []
    pairs = f"{found['pairs']}, {'all of them' if found['exhaustive'] else 'a sample'}"
    names = [name for name in found if name not in ("pairs", "exhaustive")]
    return [("pairs", pairs), *((name, cell(found[name])) for name in names)]
