"""Designs by the options of commands: of a table in a form, of a tile as it is."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwlut import units
    from hwlut.hdl import Rtl

__all__ = ["designed"]


def designed(unit: "units.Unit", scale: int | None, reset: str, form: dict[str, Any]) -> "Rtl":
    """The RTL of a unit; ValueError for a tile with a scale or a form, since it has no other than its own."""
    from hwlut import units

    if not isinstance(unit, units.Tile):
        from hwlut.hdl import generate

        return generate(unit, scale=scale, reset=reset, **form)
    from hwlut.accel import generate_tile

    for name, value in (form if scale is None else {"scale": scale} | form).items():
        raise ValueError(f"Tile {name} must not be given, not {getattr(value, 'name', value)}")
    return generate_tile(unit, reset)
