"""Waveforms: recorded aside, and put where they are wanted once they are whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwlut.files import write_atomic

__all__ = ["check_place", "recorded"]


def check_place(label: str, path: str | Path | None) -> None:
    """ValueError for a path, if there is one, that is no place for a file."""
    if path is None:
        return
    path = Path(path)
    if not path.name or path.is_dir() or not Path(os.path.realpath(path)).parent.is_dir():
        raise ValueError(f"{label} must be a file in a folder that is there, not {str(path)!r}")


@contextmanager
def recorded(path: str | Path | None) -> Iterator[Path | None]:
    """Where to record a waveform that is to be at `path` in the end; None where none is wanted."""
    if path is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hwlut-waves-") as folder:
        trace = Path(folder) / "waves"
        yield trace
        write_atomic(Path(path), trace.read_bytes())
