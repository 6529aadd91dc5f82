"""Options that choose the form of a unit's hardware."""

from typing import Annotated, Any

import typer

from hwlut.cli.table import open_table

__all__ = [
    "Banks",
    "Combinational",
    "Comparison",
    "Encoders",
    "Lanes",
    "Multiplier",
    "Reloadable",
    "Requantizer",
    "Stages",
    "Terms",
    "Tile",
    "chosen_form",
]

Stages = Annotated[int | None, typer.Option(help="Pipeline registers; the kind's own number unless given.")]
Lanes = Annotated[int | None, typer.Option(help="Codes, or of sums pairs, a beat; 1 unless given.")]
Reloadable = Annotated[bool, typer.Option("--reloadable", help="Add a stream that loads another table.")]
Comparison = Annotated[str | None, typer.Option(help="With the breakpoints: parallel or tree; parallel unless given.")]
Multiplier = Annotated[str | None, typer.Option(help="Of slopes: array or shift_add; array unless given.")]
Terms = Annotated[int | None, typer.Option(help="Of a multiplier: add up to this many products.")]
Requantizer = Annotated[
    str | None, typer.Option("--requantize", metavar="TABLE", help="With --terms: this Requantize after the sum.")
]
Combinational = Annotated[
    bool, typer.Option("--combinational", help="Of a multiplier: plain ports a, b and p, no clock.")
]
Banks = Annotated[int | None, typer.Option(help="Of a LutMatmul: memories read at once; up to 4 unless given.")]
Tile = Annotated[int | None, typer.Option(help="Of a LutMatmul: outputs added up at once; up to 16 unless given.")]
Encoders = Annotated[
    int | None, typer.Option(help="Of a LutMatmul: sub-vectors a beat; the fewest that keep up unless given.")
]


def chosen_form(*, requantize: str | None, **options: Any) -> dict[str, Any]:
    """The options given, as `hwlut.hdl.generate` takes them."""
    if requantize is not None:
        options["requantize"] = open_table(requantize).unit
    return {name: value for name, value in options.items() if value is not None and value is not False}
