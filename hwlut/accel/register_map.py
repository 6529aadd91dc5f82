"""The register map of a tile's AXI4-Lite port as text."""

from hwlut.accel.port import PortRegister, port_registers
from hwlut.hdl.convert import sealed
from hwlut.units.tile import Tile

__all__ = ["register_map"]


def register_map(tile: Tile) -> str:
    """The text of ``<name>_registers.md``: a table of all registers, and one of the fields of each that has some."""
    registers = port_registers(tile)
    lines = [f"# Registers of {tile.name}", "", "| address | register | access | reset | |", "|---|---|---|---|---|"]
    for register in registers:
        place = f"0x{register.address:02x}"
        lines.append(
            f"| {place} | {register.name} | {register.access.value} | 0x{register.reset:x} | {register.description} |"
        )
    for register in registers:
        if register.fields:
            lines += ["", f"## {register.name}", "", *_fields(register)]
    about = [f"{tile.name}: written by hwlut from a unit of schema {tile.schema}", f"digest {tile.digest}"]
    return sealed(about, "\n".join(lines) + "\n", "<!-- {} -->")


def _fields(register: PortRegister) -> list[str]:
    rows = ["| bits | field | |", "|---|---|---|"]
    for field in register.fields:
        high = field.lsb + field.bits - 1
        bits = str(high) if field.bits == 1 else f"{high}:{field.lsb}"
        rows.append(f"| {bits} | {field.name} | {field.description} |")
    return rows
