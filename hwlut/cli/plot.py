"""hwlut plot: a picture of a table and its error."""

import io
from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.screen import emit
from hwlut.cli.table import Domain, Json, TablePath, open_table, writing
from hwlut.files import write_atomic

__all__ = ["plot"]


def plot(
    table: TablePath,
    file: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="A .png, .svg or .pdf; NAME.png unless given.")
    ] = None,
    domain: Domain = None,
    as_json: Json = False,
) -> None:
    """Draw the function, the unit and its error, with the breakpoints marked."""
    from hwlut.plot import FORMATS, figure

    opened = open_table(table)
    path = file or Path(f"{opened.unit.name}.png")
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"picture must be a file of {', '.join('.' + name for name in FORMATS)}, not {str(path)!r}")
    picture = io.BytesIO()
    figure(opened.unit, domain).savefig(picture, format=kind)
    with writing(path):
        write_atomic(path, picture.getvalue())
    if as_json:
        emit(opened.source | {"plot": str(path)})
    else:
        print(path)
