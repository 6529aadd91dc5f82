"""Liberty files: the cells of a standard-cell library, their areas, the one that is a gate equivalent."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from hwlut.errors import ToolError
from hwlut.fields import shorten
from hwlut.files import digest_of, read_bytes

__all__ = ["Liberty"]

_OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
_LIMIT = 512 << 20


@dataclass(frozen=True)
class Liberty:
    """A standard-cell library.

    path: the file. digest: sha256 of its bytes. areas: of each cell, in um^2 as is the custom (the
    format states no unit of area). registers: the cells with a flip-flop.
    """

    path: Path
    digest: str
    areas: dict[str, float]
    registers: frozenset[str]

    @classmethod
    def read(cls, path: Path | None = None) -> "Liberty":
        """The library at `path`, by default Debian's copy of OSU's for TSMC 180 nm.

        Raises ValueError for a file that is none, an area below 0 or a gate equivalent of 0, ToolError where
        the default one is not installed.
        """
        if path is None:
            if not _OSU018.is_file():
                remedy = "give one with --liberty, or on Debian and Ubuntu: apt install qflow-tech-osu018"
                raise ToolError("OSU 180 nm liberty", f"not found at {_OSU018}", remedy)
            path = _OSU018
        data = read_bytes(path, _LIMIT)
        text = re.sub(r"/\*.*?(?:\*/|\Z)", "", data.decode("utf-8", "replace"), flags=re.DOTALL)
        _, *blocks = re.split(r"\bcell\s*\(\s*", text)
        areas, registers = {}, set()
        for block in blocks:
            name = re.match(r'"?([\w.$]+)"?\s*\)', block)
            area = re.search(r"\barea\s*:\s*\"?([^\s\";}]+)", block)
            if name and area:
                areas[name[1]] = _area(f"{path}: cell {name[1]}", area[1])
                if re.search(r"\bff\s*\(", block):
                    registers.add(name[1])
        if not areas:
            raise ValueError(f"{path}: not a liberty file: it has no cell with an area")
        library = cls(path, digest_of(data), areas, frozenset(registers))
        if library.gate and not areas[library.gate]:
            raise ValueError(f"{path}: cell {library.gate}: area must be above 0, for it is the gate equivalent")
        return library

    @property
    def gate(self) -> str | None:
        """The cell whose area is one gate equivalent: the smallest two-input NAND, by name; None without one."""
        nands = [name for name in self.areas if re.search("nand2", name, re.IGNORECASE)]
        return min(nands, key=lambda name: self.areas[name], default=None)


def _area(label: str, text: str) -> float:
    try:
        area = float(text)
    except ValueError:
        area = math.nan
    if not 0 <= area < math.inf:
        raise ValueError(f"{label}: area must be a finite number from 0, not {shorten(text)}")
    return area
