"""hwlut info: what a table holds and what it costs."""

import dataclasses
import enum
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, TablePath, open_table

if TYPE_CHECKING:
    from hwlut.units import Unit

__all__ = ["info"]

_INLINE = 16  # longer sequences are told by their number and range


def info(table: TablePath, as_json: Json = False) -> None:
    """Show a table: kind, formats, scales, numbers, derived widths and cost."""
    opened = open_table(table)
    unit = opened.unit
    kind = type(unit).__name__
    derived = _derived(unit)
    cost = dataclasses.asdict(unit.cost())
    if as_json:
        parameters = json.loads(unit.dumps())
        emit(opened.source | {"kind": kind} | derived | {"cost": cost, "parameters": parameters})
        return
    fields = {field.name: getattr(unit, field.name) for field in dataclasses.fields(unit)}
    shown = {"kind": kind, "digest": unit.digest} | fields | derived | cost
    columns([[key, _text(value)] for key, value in shown.items() if key != "meta"])
    columns([[f"meta {key}", _text(value)] for key, value in unit.meta.items()])


def _derived(unit: "Unit") -> dict[str, Any]:
    """Everything the unit's kind computes from its fields, by name."""
    from hwlut.unit import Unit

    kinds = [kind for kind in type(unit).__mro__ if kind not in Unit.__mro__]
    members = {name: member for kind in reversed(kinds) for name, member in vars(kind).items() if name[0] != "_"}
    derived = [name for name, member in members.items() if isinstance(member, (property, cached_property))]
    return {name: getattr(unit, name) for name in derived}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)) and len(value) > _INLINE and isinstance(value[0], int):
        return f"{len(value)} numbers, {min(value)} to {max(value)}"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return str(value)
