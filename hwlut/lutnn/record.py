"""The folder of a run: what was asked for, what came out, and where the files lie."""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from hwlut.records import read_fields, write_record
from hwlut.train.request import same_request

__all__ = ["Record"]

_SCHEMA = "hwlut.lutnn/1"
_LIMIT = 64 << 20


@dataclasses.dataclass
class Record:
    """``config.json`` of a run.

    request: what decides the result: the task's name, lookups, which layers, "options". source: the task's file, or the
    name of the shipped one. layers: the lookup of each replaced layer. left: why others are dense. metrics: by stage,
    "dense", "converted" and "finetuned", as far as the run has come.
    """

    folder: Path
    request: dict[str, Any]
    source: str | None = None
    layers: dict[str, Any] = dataclasses.field(default_factory=dict)
    left: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def dense(self) -> Path:
        """The dense model's state."""
        return self.folder / "dense.safetensors"

    @property
    def converted(self) -> Path:
        """The state after conversion."""
        return self.folder / "converted.safetensors"

    @property
    def student(self) -> Path:
        """The state after finetuning."""
        return self.folder / "student.safetensors"

    @property
    def units(self) -> Path:
        """The folder of the layers' parameter tables."""
        return self.folder / "units"

    def write(self) -> None:
        """Keep the record as it is now."""
        write_record(_file(self.folder), "run", _SCHEMA, {name: getattr(self, name) for name in _KEYS})

    @classmethod
    def started(cls, folder: Path, request: dict[str, Any], source: str | None) -> "Record":
        """That of a folder, new or of the same request; ValueError for one of another."""
        request = json.loads(json.dumps(request))
        if not _file(folder).exists():
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"{folder}: run must be kept in a folder, not in a file")
            return cls(folder, request, source)
        found = cls.read(folder)
        same_request(_file(folder), found.request, request)
        return found

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """That of a folder with a run; ValueError, naming the file, where there is none or it is damaged."""
        path = _file(folder)
        hints = typing.get_type_hints(cls)
        return cls(folder, **read_fields(path, "run", _SCHEMA, {name: hints[name] for name in _KEYS}, _LIMIT))


_KEYS = tuple(field.name for field in dataclasses.fields(Record) if field.name != "folder")


def _file(folder: Path) -> Path:
    return folder / "config.json"
