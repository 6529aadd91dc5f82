"""hwlut synth: what a table takes up as gates or look-up tables, and a tile block by block."""

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
    Stages,
    Terms,
    Tile,
    chosen_form,
)
from hwlut.cli.plot import picture_format, save_picture
from hwlut.cli.screen import columns, emit, progress
from hwlut.cli.table import Json, Scale, Table, TablePath, open_table

if TYPE_CHECKING:
    from hwlut import units
    from hwlut.accel import TileArea
    from hwlut.verify.synthesis import Comparison as Compared

__all__ = ["synth"]


def synth(
    table: TablePath,
    scale: Scale = None,
    liberty: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Standard cells; OSU's for TSMC 180 nm unless given.")
    ] = None,
    target: Annotated[str, typer.Option(help="liberty (standard cells), ice40 or xilinx.")] = "liberty",
    stages: Stages = None,
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
    compare: Annotated[bool, typer.Option("--compare", help="Set it beside what could stand in its place.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --compare: draw error against area into FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Map the hardware to cells: area, delay, LUTs, before layout; status 1 when the netlist is not the unit."""
    if plot is not None and not compare:
        raise ValueError("--plot must be given with --compare")
    from hwlut import units

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
    if isinstance(opened.unit, units.Tile):
        given = form | {"scale": scale, "target": None if target == "liberty" else target, "compare": compare or None}
        area = _area(opened.unit, liberty, given)
        emit(opened.told("synth") | area.to_dict()) if as_json else _print_area(area)
        return
    if compare and form:
        raise ValueError(f"--compare must be given without --{next(iter(form))}")
    if compare:
        _compare(opened, scale, liberty, target, plot, as_json)
        return
    from hwlut.accuracy import metrics
    from hwlut.cli.errors import metric_rows
    from hwlut.hdl import generate
    from hwlut.verify.synthesis import synthesize

    design = generate(opened.unit, scale=scale, **form) if form else None
    found = synthesize(opened.unit, scale=scale, target=target, liberty=liberty, verilog=design)
    errors = metrics(opened.unit)
    if as_json:
        emit(opened.told("synth") | found.to_dict() | {"errors": errors})
    else:
        print(found)
        for label, text in metric_rows(errors):
            print(f"{label:<9} {text}")
    if not found.ok:
        raise typer.Exit(1)


def _area(tile: "units.Tile", liberty: Path | None, options: dict[str, Any]) -> "TileArea":
    """What a tile takes up, which has none of the other options."""
    from hwlut.accel import tile_area

    for name, value in options.items():
        if value is not None:
            raise ValueError(f"Tile {name} must not be given, not {getattr(value, 'name', value)}")
    return tile_area(tile, liberty)


def _print_area(found: "TileArea") -> None:
    print(f"{found.tile} (digest {found.digest[:12]}): {found.tool}; {found.liberty}; pre-layout")
    unit = "um^2" if found.gate is None else "GE"
    rows: list[list[Any]] = [
        [
            block.name,
            block.count,
            round(block.area if block.gate_equivalents is None else block.gate_equivalents),
            f"{block.area / found.area:.1%}",
            block.registers,
            block.delay,
        ]
        for block in found.blocks
    ]
    total = found.area if found.gate_equivalents is None else found.gate_equivalents
    whole = ["all", None, round(total), "100.0%", found.registers, found.delay]
    columns([*rows, whole], ["", "instances", unit, "", "registers", "ns"])
    memories = ", ".join(f"{name} {bits}" for name, bits in found.memories.items())
    print(f"RAM: {found.ram_bits} bits, in no area: {memories}")
    if found.delay_by is not None:
        print(f"ns: of a module by itself, no wires, by {found.delay_by}")


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
        emit(opened.told("synth") | found.to_dict() | {"plot": str(plot) if plot else None})
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(1)


def _print(found: "Compared") -> None:
    first, shown, front = found.candidates[0].synthesis, found.candidates[0].columns, found.front
    at = "" if first.scale is None else f" at scale {first.scale}"
    print(f"{first.unit}{at}: {first.netlist.tool}; {first.liberty or first.netlist.target}; pre-layout")
    rows = []
    for candidate in found.candidates:
        netlist, recheck = candidate.synthesis.netlist, candidate.synthesis.recheck
        told = "not run" if recheck is None else "PASS" if recheck.ok else "FAIL"
        size: list[float | None] = [netlist.luts]
        if netlist.area is not None:
            gates = netlist.gate_equivalents
            size = [round(netlist.area), None if gates is None else round(gates), netlist.delay]
        errors = [candidate.errors[name] for name in shown]
        mark = "*" if candidate in front else ""
        rows.append([candidate.label, *errors, *size, netlist.registers, mark, told])
    sizes = ["LUTs"] if first.liberty is None else ["um^2", "GE", "ns"]
    columns(rows, ["", *shown.values(), *sizes, "registers", "front", "re-check"])
    for reason in found.left_out:
        print(f"left out: {reason}")
    unit = found.candidates[0]
    print(f"smallest with {unit.measure} at most {unit.error:.4g}: {found.smallest.label}")
