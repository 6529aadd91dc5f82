"""hwlut tile: an accelerator that programs fit."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, keep, open_table, writing

__all__ = ["tile"]

_SHOWN = ("operations", "value_bits", "accumulator_bits", "values", "inputs", "weights", "constants", "operands")


def tile(
    programs: Annotated[
        list[str], typer.Argument(metavar="PROGRAM...", help="Programs of tensors, as of hwlut export.")
    ],
    rows: Annotated[int, typer.Option(help="Samples at once.")] = 8,
    columns_: Annotated[int, typer.Option("--columns", help="Outputs at once.")] = 8,
    loops: Annotated[int, typer.Option(help="Levels of its loop nests.")] = 6,
    name: Annotated[str, typer.Option(help="Of the tile and its module.")] = "tile",
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="NAME.json unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Write the tile of a size that has just what the programs need."""
    from hwlut.accel import fit_tile
    from hwlut.units import Program

    opened = [open_table(program) for program in programs]
    path = file or Path(f"{name}.json")
    for each in opened:
        if not isinstance(each.unit, Program):
            raise TypeError(f"{each.path} must be a program, not a {type(each.unit).__name__}")
        keep(each.path, path, "fit", "file")
    units = [cast(Program, each.unit) for each in opened]
    found = fit_tile(*units, name=name, rows=rows, columns=columns_, loops=loops)
    with writing(path):
        found.save(path)
    content = found.content()
    if as_json:
        files = {"file": str(path), "programs": [str(each.path) for each in opened]}
        emit(content | {"schema": "hwlut.fitted/1", "digest": found.digest} | files)
        return
    told: list[list[Any]] = [["tile", str(path)], ["rows x columns", f"{rows} x {columns_}"]]
    told.append(["multipliers", ", ".join(each.family.value for each in found.multipliers) or None])
    told.append(["look-ups", f"{found.entries}, {found.encoder.value}" if found.encoder else None])
    told.append(["operators", str(len(found.operators))])
    told.append(["tables", f"{found.tables} x 2^{found.table_inputs}" if found.table_inputs else None])
    told += [[key, _words(content[key])] for key in _SHOWN]
    columns(told)


def _words(value: Any) -> str | None:
    return (", ".join(value) or None) if isinstance(value, list) else str(value)
