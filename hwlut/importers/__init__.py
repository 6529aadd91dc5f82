"""Parameter files of other projects, read as units: one module a format."""

from pathlib import Path

from hwlut.importers import gqa_lut
from hwlut.unit import Unit
from hwlut.units import load as load_own

__all__ = ["load"]


def load(path: str | Path) -> Unit:
    """Read a parameter table of any kind, or a file of GQA-LUT with one function (by the rule x >= p).

    Raises ValueError, naming the file and what was expected, for anything that is not one.
    """
    if not gqa_lut.recognises(Path(path)):
        return load_own(path)
    (unit,) = gqa_lut.read(Path(path))
    return unit
