"""The streams an ``.rtl.json`` describes, and their beats as bytes.

A beat is its payload ports after each other (tdata, then tuser and tlast), each padded to whole bytes,
little-endian.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ROLES", "Stream", "streams"]

_PAYLOAD = ("tdata", "tuser", "tlast")

ROLES = (*_PAYLOAD, "tvalid", "tready")
"""What the names of a stream's ports end with."""


@dataclass(frozen=True)
class Stream:
    """One AXI4-Stream of a design.

    name: the prefix of its ports. input: true where the design receives. ports: its payload ports,
    as the ``.rtl.json`` gives them.
    """

    name: str
    input: bool
    ports: tuple[Mapping[str, Any], ...]

    @property
    def bytes(self) -> int:
        """Bytes of a beat."""
        return sum(self._port_bytes(port) for port in self.ports)

    @property
    def fields(self) -> list[str]:
        """Names of the fields, in their order."""
        return [field["name"] for field, _, _ in self.places()]

    def offsets(self) -> list[tuple[str, int, int]]:
        """(port, first byte, bytes) of each payload port."""
        places, offset = [], 0
        for port in self.ports:
            places.append((port["name"], offset, self._port_bytes(port)))
            offset += self._port_bytes(port)
        return places

    @staticmethod
    def _port_bytes(port: Mapping[str, Any]) -> int:
        return (port["width"] + 7) // 8

    def pack(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        """Beats, uint8 (n, bytes), of int64 (n,) values by field name; ValueError where the fields differ."""
        if set(self.fields) != set(fields):
            found = ", ".join(self.fields) or "none"
            raise ValueError(f"{self.name} must have the fields {', '.join(fields)}, not {found}")
        count = len(next(iter(fields.values())))
        beats = np.zeros((count, self.bytes), np.uint8)
        for field, first, size in self.places():
            values = np.ascontiguousarray(fields[field["name"]], dtype="<i8")
            beats[:, first : first + size] = values.view(np.uint8).reshape(count, 8)[:, :size]
        return beats

    def unpack(self, beats: np.ndarray) -> dict[str, np.ndarray]:
        """int64 (n,) values by field name; a field's padding is part of what is read."""
        fields = {}
        for field, first, size in self.places():
            wide = np.zeros((len(beats), 8), np.uint8)
            wide[:, :size] = beats[:, first : first + size]
            if field["signed"]:
                wide[:, size:] = np.where(beats[:, first + size - 1 : first + size] & 0x80, 0xFF, 0)
            fields[field["name"]] = wide.reshape(-1).view("<i8").astype(np.int64)
        return fields

    def places(self) -> list[tuple[Mapping[str, Any], int, int]]:
        """(field, first byte of a beat, bytes) of each field."""
        ports = zip(self.ports, self.offsets())
        return [
            (field, offset + field["lsb"] // 8, (field["bits"] + 7) // 8)
            for port, (_, offset, _) in ports
            for field in port["fields"]
        ]


def streams(description: Mapping[str, Any]) -> dict[str, Stream]:
    """The streams of an ``.rtl.json``, by name."""
    payload: dict[str, list[Mapping[str, Any]]] = {}
    for port in description["ports"]:
        name, _, role = port["name"].rpartition("_")
        if name and role in _PAYLOAD:
            payload.setdefault(name, []).append(port)
    return {name: Stream(name, ports[0]["dir"] == "input", tuple(ports)) for name, ports in payload.items()}
