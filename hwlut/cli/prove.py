"""hwlut prove: what holds of a design for all time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from hwlut.cli.screen import emit, note
from hwlut.cli.table import Json, Scale, TablePath, open_table, writing

if TYPE_CHECKING:
    from hwlut import units
    from hwlut.hdl import Rtl

__all__ = ["prove"]


def prove(
    table: TablePath,
    scale: Scale = None,
    verilog: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prove of this Verilog, its .rtl.json beside it.")
    ] = None,
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
    gates: Annotated[
        bool, typer.Option("--gates", help="Of a combinational multiplier: of its netlist in standard cells, too.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="For each promise.")] = 60.0,
    waves: Annotated[Path | None, typer.Option(metavar="FILE", help="VCD of the first promise broken.")] = None,
    as_json: Json = False,
) -> None:
    """Prove the protocol of a design's ports for all time, or a combinational multiplier for all operands; status 1
    unless all is proven.
    """
    from hwlut import units
    from hwlut.verify.proofs import prove_multiplier, prove_stream

    if not seconds > 0:
        raise ValueError(f"--seconds must be above 0, not {seconds}")
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
    design = _design(opened.unit, scale, verilog, reset, form)
    if isinstance(opened.unit, units.Multiplier) and design.description["reset"] is None:
        proof = prove_multiplier(opened.unit, design, gates, seconds)
    elif gates:
        raise ValueError("--gates must be given with a combinational multiplier alone")
    else:
        proof = prove_stream(design, seconds)
    if waves is not None and proof.refuted is not None and proof.refuted.trace is not None:
        with writing(waves.parent):
            proof.refuted.trace.save(waves, proof.design)
        note(f"{waves}: {proof.refuted.port}: {proof.refuted.text}")
    if as_json:
        emit(opened.source | proof.to_dict())
    else:
        print(proof)
    if not proof.ok:
        raise typer.Exit(1)


def _design(unit: "units.Unit", scale: int | None, verilog: Path | None, reset: str, form: dict[str, Any]) -> "Rtl":
    if verilog is None:
        return designed(unit, scale, reset, form)
    from hwlut.verify.design import design_of

    for name in form | ({} if reset == "rst" else {"reset": reset}):
        raise ValueError(f"--verilog must be given without --{name}")
    return design_of(unit, scale, verilog)
