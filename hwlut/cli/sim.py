"""hwlut sim: every code through an engine, compared with the definition; a tile's commands, with its model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.form import (
    Banks,
    Combinational,
    Comparison,
    Encoders,
    Lanes,
    Multiplier,
    Reloadable,
    Requantizer,
    Terms,
    Tile,
    chosen_form,
)
from hwlut.cli.screen import emit
from hwlut.cli.table import Json, Scale, TablePath, open_table

if TYPE_CHECKING:
    from hwlut import units
    from hwlut.accel.regression import TileReport
    from hwlut.hdl import Rtl
    from hwlut.verify import Report

__all__ = ["sim"]


def sim(
    table: TablePath,
    scale: Scale = None,
    engine: Annotated[str, typer.Option(help="verilator, cocotb or pysim.")] = "verilator",
    against: Annotated[str, typer.Option(help="What it must equal: reference, cpu or cuda.")] = "reference",
    verilog: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Simulate this Verilog, its .rtl.json beside it.")
    ] = None,
    lanes: Lanes = None,
    reloadable: Reloadable = False,
    comparison: Comparison = None,
    multiplier: Multiplier = None,
    terms: Terms = None,
    requantize: Requantizer = None,
    combinational: Combinational = False,
    banks: Banks = None,
    tile: Tile = None,
    encoders: Encoders = None,
    values: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of a program: compare these values, too, or all.")
    ] = None,
    waves: Annotated[Path | None, typer.Option(metavar="FILE", help="Record a waveform.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random stalls.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate every input code and compare each result, or a tile with its model; status 1 when any differs."""
    from hwlut import units

    opened = open_table(table)
    form = chosen_form(
        lanes=lanes,
        reloadable=reloadable,
        comparison=comparison,
        multiplier=multiplier,
        terms=terms,
        requantize=requantize,
        combinational=combinational,
        banks=banks,
        tile=tile,
        encoders=encoders,
    )
    report: Report | TileReport
    if isinstance(opened.unit, units.Tile):
        given = form | {"scale": scale, "values": values, "against": None if against == "reference" else against}
        report = _of_tile(opened.unit, engine, verilog, waves, seed, given)
    else:
        report = _of_unit(opened.unit, engine, against, scale, verilog, form, values, waves, seed)
    if as_json:
        emit(report.to_dict() | opened.told("sim") | {"kind": type(opened.unit).__name__})
    else:
        print(report)
    if not report.ok:
        raise typer.Exit(1)


def _of_unit(
    unit: "units.Unit",
    engine: str,
    against: str,
    scale: int | None,
    verilog: Path | None,
    form: dict[str, Any],
    values: str | None,
    waves: Path | None,
    seed: int,
) -> "Report":
    from hwlut.verify import SOFTWARE, check

    design: Path | Rtl | None = verilog
    if form:
        from hwlut.hdl import generate

        for option, given in (("verilog", verilog is not None), (f"engine {engine}", engine in SOFTWARE)):
            if given:
                raise ValueError(f"--{option} must be given without --{next(iter(form))}")
        design = generate(unit, scale=scale, **form)
    return check(
        unit,
        engine=engine,
        against=against,
        scale=scale,
        verilog=design,
        values="all" if values == "all" else tuple(values.split(",") if values else ()),
        waves=waves,
        seed=seed,
    )


def _of_tile(
    tile: "units.Tile", engine: str, verilog: Path | None, waves: Path | None, seed: int, options: dict[str, Any]
) -> "TileReport":
    """The check of a tile, which has none of the other options."""
    from hwlut.accel.regression import check_tile

    for name, value in options.items():
        if value is not None:
            raise ValueError(f"Tile {name} must not be given, not {getattr(value, 'name', value)}")
    return check_tile(tile, engine, verilog=verilog, waves=waves, seed=seed)
