"""The design that a simulation is given, found and compared with its unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwlut.files import read_bytes
from hwlut.hdl import Rtl, generate, read_description
from hwlut.unit import Unit
from hwlut.verify.foreign import check_foreign

__all__ = ["design_of"]

_VERILOG_LIMIT = 64 << 20


def design_of(unit: Unit, scale: int | None, verilog: str | Path | Rtl | None) -> Rtl:
    """The design to simulate: what is given, or the default one.

    verilog: an `Rtl`; or a Verilog file, which the ``.rtl.json`` beside it describes where there is one.

    ValueError unless it is of `unit` and, where one is given, of `scale`, and for files that cannot be read or that
    reach beyond the simulation.
    """
    if verilog is None:
        return generate(unit, scale=scale)
    if isinstance(verilog, Rtl):
        rtl, where = verilog, "the design"
    else:
        path = Path(verilog)
        try:
            text = read_bytes(path, _VERILOG_LIMIT).decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a text file") from None
        try:
            check_foreign(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        beside = path.with_suffix(".rtl.json")
        if not beside.exists():
            return Rtl(text, generate(unit, scale=scale).description)
        rtl, where = Rtl(text, read_description(beside)), str(beside)
    if rtl.description["digest"] != unit.digest:
        raise ValueError(f"{where}: digest must be {unit.digest}, that of {unit.name}, not {rtl.description['digest']}")
    if scale is not None and rtl.description["scale"] != scale:
        raise ValueError(f"{where}: scale must be {scale}, not {rtl.description['scale']}")
    if rtl.description["reset"] is None:
        _check_plain(where, rtl.description, generate(unit, combinational=True).description)
    return rtl


def _check_plain(where: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse what describes a combinational design other than that of the unit."""
    ports, known = (
        ", ".join(f"{port['dir']} {port['name']} {'us'[port['fields'][0]['signed']]}{port['width']}" for port in each)
        for each in (found["ports"], wanted["ports"])
    )
    for label, got, must in (
        ("ports", ports, known),
        ("cycles_per_beat", found["cycles_per_beat"], wanted["cycles_per_beat"]),
    ):
        if got != must:
            raise ValueError(f"{where}: {label} must be {must}, not {got}")
