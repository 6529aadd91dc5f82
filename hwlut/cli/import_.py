"""hwlut import: from another project's file to tables."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, keep, writing
from hwlut.files import read_bytes
from hwlut.fixed import Fixed

if TYPE_CHECKING:
    from hwlut.units import Unit

__all__ = ["import_"]


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Of GQA-LUT, such as gelu_pwl_7.json, or of a multiplier.")
    ],
    format: Annotated[
        str | None,
        typer.Option(help="Of a multiplier: approxtorch, adapt, torchapprox, tfapprox, evoapprox-c or verilog."),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(help="Of a product table: value (-128 to 127) or pattern (0 to 127, then -128 to -1)."),
    ] = None,
    signed: Annotated[
        bool | None, typer.Option("--signed/--unsigned", help="Of a multiplier: both operands' sign.")
    ] = None,
    bits: Annotated[str | None, typer.Option(help="Of a multiplier: both operands' bits, such as 8 or 8x4.")] = None,
    name: Annotated[str | None, typer.Option(help="Of a multiplier: the unit's name.")] = None,
    tie: Annotated[
        str | None,
        typer.Option(help="Of GQA-LUT, where x equals breakpoint p: ge (x >= p), or gt (x > p) with a table a scale."),
    ] = None,
    function: Annotated[str | None, typer.Option(help="Of GQA-LUT: which one of a file that holds several.")] = None,
    input_bits: Annotated[int | None, typer.Option(help="Of GQA-LUT: bits of the signed input code.")] = None,
    folder: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the tables go.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Write the tables that compute what FILE says: NAME.json."""
    from hwlut.importers import gqa_lut, multipliers

    of_multipliers = {"order": order, "signed": signed, "bits": bits, "name": name}
    of_gqa_lut = {"tie": tie, "function": function, "input-bits": input_bits}
    if format is None:
        format = multipliers.recognise(file)
    if format is None:
        _refuse(of_multipliers, f"{file} is not recognised as a multiplier: --format tells what it is")
        if not read_bytes(file, multipliers.SIZE_LIMIT).lstrip().startswith((b"{", b"[")):
            raise ValueError(f"{file} is neither of GQA-LUT nor recognised as a multiplier: --format tells what it is")
        input = Fixed(8 if input_bits is None else input_bits)
        units: list[Unit] = [*gqa_lut.read(file, "ge" if tie is None else tie, function, input)]
    else:
        _refuse(of_gqa_lut, f"{file} is read as {format}, not as of GQA-LUT")
        unit = multipliers.read(file, format, order=order, signed=signed, bits=_bits(bits), name=name)
        units = [unit]
    _write(units, file, folder, as_json)


def _refuse(options: dict[str, Any], why: str) -> None:
    """Refuse the options that belong to files of another kind."""
    if given := [key for key, value in options.items() if value is not None]:
        raise ValueError(f"--{given[0]} has no meaning here: {why}")


def _bits(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,2})(?:x([0-9]{1,2}))?", text)
    if not found:
        raise ValueError(f"--bits must be such as 8 or 8x4, not {text!r}")
    return int(found[1]), int(found[2] or found[1])


def _write(units: "list[Unit]", file: Path, folder: Path, as_json: bool) -> None:
    tables = {folder / f"{unit.name}.json": unit for unit in units}
    for path, unit in tables.items():
        keep(file, path, "import", "folder")
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
