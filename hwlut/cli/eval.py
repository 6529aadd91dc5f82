"""hwlut eval: how far a table is from its function."""

import dataclasses
import math

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Domain, Json, TablePath, open_table

__all__ = ["evaluate"]


def evaluate(table: TablePath, domain: Domain = None, as_json: Json = False) -> None:
    """Compare every code's result with the function, at each scale."""
    from hwlut.accuracy import accuracy, fitted_domain

    opened = open_table(table)
    rows = accuracy(opened.unit, domain)
    low, high = domain or fitted_domain(opened.unit)
    mean = math.fsum(row.mse for row in rows) / len(rows)
    if as_json:
        ends = [end if math.isfinite(end) else None for end in (low, high)]
        scales = [dataclasses.asdict(row) for row in rows]
        emit(opened.source | {"domain": ends, "scales": scales, "mse": mean})
        return
    where = "all codes" if math.isinf(low) and math.isinf(high) else f"[{low:g}, {high:g}]"
    print(f"{opened.unit.name} against {opened.unit.function} on {where}")
    cells = [[row.scale, row.codes, row.mse, row.max_error, row.code, row.x] for row in rows]
    columns(cells, ["scale", "codes", "mse", "max |error|", "at code", "at x"])
    print(f"mean mse over scales: {mean:.4g}")
