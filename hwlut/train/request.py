"""What a folder's run was asked for: another request is refused."""

import json
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.files import write_atomic
from hwlut.records import read_json
from hwlut.train.processes import Processes

__all__ = ["check_request", "same_request"]

_LIMIT = 16 << 20


def check_request(path: Path, request: dict[str, Any], group: Processes) -> None:
    """Write the request to the file, or, where there is one, see that it is the same; ValueError for another."""
    request = json.loads(json.dumps(request))
    if path.exists():
        kept = read_json(path, "request", _LIMIT)
        same_request(path, kept if isinstance(kept, dict) else {}, request)
    if path.parent.exists() and not path.parent.is_dir():
        raise ValueError(f"{path.parent}: run must be kept in a folder, not in a file")
    group.wait()
    if group.first and not path.exists():
        write_atomic(path, json.dumps(request, indent=1) + "\n")
    group.wait()


def same_request(path: Path, was: dict[str, Any], request: dict[str, Any]) -> None:
    """ValueError, naming the file and the first difference, where a request is not what it was."""
    before = _flat(was)
    for place, value in _flat(request).items():
        if before.get(place) != value:
            name = place[-1] if place[-1].isidentifier() else " ".join(place)
            raise ValueError(f"{path}: run must be of {name} {shorten(value)}, not {shorten(before.get(place))}")


def _flat(request: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Entries of a request, and those of the objects in it, by where they are."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in request.items():
        if isinstance(value, dict):
            flat |= {(name, key): entry for key, entry in value.items()}
        else:
            flat[(name,)] = value
    return flat
