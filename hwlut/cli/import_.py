"""hwlut import: from another project's parameter file to tables."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, writing
from hwlut.fixed import Fixed

__all__ = ["import_"]


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file of GQA-LUT, such as gelu_pwl_7.json.")],
    tie: Annotated[
        str, typer.Option(help="Where x equals breakpoint p: ge (x >= p), or gt (x > p) with a table a scale.")
    ] = "ge",
    function: Annotated[str | None, typer.Option(help="Which one of a file that holds several.")] = None,
    input_bits: Annotated[int, typer.Option(help="Bits of the signed input code.")] = 8,
    folder: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the tables go.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Write the tables that compute what FILE says: NAME.json, where NAME is FUNCTION_SEGMENTS."""
    from hwlut.importers import gqa_lut

    units = gqa_lut.read(file, tie, function, Fixed(input_bits))
    tables = {folder / f"{unit.name}.json": unit for unit in units}
    for path, unit in tables.items():
        if path.resolve() == file.resolve():
            raise ValueError(f"{path} is the file to import: -o must be another folder")
        with writing(path):
            unit.save(path)
    if as_json:
        described = [
            {"table": str(path), "name": unit.name, "function": unit.function, "digest": unit.digest}
            for path, unit in tables.items()
        ]
        emit({"tables": described})
    else:
        columns([[str(path), unit.digest] for path, unit in tables.items()])
