"""hwlut export: a multiplier's products as a table of another simulator."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.screen import emit
from hwlut.cli.table import Json, TablePath, keep, open_table, writing

__all__ = ["export"]


def export(
    table: TablePath,
    format: Annotated[str, typer.Option(help="approxtorch, adapt, torchapprox or tfapprox.")],
    order: Annotated[
        str, typer.Option(help="Of both operands: value (-128 to 127) or pattern (0 to 127, -128 to -1).")
    ],
    output: Annotated[Path, typer.Option("-o", metavar="FILE", help="The file to write.")],
    as_json: Json = False,
) -> None:
    """Write all products of a multiplier as a table that another project's simulator reads."""
    from hwlut.importers import multipliers
    from hwlut.units.multiplier import Multiplier

    opened = open_table(table)
    if not isinstance(opened.unit, Multiplier):
        raise TypeError(f"{opened.path} must be a multiplier, not a {type(opened.unit).__name__}")
    keep(opened.path, output, "export", "file")
    with writing(output):
        multipliers.write(opened.unit, output, format, order)
    if as_json:
        emit(opened.source | {"file": str(output), "format": format, "order": order})
    else:
        print(output)
