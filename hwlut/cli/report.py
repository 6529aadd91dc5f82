"""hwlut report: a page on what is in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.screen import emit, note
from hwlut.cli.table import Json, writing

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds hwlut's files, in subfolders too.")],
    file: Annotated[Path, typer.Option("-o", metavar="FILE", help="The page.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the page; FOLDER's name unless given.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Show the waveform of this layer.")] = None,
    waves: Annotated[Path | None, typer.Option(metavar="FILE", help="Show this waveform, a file in FOLDER.")] = None,
    as_json: Json = False,
) -> None:
    """Write a page on programs, tiles, runs, areas, fronts and trainings in a folder; status 1 for damaged files."""
    from hwlut.report import write_report

    if file.suffix not in (".html", ".htm"):
        raise ValueError(f"-o must be an .html file, not {str(file)!r}")
    with writing(file):
        found = write_report(folder, file, title=title, layer=layer, waves=waves)
    for each in found.damaged:
        note(f"{folder / each.path}: {each.error}")
    if as_json:
        files = [
            {"path": str(each.path), "kind": each.kind, "bytes": each.size, "error": each.error} for each in found.files
        ]
        emit({"report": str(found.path), "title": found.title, "ok": not found.damaged, "files": files})
    else:
        print(found.path)
    if found.damaged:
        raise typer.Exit(1)
