"""Files of command streams: commands with their data, for one tile."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.accel.model.checking import check
from hwlut.fields import shorten
from hwlut.files import digest_of, write_atomic
from hwlut.units.tile import Tile

__all__ = ["CommandStream", "load_stream", "save_stream"]

_SCHEMA = "hwlut.commands/1"
_LIMIT = 1 << 32
_KEYS = ("schema", "tile", "program", "words", "beats", "beat_bytes", "sha256")


@dataclass(frozen=True)
class CommandStream:
    """What goes into a tile.

    words: uint64 [n]. data: uint8 [beats, beat_bytes]. program: digest of what it was compiled from, or "".
    """

    words: np.ndarray
    data: np.ndarray
    program: str = ""


def save_stream(path: str | Path, tile: Tile, stream: CommandStream) -> Path:
    """Write a stream as a safetensors file of ``words`` and ``data``, whose metadata has ``schema``, the digests of
    ``tile`` and ``program``, how many ``words``, ``beats`` and ``beat_bytes`` there are, and the ``sha256`` of both.

    Raises ValueError for a stream that `hwlut.accel.model.check` refuses, or of another number of beats than it takes.
    """
    from safetensors.numpy import save

    words, data = np.ascontiguousarray(stream.words, "<u8"), np.ascontiguousarray(stream.data, np.uint8)
    _check(tile, words, data)
    described = _described(tile, words, data) | {"program": stream.program}
    metadata = {"stream": json.dumps(described, sort_keys=True)}
    write_atomic(Path(path), save({"words": words, "data": data}, metadata))
    return Path(path)


def load_stream(path: str | Path, tile: Tile) -> CommandStream:
    """What `save_stream` wrote for `tile`; ValueError, naming the file, for anything else.

    Sizes are known to be right before memory is taken for the arrays.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "not a regular file")
        if (size := path.stat().st_size) > _LIMIT:
            raise ValueError(f"must be at most {_LIMIT} bytes, not {size}")
        with safe_open(path, "numpy") as file:
            described = _metadata(file.metadata())
            arrays = {
                "words": ("U64", [described["words"]]),
                "data": ("U8", [described["beats"], described["beat_bytes"]]),
            }
            if set(file.keys()) != set(arrays):
                raise ValueError(f"must have the arrays words and data, not {shorten(sorted(file.keys()))}")
            if described["tile"] != tile.digest:
                raise ValueError(f"must be for the tile {tile.digest[:12]}, not {shorten(described['tile'])}")
            for name, wanted in arrays.items():
                held = file.get_slice(name)
                if (held.get_dtype(), held.get_shape()) != wanted:
                    raise ValueError(
                        f"{name} must be {wanted[0]} {wanted[1]}, not {held.get_dtype()} {held.get_shape()}"
                    )
            words, data = (file.get_tensor(name) for name in arrays)
        if described != _described(tile, words, data) | {"program": described["program"]}:
            raise ValueError("words and data must be as they were written; their sha256 is another")
        _check(tile, words, data)
    except SafetensorError as error:
        raise ValueError(f"{path}: must be a safetensors file of a command stream: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return CommandStream(words, data, described["program"])


def _metadata(metadata: dict[str, str] | None) -> dict[str, Any]:
    try:
        described = json.loads((metadata or {})["stream"])
    except (KeyError, RecursionError, json.JSONDecodeError):
        raise ValueError(f"must be a command stream of schema {_SCHEMA}") from None
    if not isinstance(described, dict) or described.get("schema") != _SCHEMA:
        raise ValueError(f"must be a command stream of schema {_SCHEMA}, not {shorten(described)}")
    if set(described) != set(_KEYS) or not isinstance(described["program"], str):
        raise ValueError(f"metadata must be of {', '.join(_KEYS)}, not {shorten(described)}")
    return described


def _described(tile: Tile, words: np.ndarray, data: np.ndarray) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "tile": tile.digest,
        "words": len(words),
        "beats": len(data),
        "beat_bytes": data.shape[-1],
        "sha256": digest_of(words.tobytes(), data.tobytes()),
    }


def _check(tile: Tile, words: np.ndarray, data: np.ndarray) -> None:
    beats = check(tile, words)
    if data.shape != (beats, tile.beat_bytes):
        raise ValueError(
            f"Tile data must be {[beats, tile.beat_bytes]}, what the commands take, not {list(data.shape)}"
        )
