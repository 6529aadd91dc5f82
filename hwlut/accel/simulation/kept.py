"""Finished chunks in a folder, from which a run that was interrupted goes on."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.accel.simulation.chunk import Chunk
from hwlut.files import read_bytes, write_atomic
from hwlut.records import read_json
from hwlut.train.request import same_request

__all__ = ["Kept"]

_REQUEST_LIMIT = 1 << 20
_CHUNK_LIMIT = 8 << 30


class Kept:
    """A folder of one run, made where it is missing.

    folder: where. request: what the run is of. Raises ValueError, naming the file and what differs, where the folder
    has a run of something else.
    """

    def __init__(self, folder: Path, request: dict[str, Any]):
        self._folder = folder
        path = folder / "request.json"
        there = next(each for each in (folder, *Path(os.path.realpath(folder)).parents) if each.exists())
        if not there.is_dir():
            raise ValueError(f"{there}: run must be kept in a folder, not in a file")
        if path.exists():
            was = read_json(path, "request", _REQUEST_LIMIT)
            same_request(path, was if isinstance(was, dict) else {}, request)
        else:
            write_atomic(path, json.dumps(request, indent=1) + "\n")

    def _path(self, number: int) -> Path:
        return self._folder / f"chunk-{number}.npz"

    def save(self, number: int, chunk: Chunk) -> None:
        """Keep a finished chunk."""
        data = io.BytesIO()
        outputs = {f"output-{index}": each for index, each in enumerate(chunk.outputs)}
        np.savez_compressed(data, counters=chunk.counters, **outputs)  # type: ignore[arg-type]
        write_atomic(self._path(number), data.getvalue())

    def load(self, number: int, shapes: Sequence[tuple[int, ...]]) -> Chunk | None:
        """A chunk of an earlier run, of outputs and counters of these shapes, or None; ValueError for a file that is
        none."""
        path = self._path(number)
        if not path.exists():
            return None
        names = [*(f"output-{index}" for index in range(len(shapes) - 1)), "counters"]
        try:
            with np.load(io.BytesIO(read_bytes(path, _CHUNK_LIMIT)), allow_pickle=False) as held:
                *outputs, counters = found = [held[name] for name in names]
            if [(each.dtype, each.shape) for each in found] == [(np.int64, shape) for shape in shapes]:
                return Chunk(tuple(outputs), counters, 0.0)
        except (EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
            pass
        raise ValueError(f"{path}: no finished chunk of this run; without it, it is run again")
