"""What an ``.rtl.json`` says of a design that takes commands: its tile, its register port."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hwlut.fields import shorten
from hwlut.hdl.axi import lite_ports
from hwlut.hdl.checks import check_integer, check_keys
from hwlut.names import check_name
from hwlut.units.tile import Tile

__all__ = ["COMMAND_KEYS", "beside_streams", "check_commanded"]

COMMAND_KEYS = ("tile", "registers")
"""Keys of a design that takes commands: the content of its tile, and the registers of its port."""

_TIMES = ("scale", "latency", "cycles_per_beat")
_REGISTER_KEYS = ("name", "address", "access", "reset", "description", "fields")
_FIELD_KEYS = ("name", "lsb", "bits", "description")
_ACCESSES = ("constant", "read", "write")
_WORD = (1 << 32) - 1


def beside_streams(ports: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names of the ports that belong to no stream; ValueError where one is missing, or is another than it must be."""
    address = ports.get("s_axil_awaddr", {}).get("width", 1)
    wanted = {port["name"]: (port["dir"], port["width"]) for port in lite_ports("s_axil", address)}
    wanted |= {"irq": ("output", 1), "activity": ("output", ports.get("activity", {}).get("width", 1))}
    for name, (direction, width) in wanted.items():
        if name not in ports or (ports[name]["dir"], ports[name]["width"]) != (direction, width):
            raise ValueError(f"ports must hold {name}, an {direction} of width {width}")
    return set(wanted)


def check_commanded(content: Mapping[str, Any]) -> None:
    """Refuse a tile of another digest, registers that are none, and times, which a program alone has."""
    for key in _TIMES:
        if content[key] is not None:
            raise ValueError(f"{key} must be null of a tile, not {shorten(content[key])}")
    if content["reset"] is None:
        raise ValueError("tile must be given with a reset")
    tile = content["tile"]
    if not isinstance(tile, dict) or tile.get("schema") != Tile.schema:
        raise ValueError(f"tile must be the content of a {Tile.schema}, not {shorten(tile)}")
    text = json.dumps(tile, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != content["digest"]:
        raise ValueError("tile must be the one of the digest")
    if not isinstance(content["registers"], list):
        raise TypeError(f"registers must be a list, not {shorten(content['registers'])}")
    for place, register in enumerate(content["registers"]):
        _check_register(register, 4 * place)


def _check_register(register: Any, least: int) -> None:
    check_keys("register", register, _REGISTER_KEYS)
    name = check_name(register["name"], "register name")
    check_integer(f"{name} address", register["address"], least, _WORD)
    if register["address"] % 4:
        raise ValueError(f"{name} address must be a multiple of 4, not {register['address']}")
    if register["access"] not in _ACCESSES:
        raise ValueError(f"{name} access must be one of {', '.join(_ACCESSES)}, not {shorten(register['access'])}")
    check_integer(f"{name} reset", register["reset"], 0, _WORD)
    if not isinstance(register["description"], str):
        raise TypeError(f"{name} description must be a string, not {shorten(register['description'])}")
    if not isinstance(register["fields"], list):
        raise TypeError(f"{name} fields must be a list, not {shorten(register['fields'])}")
    for field in register["fields"]:
        check_keys(f"{name} field", field, _FIELD_KEYS)
        label = f"{name} field {check_name(field['name'], 'field name')}"
        check_integer(f"{label} lsb", field["lsb"], 0, 31)
        check_integer(f"{label} bits", field["bits"], 1, 32 - field["lsb"])
        if not isinstance(field["description"], str):
            raise TypeError(f"{label} description must be a string, not {shorten(field['description'])}")
