"""Options that choose the form of a unit's hardware."""

from typing import Annotated, Any

import typer

__all__ = ["Comparison", "Lanes", "Multiplier", "Reloadable", "chosen_form"]

Lanes = Annotated[int | None, typer.Option(help="Codes a beat; 1 unless given.")]
Reloadable = Annotated[bool, typer.Option("--reloadable", help="Add a stream that loads another table.")]
Comparison = Annotated[str | None, typer.Option(help="With the breakpoints: parallel or tree; parallel unless given.")]
Multiplier = Annotated[str | None, typer.Option(help="Of slopes: array or shift_add; array unless given.")]


def chosen_form(lanes: int | None, reloadable: bool, comparison: str | None, multiplier: str | None) -> dict[str, Any]:
    """The options given, as `hwlut.hdl.generate` takes them."""
    options = {"lanes": lanes, "reloadable": reloadable or None, "comparison": comparison, "multiplier": multiplier}
    return {name: value for name, value in options.items() if value is not None}
