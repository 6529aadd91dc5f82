"""Decompositions on disk: found once, read ever after."""

from collections.abc import Callable
from pathlib import Path

from hwlut.decomposition.factors import Factors
from hwlut.files import build_once, digest_of, read_bytes, write_atomic

__all__ = ["cached"]

_FORM = "factors/1"
"""To be counted up where `decompose` finds other factors than before."""

_FILE = "factors"
_LIMIT = 1 << 30


def cached(digest: str, make: Callable[[], Factors]) -> Factors:
    """The factors kept under `digest`, the name of all that decides them; `make` finds them the first time.

    A damaged or missing file is made again and replaced. Raises OSError where the cache cannot be written, and what
    `make` raises.
    """

    def build(folder: Path) -> None:
        (folder / _FILE).write_bytes(make().to_bytes())

    path = build_once("factors", digest_of(_FORM, digest), build) / _FILE
    try:
        return Factors.from_bytes(read_bytes(path, _LIMIT))
    except ValueError:
        factors = make()
        write_atomic(path, factors.to_bytes())
        return factors
