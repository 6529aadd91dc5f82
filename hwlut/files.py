"""Files that appear whole or not at all: outputs, and the cache of built things."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_bytes", "read_json", "write_atomic", "write_together", "cache_root", "build_once", "digest_of"]


def read_bytes(path: Path, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes, else ValueError naming the file."""
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        if not path.is_file():
            raise ValueError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ValueError(f"{path}: more than the {limit} bytes allowed")
    return data


def read_json(path: Path, what: str, limit: int) -> Any:
    """What a JSON file of at most `limit` bytes holds, else ValueError naming the file and `what` it is of."""
    try:
        return json.loads(read_bytes(path, limit))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"{path}: {what} must be a JSON object") from None


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` under a temporary name beside `path` and move it into place."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write every file under a temporary name beside its path, then move all of them into place."""
    for path in files:
        if not path.name or path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporaries = {path: path.with_name(f".{secrets.token_hex(8)}.tmp") for path in files}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporaries[path], "xb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def cache_root() -> Path:
    """Folder of built things: ``$HWLUT_CACHE``, else ``$XDG_CACHE_HOME/hwlut``, else ``~/.cache/hwlut``."""
    if folder := os.environ.get("HWLUT_CACHE"):
        return Path(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "hwlut"
    try:
        return Path.home() / ".cache" / "hwlut"
    except RuntimeError:
        raise OSError("no home folder for the cache: set HWLUT_CACHE to a folder that can be written") from None


def digest_of(*parts: object) -> str:
    """sha256 over JSON-able parts and bytes, in order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def build_once(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The cached folder ``<cache>/<kind>/<key>``; where it is missing, `build` fills it first.

    `build` gets an empty temporary folder, which is moved into place when it returns, so that
    a folder seen under its key is complete. Of two processes that build the same key at once,
    the first to finish wins and the other's work is dropped.
    Raises OSError, naming the cache, where it cannot be written.
    """
    folder = cache_root() / kind / key[:40]
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".build-", dir=folder.parent))
    except OSError as error:
        raise OSError(f"cache {cache_root()} cannot be written ({error.strerror}): set HWLUT_CACHE") from None
    try:
        build(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
