"""hwlut synth: what a table takes up as gates or look-up tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwlut.cli.form import Comparison, Lanes, Multiplier, Reloadable, chosen_form
from hwlut.cli.plot import picture_format, save_picture
from hwlut.cli.screen import columns, emit, progress
from hwlut.cli.table import Json, Scale, Table, TablePath, open_table

if TYPE_CHECKING:
    from hwlut.verify.synthesis import Comparison as Compared

__all__ = ["synth"]


def synth(
    table: TablePath,
    scale: Scale = None,
    liberty: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Standard cells; OSU's for TSMC 180 nm unless given.")
    ] = None,
    target: Annotated[str, typer.Option(help="liberty (standard cells), ice40 or xilinx.")] = "liberty",
    lanes: Lanes = None,
    reloadable: Reloadable = False,
    comparison: Comparison = None,
    multiplier: Multiplier = None,
    compare: Annotated[bool, typer.Option("--compare", help="Set it beside truth tables and other fits.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --compare: draw error against area into FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Map the hardware to cells: area, delay, LUTs, before layout; status 1 when the netlist is not the unit."""
    if plot is not None and not compare:
        raise ValueError("--plot must be given with --compare")
    opened = open_table(table)
    form = chosen_form(lanes, reloadable, comparison, multiplier)
    if compare and form:
        raise ValueError(f"--compare must be given without --{next(iter(form))}")
    if compare:
        _compare(opened, scale, liberty, target, plot, as_json)
        return
    from hwlut.hdl import generate
    from hwlut.verify.synthesis import synthesize

    design = generate(opened.unit, scale=scale, **form) if form else None
    found = synthesize(opened.unit, scale=scale, target=target, liberty=liberty, verilog=design)
    if as_json:
        emit(opened.source | found.to_dict())
    else:
        print(found)
    if not found.ok:
        raise typer.Exit(1)


def _compare(
    opened: Table, scale: int | None, liberty: Path | None, target: str, plot: Path | None, as_json: bool
) -> None:
    from hwlut.verify.synthesis import compare, picture

    kind = picture_format(plot) if plot else ""
    with progress("synth") as step:
        found = compare(opened.unit, scale=scale, target=target, liberty=liberty, step=step)
    if plot:
        save_picture(picture(found), plot, kind)
    if as_json:
        emit(opened.source | found.to_dict() | {"plot": str(plot) if plot else None})
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(1)


def _print(found: "Compared") -> None:
    first = found.candidates[0].synthesis
    cells = first.liberty or first.netlist.target
    print(f"{first.unit} at scale {first.scale}: {first.netlist.tool}; {cells}; pre-layout")
    rows = []
    for candidate in found.candidates:
        netlist, recheck = candidate.synthesis.netlist, candidate.synthesis.recheck
        told = "not run" if recheck is None else "PASS" if recheck.ok else "FAIL"
        size: list[float | None] = [netlist.luts]
        if netlist.area is not None:
            gates = netlist.gate_equivalents
            size = [round(netlist.area), None if gates is None else round(gates), netlist.delay]
        rows.append([candidate.label, candidate.mse, candidate.max_error, *size, netlist.registers, told])
    sizes = ["LUTs"] if first.liberty is None else ["um^2", "GE", "ns"]
    columns(rows, ["", "mse", "max |error|", *sizes, "registers", "re-check"])
    for reason in found.left_out:
        print(f"left out: {reason}")
    print(f"smallest of an mse of at most {found.candidates[0].mse:.4g}: {found.smallest.label}")
