"""hwlut gen-rtl: from a table to Verilog."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.design import designed
from hwlut.cli.form import (
    Banks,
    Combinational,
    Comparison,
    Encoders,
    Lanes,
    Multiplier,
    Reloadable,
    Requantizer,
    Stages,
    Terms,
    Tile,
    chosen_form,
)
from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, Scale, TablePath, open_table, writing

__all__ = ["gen_rtl"]


def gen_rtl(
    table: TablePath,
    scale: Scale = None,
    stages: Stages = None,
    reset: Annotated[str, typer.Option(help="rst (active high) or aresetn (active low), synchronous.")] = "rst",
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
    folder: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the files go.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of another unit or form.")] = False,
    as_json: Json = False,
) -> None:
    """Write NAME.v and NAME.rtl.json, which describes its ports; of a tile also NAME.h and NAME_registers.md.

    A table with several scales takes the scale with each beat unless --scale fixes it.
    """
    opened = open_table(table)
    form = chosen_form(
        stages=stages,
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
    rtl = designed(opened.unit, scale, reset, form)
    with writing(folder):
        paths = {kind: str(path) for kind, path in zip(rtl.ENDS, rtl.save(folder, force=force))}
    if as_json:
        emit(opened.source | paths | {"rtl": rtl.description})
        return
    told = {key: rtl.description[key] for key in ("module", "scale", "reset", "latency", "cycles_per_beat")}
    if "rows" in rtl.description:
        rows = rtl.description["rows"]
        told |= {"beats_per_row": rows["inputs"], "cycles_per_row": rows["cycles"], "load_cycles": rows["load_cycles"]}
    if "stream_rows" in rtl.description:
        rows = rtl.description["stream_rows"]
        told |= {"places_per_row": f"{rows['least']} to {rows['most']}", "passes": rows["passes"]}
    if "tile" in rtl.description:
        told = {key: rtl.description[key] for key in ("module", "reset")}
        told |= {key: rtl.description["tile"][key] for key in ("rows", "columns")}
    columns([*paths.items(), *([key, None if value is None else str(value)] for key, value in told.items())])
