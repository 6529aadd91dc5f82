"""A tile's C header: its commands, marks and registers as constants."""

import enum
from collections.abc import Iterator

from hwlut.accel.commands import (
    OPERATIONS,
    ROUNDINGS,
    Destination,
    Error,
    Mode,
    Opcode,
    Reduction,
    Register,
    Requantization,
    Target,
    WSource,
    XSource,
    YSource,
)
from hwlut.accel.instructions import Flags
from hwlut.accel.port import MARK_FIELDS, Access, port_registers
from hwlut.hdl.convert import sealed
from hwlut.units.tile import ADDRESS_BITS, Tile

__all__ = ["header"]

_ENUMS: dict[str, type[enum.IntEnum]] = {
    "MODE": Mode,
    "X_SOURCE": XSource,
    "W_SOURCE": WSource,
    "Y_SOURCE": YSource,
    "REDUCTION": Reduction,
    "REQUANTIZATION": Requantization,
    "DESTINATION": Destination,
}


def header(tile: Tile) -> str:
    """The text of ``<name>.h``, C99: every name begins with the tile's in capitals."""
    prefix = tile.name.upper()
    lines = [
        f"#ifndef {prefix}_H",
        f"#define {prefix}_H",
        "",
        "#include <stdint.h>",
    ]
    for title, constants in _sections(tile):
        lines += ["", f"// {title}"]
        lines += [f"#define {prefix}_{name} {_literal(value)}" for name, value in constants]
    lines += ["", *_functions(prefix), "", "#endif", ""]
    about = [f"{tile.name}: written by hwlut from a unit of schema {tile.schema}", f"digest {tile.digest}"]
    return sealed(about, "\n".join(lines))


def _literal(value: int) -> str:
    return f"0x{value:x}u" if value < 1 << 32 else f"0x{value:x}ull"


def _sections(tile: Tile) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Titles, and the names and values under each."""
    yield (
        "Commands: opcode in bits 63 to 56, argument in 55 to 48, value in 47 to 0.",
        [
            *((f"OPCODE_{opcode.name}", opcode.value) for opcode in Opcode),
            ("START_VALUE", int(tile.digest, 16) % (1 << 48)),
            ("COMPUTE_WAIT", 1),
            ("LOAD_WAIT", 128),
            ("LOAD_COUNT_SHIFT", ADDRESS_BITS),
        ],
    )
    yield "Targets of LOAD.", [(f"TARGET_{target.name}", target.value) for target in Target]
    yield (
        "Registers of SET; of those with levels, the first.",
        [(f"SET_{register.name}", register.value) for register in Register],
    )
    yield (
        "Fields of the register FLAGS.",
        [
            constant
            for name, (low, bits) in Flags.FIELDS.items()
            for constant in _field(f"FLAGS_{name.upper()}", low, bits)
        ],
    )
    numbers = [(f"{name}_{member.name}", member.value) for name, kind in _ENUMS.items() for member in kind]
    names = ["x" if operation is None else str(getattr(operation, "value", operation)) for operation in OPERATIONS]
    numbers += [(f"OPERATION_{name.upper()}", number) for number, name in enumerate(names)]
    numbers += [(f"ROUNDING_{rounding.value.upper()}", number) for number, rounding in enumerate(ROUNDINGS)]
    yield "What they hold.", numbers
    yield "Errors.", [(f"ERROR_{error.name}", error.value) for error in Error]
    yield "Marks: bytes of a beat, low bytes first.", list(_mark())
    yield from _port(tile)


def _field(name: str, low: int, bits: int) -> list[tuple[str, int]]:
    return [(f"{name}_SHIFT", low), (f"{name}_MASK", (1 << bits) - 1)]


def _mark() -> Iterator[tuple[str, int]]:
    first = 0
    for name, bits in MARK_FIELDS.items():
        yield f"MARK_{name.upper()}_BYTE", first
        yield f"MARK_{name.upper()}_BYTES", bits // 8
        first += bits // 8
    yield "MARK_BYTES", first


def _port(tile: Tile) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    registers = port_registers(tile)
    addresses = [(f"PORT_{register.name}", register.address) for register in registers]
    fields = [
        constant
        for register in registers
        for field in register.fields
        for constant in _field(f"PORT_{register.name}_{field.name}", field.lsb, field.bits)
    ]
    yield "The AXI4-Lite port: byte addresses, and fields.", addresses + fields
    yield (
        "What its constants hold.",
        [(register.name, register.reset) for register in registers if register.access == Access.CONSTANT],
    )


def _functions(prefix: str) -> list[str]:
    name = prefix.lower()
    return [
        f"static inline uint64_t {name}_command(uint64_t opcode, uint64_t argument, uint64_t value)",
        "{",
        "    return opcode << 56 | argument << 48 | (value & 0xffffffffffffull);",
        "}",
        "",
        f"static inline uint64_t {name}_load(uint64_t target, uint64_t address, uint64_t count)",
        "{",
        f"    return {name}_command({prefix}_OPCODE_LOAD, target, address | count << {prefix}_LOAD_COUNT_SHIFT);",
        "}",
    ]
