"""hwlut sim: every code through an engine, compared with the definition."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from hwlut.hdl import Rtl

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
    """Simulate every input code and compare each result; status 1 when any differs."""
    from hwlut.verify import SOFTWARE, check

    opened = open_table(table)
    design: Path | Rtl | None = verilog
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
    if form:
        from hwlut.hdl import generate

        for option, given in (("verilog", verilog is not None), (f"engine {engine}", engine in SOFTWARE)):
            if given:
                raise ValueError(f"--{option} must be given without --{next(iter(form))}")
        design = generate(opened.unit, scale=scale, **form)
    report = check(
        opened.unit,
        engine=engine,
        against=against,
        scale=scale,
        verilog=design,
        values="all" if values == "all" else tuple(values.split(",") if values else ()),
        waves=waves,
        seed=seed,
    )
    if as_json:
        emit(opened.source | report.to_dict())
    else:
        print(report)
    if not report.ok:
        raise typer.Exit(1)
