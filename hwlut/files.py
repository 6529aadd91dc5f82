"""Files that appear whole or not at all: outputs, and the cache of built things."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

__all__ = [
    "build_once",
    "cache_root",
    "check_regular",
    "digest_of",
    "naming",
    "read_bytes",
    "write_atomic",
    "write_together",
]

_LEFT = 24 * 3600.0  # seconds: nobody writes or builds so long without a change to the file or folder
_FILES, _BUILDS = ".hwlut-*.tmp", ".build-*"


def read_bytes(path: Path, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes, else ValueError naming the file."""
    check_regular(path, limit)
    try:
        with open(path, "rb") as file:
            # Not limit + 1 alone: that much memory is taken before there is anything to put into it.
            data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ValueError(f"{path}: more than the {limit} bytes allowed")
    return data


def check_regular(path: Path, limit: int | None = None) -> None:
    """ValueError, naming it, unless `path` is a regular file, of at most `limit` bytes: no folder, pipe or device."""
    try:
        found = path.stat()
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        told = "no such file" if absent else f"cannot be read: {error.strerror}"
        raise ValueError(f"{path}: {told}") from None
    except ValueError:  # a null character in its name
        raise ValueError(f"{path}: no such file") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path}: not a regular file")
    if limit is not None and found.st_size > limit:
        raise ValueError(f"{path}: more than the {limit} bytes allowed")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError within names `path`, whichever file, or none, it came with."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from None


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` under a temporary name beside `path` and move it into place; OSError naming `path`."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write every file under a temporary name beside its path, then move all of them into place, in that order.

    So the last one should be that which the others are found by. Content is on the disk before any name is: each file
    is as it was or whole, also after the process or the machine has stopped at any moment.
    Raises OSError, naming the file that cannot be written.
    """
    for path in files:
        if not path.name or path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporaries = {path: path.with_name(_FILES.replace("*", secrets.token_hex(8))) for path in files}
    try:
        for path, data in files.items():
            with naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _clear(path.parent, _FILES)
                with open(temporaries[path], "xb") as file:
                    file.write(data.encode() if isinstance(data, str) else data)
                    file.flush()
                    os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            with naming(path):
                os.replace(temporary, path)
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@functools.cache
def _clear(folder: Path, pattern: str) -> None:
    """Remove what processes left of such a name in a folder when they were killed, a day ago; once in a process."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LEFT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _settle(folder: Path) -> None:
    """Bring every file below `folder` to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


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

    `build` gets an empty temporary folder, which is moved into place when it returns and all is on the disk, so that
    a folder seen under its key is complete. Of two processes that build the same key at once,
    the first to finish wins and the other's work is dropped.
    Raises OSError, naming the cache, where it cannot be written.
    """
    folder = cache_root() / kind / key[:40]
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear(folder.parent, _BUILDS)
        temporary = Path(tempfile.mkdtemp(prefix=_BUILDS.removesuffix("*"), dir=folder.parent))
    except OSError as error:
        raise _unwritable(error) from None
    try:
        build(temporary)
        _settle(temporary)
        os.rename(temporary, folder)
    except OSError as error:
        if folder.is_dir():
            return folder
        if error.errno in _NO_ROOM or error.filename == str(temporary):
            raise _unwritable(error) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _unwritable(error: OSError) -> OSError:
    return OSError(f"cache {cache_root()} cannot be written ({error.strerror}): set HWLUT_CACHE")
