"""hwlut plot: a picture of a table and its error."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwlut.cli.screen import emit
from hwlut.cli.table import Domain, Json, TablePath, open_table, writing
from hwlut.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture_format", "plot", "save_picture"]


def picture_format(path: Path) -> str:
    """The format that the name of `path` asks for; ValueError for one that is not drawn."""
    from hwlut.plot import FORMATS

    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"picture must be a file of {', '.join('.' + name for name in FORMATS)}, not {str(path)!r}")
    return kind


def save_picture(figure: "Figure", path: Path, kind: str) -> None:
    """Write `figure` to `path`, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format=kind)
    with writing(path):
        write_atomic(path, picture.getvalue())


def plot(
    table: TablePath,
    file: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="A .png, .svg or .pdf; NAME.png unless given.")
    ] = None,
    domain: Domain = None,
    as_json: Json = False,
) -> None:
    """Draw the function, the unit and its error, with the breakpoints marked; of a multiplier, its errors."""
    from hwlut.plot import figure

    opened = open_table(table)
    path = file or Path(f"{opened.unit.name}.png")
    kind = picture_format(path)
    save_picture(figure(opened.unit, domain), path, kind)
    if as_json:
        emit(opened.source | {"plot": str(path)})
    else:
        print(path)
