"""The files of a folder: which of hwlut's each of them is, and what is in it."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hwlut.files import read_bytes
from hwlut.records import parse_json
from hwlut.report.activity import Activity
from hwlut.report.log import Log
from hwlut.report.saved import KINDS, SAVED, checked
from hwlut.report.vcd import read_waves

__all__ = ["File", "Folder", "MOST_FILES", "Saved"]

MOST_FILES = 2000
"""Files that are looked at; ValueError for a folder of more."""

_JSON_LIMIT = 64 << 20
_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError)
_KINDS = {
    ".c": "C source",
    ".csv": "numbers",
    ".h": "C header",
    ".json": "JSON",
    ".md": "text",
    ".npy": "array",
    ".onnx": "ONNX model",
    ".pdf": "picture",
    ".png": "picture",
    ".py": "Python source",
    ".safetensors": "arrays",
    ".svg": "picture",
    ".v": "Verilog",
    ".vcd": "waveform",
}
"""Of files that are only linked, and in words."""

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class Saved:
    """What a command printed as JSON, of the keys that `hwlut.report.saved` names for its schema."""

    schema: str
    values: dict[str, Any]


@dataclass(frozen=True)
class File:
    """A file by its path within the folder. kind: in words. content: of one that is known. error: of a damaged one."""

    path: Path
    size: int
    kind: str
    content: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Folder:
    """Every file of a folder and its subfolders, by path, but for hidden ones and what lies behind links to folders."""

    root: Path
    files: tuple[File, ...]

    @classmethod
    def read(cls, root: str | Path, without: Path | None = None) -> "Folder":
        """That of a folder, without one file; ValueError where there is no such folder, or one of too many files."""
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"folder must be one that is there, not {str(root)!r}")
        left_out = None if without is None else Path(os.path.realpath(without))
        paths = sorted(path for path in _walked(root) if path.resolve() != left_out)
        if len(paths) > MOST_FILES:
            raise ValueError(f"{root} must have at most {MOST_FILES} files, not {len(paths)}")
        return cls(root, tuple(_file(root, path) for path in paths))

    @property
    def damaged(self) -> list[File]:
        """Those with an error."""
        return [file for file in self.files if file.error is not None]

    def of(self, kind: type[_Content]) -> list[tuple[File, _Content]]:
        """The files whose content is of a class, with it."""
        return [(file, file.content) for file in self.files if isinstance(file.content, kind)]

    def saved(self, schema: str, key: str) -> list[tuple[File, dict[str, Any]]]:
        """What commands printed of a schema, where it has a key."""
        return [
            (file, found.values) for file, found in self.of(Saved) if found.schema == schema and key in found.values
        ]


def _walked(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith(".") and Path(folder, name).is_file())


def _file(root: Path, path: Path) -> File:
    size, within = path.stat().st_size, path.relative_to(root)
    kind = _KINDS.get(path.suffix, "file")
    try:
        found = _recognised(path, size)
    except _ERRORS as error:
        told = f"{error.strerror}" if isinstance(error, OSError) else str(error)
        return File(within, size, kind, error=told.replace(f"{root}{os.sep}", "").removeprefix(f"{within}: "))
    return File(within, size, kind) if found is None else File(within, size, *found)


def _recognised(path: Path, size: int) -> tuple[str, Any] | None:
    """What a file is, in words, and its content; None for one that is only linked."""
    if path.suffix == ".vcd":
        return "waveform", read_waves(path)
    if path.name == "log.jsonl":
        return "log of a training", Log.read(path)
    if path.suffix == ".csv":
        found = Activity.read(path)
        return None if found is None else ("activity of a layer", found)
    if path.suffix != ".json" or size > _JSON_LIMIT:
        return None
    try:
        content = parse_json(read_bytes(path, _JSON_LIMIT))
    except ValueError as error:
        raise ValueError(f"it must hold JSON: {error}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, str) or (reader := _readers().get(schema)) is None:
        return None
    kind, read = reader
    found = read(path, content)
    checked(content, KINDS.get(schema, {}))
    return kind, found


@functools.cache
def _readers() -> dict[str, tuple[str, Callable[[Path, dict[str, Any]], Any]]]:
    """By schema, what such a file is, and what reads it."""
    from hwlut import units
    from hwlut.hdl import read_description
    from hwlut.lutnn.record import Record
    from hwlut.prune import Compression
    from hwlut.search import Configuration, Front

    kinds = [kind for kind in vars(units).values() if isinstance(kind, type) and issubclass(kind, units.Unit)]
    tables = {kind.schema: kind.__name__ for kind in kinds if hasattr(kind, "schema")}
    return {
        **{schema: (name, lambda path, content: units.load(path)) for schema, name in tables.items()},
        **{schema: (words, _saved) for schema, (words, _) in SAVED.items()},
        "hwlut.rtl/1": ("description of Verilog", lambda path, content: read_description(path)),
        "hwlut.compression/1": ("compression", lambda path, content: Compression.load(path)),
        "hwlut.quantization/1": ("quantization search", lambda path, content: Configuration.load(path)),
        "hwlut.front/1": ("front of searches", lambda path, content: Front.load(path)),
        "hwlut.lutnn/1": ("network on look-ups", lambda path, content: Record.read(path.parent)),
    }


def _saved(path: Path, content: dict[str, Any]) -> Saved:
    _, keys = SAVED[content["schema"]]
    checked(content, keys(content))
    return Saved(content["schema"], content)
