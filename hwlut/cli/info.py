"""hwlut info: what a table holds and what it costs."""

import dataclasses
import enum
import json
from typing import TYPE_CHECKING, Any

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, TablePath, open_table

if TYPE_CHECKING:
    from hwlut.units import Program, Unit

__all__ = ["info"]

_INLINE = 16  # longer sequences are told by their number and range


def info(table: TablePath, as_json: Json = False) -> None:
    """Show a table: kind, formats, scales, numbers, derived widths and cost."""
    from hwlut.cli.details import details
    from hwlut.units import Program

    opened = open_table(table)
    unit = opened.unit
    kind = type(unit).__name__
    derived = details(unit)
    cost = dataclasses.asdict(unit.cost())
    if as_json:
        parameters = json.loads(unit.dumps())
        plain = {key: _content(value) for key, value in derived.items()}
        emit(opened.source | {"kind": kind} | plain | {"cost": cost, "parameters": parameters})
        return
    fields = {field.name: getattr(unit, field.name) for field in dataclasses.fields(unit) if not _absent(unit, field)}
    if isinstance(unit, Program):
        for key in ("inputs", "outputs", "nodes"):
            fields[key] = len(fields[key])
    shown = {"kind": kind, "digest": unit.digest} | fields | derived | cost
    columns([[key, _text(value)] for key, value in shown.items() if key != "meta"])
    columns([[f"meta {key}", _text(value)] for key, value in unit.meta.items()])
    if isinstance(unit, Program):
        _ports_and_nodes(unit)


def _ports_and_nodes(program: "Program") -> None:
    from hwlut.cli.program import HEADERS, PORTS, node_rows, port_rows

    print()
    columns([*port_rows("in", program.inputs), *port_rows("out", program.outputs)], PORTS)
    print()
    columns(node_rows(program), HEADERS)


def _absent(unit: "Unit", field: "dataclasses.Field[Any]") -> bool:
    """Whether it is a field that a table may leave out, and this one does."""
    codec = field.metadata.get("field")
    return codec is not None and codec.optional and getattr(unit, field.name) is None


def _content(value: Any) -> Any:
    """`value` in JSON form."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _declared(unit: Any) -> dict[str, Any]:
    """The fields of a unit that stands in a unit, by name; none of what is no unit."""
    return {field.name: getattr(unit, field.name) for field in dataclasses.fields(unit) if "field" in field.metadata}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, enum.Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value) and (own := _declared(value)):
        return _text(own)
    if hasattr(value, "shape"):
        shape = " x ".join(map(str, value.shape))
        return f"{shape} numbers, {value.min()} to {value.max()}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)) and len(value) > _INLINE and isinstance(value[0], int):
        return f"{len(value)} numbers, {min(value)} to {max(value)}"
    if isinstance(value, (tuple, list)):
        if any(dataclasses.is_dataclass(item) and _declared(item) for item in value):
            return ", ".join(map(_kind, value))
        return " ".join(str(_text(item)) for item in value)
    return str(value)


def _kind(unit: "Unit") -> str:
    """A unit in a list: its kind, and what it chooses or counts."""
    chosen = (value for value in _declared(unit).values() if isinstance(value, (enum.Enum, int)))
    return " ".join([type(unit).__name__, *(str(_text(value)) for value in chosen)])
