"""hwlut export: what hwlut holds, as files of others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwlut.cli.screen import emit
from hwlut.cli.table import Json, Table, keep, open_table, writing

if TYPE_CHECKING:
    from hwlut.units import Program

__all__ = ["export"]

_TABLES = ("approxtorch", "adapt", "torchapprox", "tfapprox")
_PROGRAMS = ("c", "onnx")
_RUN = "program"


def export(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A multiplier, a program, or the folder of a search or compression.")
    ],
    format: Annotated[
        str, typer.Option(help=f"{', '.join(_TABLES)}; of a program {', '.join(_PROGRAMS)}; of a run {_RUN}.")
    ],
    output: Annotated[Path, typer.Option("-o", metavar="FILE", help="The file to write.")],
    order: Annotated[
        str | None,
        typer.Option(help="Of both operands of a multiplier: value (-128 to 127) or pattern (0 to 127, -128 to -1)."),
    ] = None,
    factor_bits: Annotated[
        int | None, typer.Option(help="Of a run: bits of the multipliers of requantizations, 8 to 31.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a multiplier's products for another simulator, a program as C or ONNX, or a trained run as a program."""
    known = (*_TABLES, *_PROGRAMS, _RUN)
    if format not in known:
        raise ValueError(f"format must be one of {', '.join(known)}, not {format!r}")
    if (order is not None) != (format in _TABLES):
        raise ValueError(f"--order must be given with formats {', '.join(_TABLES)}, and only with them")
    if factor_bits is not None and format != _RUN:
        raise ValueError(f"--factor-bits must be given with format {_RUN}, not with {format}")
    if format == _RUN:
        program = _trained(Path(source), output, {} if factor_bits is None else {"factor_bits": factor_bits})
        with writing(output):
            program.save(output)
        _tell({"source": source, "digest": program.digest}, output, format, order, as_json)
        return
    opened = open_table(source)
    keep(opened.path, output, "export", "file")
    if format in _TABLES:
        _write_products(opened, output, format, order or "")
    else:
        _write_program(opened, output, format)
    _tell(opened.source, output, format, order, as_json)


def _tell(source: dict[str, object], output: Path, format: str, order: str | None, as_json: bool) -> None:
    if as_json:
        emit(source | {"file": str(output), "format": format, "order": order})
    else:
        print(output)


def _write_products(opened: Table, output: Path, format: str, order: str) -> None:
    from hwlut.importers import multipliers
    from hwlut.units.multiplier import Multiplier

    if not isinstance(opened.unit, Multiplier):
        raise TypeError(f"{opened.path} must be a multiplier, not a {type(opened.unit).__name__}")
    with writing(output):
        multipliers.write(opened.unit, output, format, order)


def _write_program(opened: Table, output: Path, format: str) -> None:
    from hwlut.units import Program

    if not isinstance(opened.unit, Program):
        raise TypeError(f"{opened.path} must be a program, not a {type(opened.unit).__name__}")
    with writing(output):
        if format == "c":
            from hwlut.program.c.source import export_c

            export_c(opened.unit, output)
        else:
            from hwlut.program.onnx.file import export_onnx

            export_onnx(opened.unit, output)


def _trained(folder: Path, output: Path, options: dict[str, int]) -> "Program":
    """The program of what a search or a compression left in its folder; its training data decide formats."""
    from hwlut.lowering import export as lowered
    from hwlut.names import legal_name
    from hwlut.prune import open_compressed
    from hwlut.search import open_search
    from hwlut.train.evaluation import shown

    opened = {"config.json": open_search, "compression.json": open_compressed}
    for name, open_run in opened.items():
        if (folder / name).is_file():
            _, task, model = open_run(folder)
            return lowered(model, shown(task), legal_name(output.stem), **options)
    raise ValueError(f"{folder} must be the folder of a finished search or compression, with {' or '.join(opened)}")
